"""What methods compute: their formulas, on models and stacks of rows."""
