"""The option ``--since`` of commands that list what has happened: an age, or a moment."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from killswitch.cli.invocation import fail
from killswitch.errors import BadDocument
from killswitch.rules.units import UnitError, parse_duration
from killswitch.timestamps import from_iso

_AGE = re.compile(r"[0-9.]+ ?(?:s|m|h|d)", re.ASCII)
SinceOption = Annotated[
    str | None,
    typer.Option("--since", help="Only what is younger: an age such as 7d, or ISO 8601.", show_default="all"),
]


def since_when(text: str | None, *, now: float) -> float:
    """The moment in Unix seconds, 0 without one. Ends the command where it cannot be read; ``now`` in Unix seconds."""
    if text is None:
        return 0.0
    try:
        return now - parse_duration(text) if _AGE.fullmatch(text) else from_iso(text)
    except (UnitError, ValueError, BadDocument):
        fail(f"--since {text!r:.60}: write an age such as 7d, or a moment such as 2026-04-19T14:00Z")
