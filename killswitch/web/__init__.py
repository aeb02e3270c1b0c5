"""The daemon over HTTP: status, flags, incidents, probes."""
