"""Keras's files: .keras, .h5 of Keras 2 and 3, weights files, JSON."""
