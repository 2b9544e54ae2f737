"""What users call: flow, explain, evaluate, check."""
