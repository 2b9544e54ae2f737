"""Work that takes long and goes on where it was stopped."""
