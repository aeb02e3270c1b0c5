"""Which pairs are judged: chosen by a hash of the pair's id alone, never by what the answers say.

So the win rate of the judged pairs estimates that of all pairs without bias, wherever a budget ends the judging: pairs
are taken in the order of the hash, so those judged are a random sample at every moment. Pairs that differ are not
taken first, because a sample that prefers them has another win rate; an identical pair is a tie and costs nothing.
"""

from __future__ import annotations

import hashlib

_SALT = b"killswitch-judge-1\0"


def place_of(pair: str) -> float:
    """The pair's place in the order of judging, evenly spread over 0 to 1. Independent of how requests were sampled."""
    digest = hashlib.sha256(_SALT + pair.encode(errors="replace")).digest()
    return int.from_bytes(digest[:8], "big") / 2.0**64


def is_sampled(pair: str, share: float) -> bool:
    """Whether the pair is judged at this ``share`` (0 to 1). One judged at a small share is at every larger one."""
    return place_of(pair) < share


def is_repeated(pair: str, share: float) -> bool:
    """Whether the pair is asked a second time, to see whether the judge agrees with itself: this ``share`` of pairs."""
    digest = hashlib.sha256(_SALT + b"again\0" + pair.encode(errors="replace")).digest()
    return int.from_bytes(digest[:8], "big") / 2.0**64 < share
