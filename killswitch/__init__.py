"""A kill switch for canaries of large language models."""

__version__ = "0.1.0"
