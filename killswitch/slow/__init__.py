"""Outcomes that arrive days later: read from a warehouse, compared by cohort, and judged once a day."""
