"""Measures that ask the model again."""
