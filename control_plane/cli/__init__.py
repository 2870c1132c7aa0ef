"""The command line: a client of the server, one file per group of commands."""
