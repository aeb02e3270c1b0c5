"""Tables with one row a request as a metric store: the counters of our SDK, counted from rows."""
