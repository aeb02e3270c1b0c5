"""In which order rows are asked, and in which order the calls of one row are made.

Both orders are drawn by hashes, so that a run that goes on after a break asks in the same order.
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum

from killswitch.gate.golden import GoldenRow, GoldenSet


class RowCall(StrEnum):
    """One of the calls that a row needs. PROD is prod's first answer, PROD_AGAIN its second."""

    PROD = "prod"
    CANDIDATE = "candidate"
    PROD_AGAIN = "prod_again"


_TWO = ((RowCall.PROD, RowCall.CANDIDATE), (RowCall.CANDIDATE, RowCall.PROD))
# prod's first answer is always made before its second, so that a provider's cache of the prompt never speeds it up
_THREE = (
    (RowCall.PROD, RowCall.CANDIDATE, RowCall.PROD_AGAIN),
    (RowCall.CANDIDATE, RowCall.PROD, RowCall.PROD_AGAIN),
    (RowCall.PROD, RowCall.PROD_AGAIN, RowCall.CANDIDATE),
)


def asked_hash(row: GoldenRow) -> str:
    """What an answer to the row rests on, its id and its messages: a SHA-256, hexadecimal digits.

    The id is part of it, the expected label is not.
    """
    content = json.dumps([row.id, [dict(message) for message in row.messages]], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def drawn_order(golden: GoldenSet) -> tuple[GoldenRow, ...]:
    """The rows in an order that only the set's content decides.

    A run that stops early has then seen a random part of the set, not the beginning of a file that people often sort.
    """
    return tuple(sorted(golden.rows, key=lambda row: _drawn(golden.version, row)))


def calls_of(row: GoldenRow, *, twice: bool) -> tuple[RowCall, ...]:
    """The calls of a row in their order, which changes from row to row. ``twice``: prod is asked a second time."""
    orders = _THREE if twice else _TWO
    return orders[int(asked_hash(row)[:8], 16) % len(orders)]


def _drawn(version: str, row: GoldenRow) -> bytes:
    return hashlib.sha256(f"{version}:{asked_hash(row)}".encode()).digest()
