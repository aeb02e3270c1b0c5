"""A user as a keyed hash: without the key no one can tell whose row it is. Pure.

The shadow's records and the log of exposures use the same hash, so one key finds a user in both.
"""

from __future__ import annotations

import hmac

HASH_DIGITS = 32


def hash_user(key: bytes, user: str) -> str:
    """32 hexadecimal digits of HMAC-SHA256; `killswitch shadow forget` computes the same."""
    return hash_bytes(key, user.encode("utf-8", "surrogatepass"))


def hash_bytes(key: bytes, user: bytes) -> str:
    """The hash of a routing key's bytes (`killswitch.flags.bucketing.routing_bytes`)."""
    return hmac.digest(key, user, "sha256").hex()[:HASH_DIGITS]
