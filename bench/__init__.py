"""Measurements of the numbers this project is held to; each module prints its own."""
