"""What is measured, a file for each table or two."""
