"""The promotion gate: a golden set, asked of prod and of the candidate row by row, and four numbers with their bars."""
