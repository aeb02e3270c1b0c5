"""Users as numbers: the place of each on the split, and 64 bits that stand for the user where rows are counted.

The hash is that of `flags.bucketing`. Only numbers made of it are kept; the user's own key never leaves the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
import numpy.typing as npt

from killswitch.flags.keyed_hash import hash_bytes
from killswitch.slow.history import BUCKETS


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


def keyed_ids(keys: Sequence[bytes], secret: bytes) -> npt.NDArray[np.uint64]:
    """The ids of these keys where a log of exposures has the cohorts: of the hash that the log has."""
    return np.array([id_of_hash(hash_bytes(secret, key)) for key in keys], np.uint64)


def id_of_hash(user: str) -> int:
    """64 bits of the 32 hexadecimal digits of a log of exposures."""
    return int(user[16:32], 16)


def hmac_pads(secret: bytes) -> tuple[bytes, bytes]:
    """What HMAC-SHA256 puts before the message, and before the digest of that (RFC 2104)."""
    block = (sha256(secret).digest() if len(secret) > 64 else secret).ljust(64, b"\0")
    return bytes(one ^ 0x36 for one in block), bytes(one ^ 0x5C for one in block)


SQL_HMAC = "sha256($outer || unhex(sha256($inner || {key})))"
SQL_PLACE = "('0x' || {digest}[1:8])::UBIGINT % 10000"
SQL_ID = "('0x' || {digest}[17:32])::UBIGINT"
"""The same of a hexadecimal SHA-256 in DuckDB's SQL."""
