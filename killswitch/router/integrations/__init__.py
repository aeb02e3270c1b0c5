"""One file for each library that the SDK fits into; none is imported unless the service does it."""
