"""The report of a gate run: a value, a screen of a terminal, a page, JSON, and a comment for a pull request."""
