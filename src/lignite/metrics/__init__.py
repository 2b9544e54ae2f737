"""Measures that read nothing but results."""
