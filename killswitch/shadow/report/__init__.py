"""The report of shadow mode: what the recorded pairs say, as a value, a page, JSON and a screen of a terminal."""
