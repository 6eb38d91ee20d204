"""From words to options: the fast parser, Typer, values, the settings file."""
