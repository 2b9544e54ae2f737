"""Whatever a user gives becomes tensors and named tokens."""
