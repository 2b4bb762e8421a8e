"""How a model learns, is measured and predicts: the loop, its step, and what goes into it."""
