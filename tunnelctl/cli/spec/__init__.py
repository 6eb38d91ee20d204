"""Flags and commands, declared once."""
