"""What people see of an evaluation."""
