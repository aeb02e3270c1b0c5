"""The status of the newest cycle: as sentences, JSON, HTML, a table, and metrics."""
