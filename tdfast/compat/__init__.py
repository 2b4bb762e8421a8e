"""Keras's names: those that are here, those that are not, and what a script that was written for Keras may
bring along."""
