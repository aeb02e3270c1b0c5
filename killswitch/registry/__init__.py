"""The registry of roles: each change of a pin as one transaction with its history and its page."""
