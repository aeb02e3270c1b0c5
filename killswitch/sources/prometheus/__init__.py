"""Prometheus and everything that speaks its API. All that knows PromQL is here."""
