"""The two result tables: their rows and columns, and how to write and read them."""
