"""Layers with windows over space or time: convolutions, pooling, padding, resizing."""
