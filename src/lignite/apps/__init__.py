"""Programs around the library: the command line."""
