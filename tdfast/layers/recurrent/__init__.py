"""Layers over time: LSTM, GRU, SimpleRNN, cells of any kind, and their wrappers."""
