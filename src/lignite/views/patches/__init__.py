"""What people see of an image in patches."""
