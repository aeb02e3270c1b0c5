"""What the newest cycle says: as a sentence, JSON, HTML, a table, and metrics."""
