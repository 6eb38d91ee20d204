"""The command line: flags as data, the texts rendered from them, and one thin module per command."""
