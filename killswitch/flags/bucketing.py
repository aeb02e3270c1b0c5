"""Which cohort a user is in: a sticky hash, the same in every language.

``bucket = (int(sha256(salt + routing_key).hexdigest()[:8], 16) % 10000) / 100`` and canary when
``bucket < canary_percent``. Raising the percent never moves a user out of the canary. Pure: no I/O, no
clock, no lock. ``tests/vectors/routing.json`` holds the answers for implementations in other languages.
"""

from __future__ import annotations

import uuid
from hashlib import sha256

from killswitch.flags.flag import SHADOW, Flag

UNROUTABLE = 100.0  # the bucket of what is no routing key: not below any percent, so never canary


def serves_canary(flag: Flag) -> bool:
    """Whether any user, pinned ones and testers included, may reach the canary: armed, and past the shadow stage."""
    return flag.armed and flag.stage != SHADOW


def obeyed_percent(flag: Flag) -> float:
    """Percent of users, 0 to 100, that ``flag`` sends to the canary."""
    return flag.canary_percent if serves_canary(flag) else 0.0


def bucket(salt: str, routing_key: object) -> float:
    """The user's place on the split, 0.00 to 99.99 in steps of 0.01; never raises.

    The hash is over UTF-8. A lone surrogate counts as U+FFFD, as in every WHATWG TextEncoder. ``bytes``
    are taken as they are (the UTF-8 itself), an ``int`` as its decimal digits, a ``uuid.UUID`` as its
    usual lower-case text. Anything else, ``None`` and ``bool`` too, is no routing key: `UNROUTABLE`.
    """
    try:
        digest = sha256((salt + routing_key).encode())  # type: ignore[operator]  # what is no str goes the slow way
    except Exception:  # noqa: BLE001  # any type, and any operator it defines, may come in
        unusual = _unusual_bytes(salt, routing_key)
        if unusual is None:
            return UNROUTABLE
        digest = sha256(unusual)
    return (int(digest.hexdigest()[:8], 16) % 10000) / 100


def routing_bytes(key: object) -> bytes | None:
    """The bytes that a router hashes after the salt; None for what is no user, such as None or an empty text."""
    if isinstance(key, str):
        return _utf8(key) or None
    if isinstance(key, bytes | bytearray | memoryview):
        return bytes(key) or None
    if isinstance(key, int) and not isinstance(key, bool):
        return int.__str__(key).encode() if key.bit_length() < 1024 else None
    return str(key).encode() if isinstance(key, uuid.UUID) else None


def _unusual_bytes(salt: str, routing_key: object) -> bytes | None:
    """What to hash when ``(salt + routing_key).encode()`` failed; None for what is no routing key."""
    try:
        if isinstance(routing_key, bytes | bytearray | memoryview):
            return _utf8(salt) + bytes(routing_key)
        if isinstance(routing_key, str):
            # together: a salt may end in the first half of a pair
            return _utf8(str.__add__(salt, routing_key))
        if isinstance(routing_key, int) and not isinstance(routing_key, bool):
            return _utf8(salt + int.__str__(routing_key))
        if isinstance(routing_key, uuid.UUID):
            return _utf8(salt + str(routing_key))
    except Exception:  # noqa: BLE001  # an int of 5,000 digits, a released memoryview, a hostile subclass
        return None
    return None


def _utf8(text: str) -> bytes:
    """UTF-8 in which each lone surrogate is U+FFFD (and two that make a pair are that character)."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
