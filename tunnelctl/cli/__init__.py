"""The command line: flags as data, what is rendered from them, and one thin module a command."""
