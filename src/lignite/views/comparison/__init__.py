"""Comparisons shown: explanations and flows side by side."""
