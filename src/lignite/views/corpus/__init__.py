"""What a whole corpus says together, of explanations and of flows."""
