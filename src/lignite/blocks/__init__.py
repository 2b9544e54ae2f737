"""Blocks of a model, recorded, taken apart, replayed."""
