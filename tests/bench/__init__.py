"""How fast, beside other people's programs: see __main__.py for how to run it and what the figures mean."""
