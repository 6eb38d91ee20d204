"""The reports of `check`: rows, tables, and where and how they are shown."""
