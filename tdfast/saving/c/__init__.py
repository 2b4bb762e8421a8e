"""One C99 file for a model."""
