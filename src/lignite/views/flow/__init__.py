"""What people see of a flow."""
