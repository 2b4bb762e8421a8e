"""What models are made of: layers, variables, the tape, and every class by its name."""
