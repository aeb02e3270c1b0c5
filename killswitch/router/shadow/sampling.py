"""Which finished requests are asked again: a stable hash of the request id, with another salt than the canary's.

``digest = sha256(salt + request_id)``, with the salt of `ShadowSplit`. Sampled when
``(first 4 bytes % 10000) / 100 < percent``, so growing the percent keeps those that were sampled. Control is asked a
second time as well when the next 4 bytes are below the noise share: other digits, so the noise floor is a fair part of
whatever is sampled.
"""

from __future__ import annotations

import uuid
from hashlib import sha256
from struct import Struct

first_four_bytes = Struct(">I").unpack_from


def digest_of(salt: str, request_id: str) -> bytes:
    """The 32 bytes that decide. Raises for what is no text: `Shadow.offer` counts that as ``unidentified``."""
    return sha256((salt + request_id).encode()).digest()


def place(digest: bytes) -> float:
    """The request's place among all, 0.00 to 99.99 in steps of 0.01; sampled when it is below the percent."""
    return float(first_four_bytes(digest)[0] % 10000 / 100)


def asks_control_again(digest: bytes, share: float) -> bool:
    """Whether a sampled request belongs to the noise floor; ``share`` is 0 to 1."""
    return bool(first_four_bytes(digest, 4)[0] % 10000 / 10000 < share)


def text_of_id(request_id: object) -> str | None:
    """A request id that is no plain text as one; None for what identifies no request. Never raises."""
    try:
        if isinstance(request_id, str):
            exact = str.__str__(request_id)
            return exact.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        if isinstance(request_id, bytes):
            return request_id.decode("utf-8", "replace")
        if isinstance(request_id, int | uuid.UUID) and not isinstance(request_id, bool):
            return str(request_id)
    except Exception:  # noqa: BLE001  # a hostile subclass, or a number of 5,000 digits
        return None
    return None
