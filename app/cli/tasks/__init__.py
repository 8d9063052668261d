"""Tasks as they are written on a command line, read by what operations declare."""
