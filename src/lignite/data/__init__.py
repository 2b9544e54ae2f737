"""Examples and human evidence, read from files."""
