"""One incident, as the first page of a post-mortem: its timeline, its numbers, and what is not known."""
