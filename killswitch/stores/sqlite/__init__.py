"""The flag store in one SQLite file."""
