"""Local listeners, and what each of their connections does."""
