"""Every error, declared once: the text of its line and its hints."""
