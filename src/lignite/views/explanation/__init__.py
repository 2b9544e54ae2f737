"""What people see of an explanation."""
