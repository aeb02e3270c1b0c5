"""The table of requests: the names of its columns, and the upper edges by which latencies are counted. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Final

from killswitch.errors import BadSettings

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_IN_A_DECADE: Final = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
EDGES_MS: Final = (*(step * 10**decade for decade in range(1, 6) for step in _IN_A_DECADE), 1_000_000.0)
"""Upper edges in milliseconds, from 10 ms to 1,000 s. A limit at one of them is counted exactly."""


@dataclass(frozen=True, slots=True)
class RequestTable:
    """Where the rows are. Every column is a plain name, so it can be part of a query's text.

    ``inserted`` is the time at which the store took the row in; "" if there is none, and then a row that comes later
    than the setting `lag` is never counted. ``user`` may be "": then nothing can be judged per user.
    ``requests`` is "" for one row a request, or the column of a rollup that says how many requests a row stands for.
    """

    name: str = "llm_requests"
    time: str = "time"
    inserted: str = "inserted"
    rollout: str = "rollout"
    cohort: str = "cohort"
    model: str = "model"
    user: str = "user"
    outcome: str = "outcome"
    latency_ms: str = "latency_ms"
    refused: str = "refused"
    thumbs_down: str = "thumbs_down"
    requests: str = ""

    def __post_init__(self) -> None:
        optional = {"inserted", "user", "requests", "latency_ms", "refused", "thumbs_down"}
        problems = [
            f"{field.name}: {getattr(self, field.name)[:80]!r} is no plain name; use letters, digits and _"
            for field in fields(self)
            if not (field.name in optional and getattr(self, field.name) == "")
            and not all(map(_NAME.fullmatch, _parts(field.name, getattr(self, field.name))))
        ]
        if problems:
            raise BadSettings(problems)


def _parts(field: str, text: str) -> list[str]:
    """A table may be given as ``database.table``; a column may not."""
    parts = text.split(".") if field == "name" else [text]
    return parts if len(parts) <= 2 else [""]
