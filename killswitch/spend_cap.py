"""A cap of a rule file on what may be spent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class SpendCap:
    """What ``scope`` may spend ``per`` hour, day or month (UTC), in micro-dollars; None is no such limit.

    ``scope``: ``rollout`` (the canary), ``shadow``, ``judge``, or ``project:NAME``. ``on_hard``: what becomes of the
    canary when it has spent ``hard``.
    """

    scope: str
    per: Literal["hour", "day", "month"]
    soft: int | None = None
    hard: int | None = None
    on_hard: Literal["hold", "trip"] = "hold"
