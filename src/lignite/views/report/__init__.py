"""A report: a decision in plain words, for people who do not read code."""
