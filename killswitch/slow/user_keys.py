"""Users as numbers: the place of each on the split, and 64 bits that stand for the user where rows are counted.

The hash is that of `flags.bucketing`. Only numbers made of it are kept; the user's own key never leaves the batch.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from hashlib import sha256

import numpy as np
import numpy.typing as npt

from killswitch.slow.history import BUCKETS


def routing_bytes(key: object) -> bytes | None:
    """The bytes that a router hashes after the salt; None for what is no user, such as None or an empty text."""
    if isinstance(key, str):
        return key.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode() or None
    if isinstance(key, bytes | bytearray | memoryview):
        return bytes(key) or None
    if isinstance(key, int) and not isinstance(key, bool):
        return int.__str__(key).encode() if key.bit_length() < 1024 else None
    return str(key).encode() if isinstance(key, uuid.UUID) else None


def places_and_ids(
    keys: Sequence[bytes], salts: Sequence[str]
) -> tuple[tuple[npt.NDArray[np.uint16], ...], npt.NDArray[np.uint64]]:
    """For each salt the places (0 to 9,999) of these keys, and their ids, which are of the first salt."""
    places: list[npt.NDArray[np.uint16]] = []
    ids = np.zeros(len(keys), np.uint64)
    for number, salt in enumerate(salts):
        start = salt.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
        digests = np.frombuffer(b"".join([sha256(start + key).digest() for key in keys]), ">u4").reshape(-1, 8)
        places.append((digests[:, 0] % BUCKETS).astype(np.uint16))
        if number == 0:
            ids = (digests[:, 2].astype(np.uint64) << np.uint64(32)) | digests[:, 3].astype(np.uint64)
    return tuple(places), ids


SQL_PLACE = "('0x' || {digest}[1:8])::UBIGINT % 10000"
SQL_ID = "('0x' || {digest}[17:32])::UBIGINT"
"""The same of a hexadecimal SHA-256 in DuckDB's SQL."""
