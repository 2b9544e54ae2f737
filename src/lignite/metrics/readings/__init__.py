"""Measures that read results alone, without a model."""
