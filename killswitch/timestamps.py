"""Points in time, and the lengths of an hour and a day: seconds (float) inside, ISO 8601 with ``Z`` in documents."""

from __future__ import annotations

from datetime import MAXYEAR, MINYEAR, UTC, datetime

from killswitch.errors import BadDocument

HOUR = 3_600.0
DAY = 86_400.0


def to_iso(seconds: float) -> str:
    """``1776608531.0`` -> ``2026-04-19T14:22:11Z``; milliseconds only where there are some."""
    moment = datetime.fromtimestamp(round(seconds, 3), tz=UTC)
    spec = "milliseconds" if moment.microsecond else "seconds"
    return moment.isoformat(timespec=spec).replace("+00:00", "Z")


def from_iso(text: str) -> float:
    """The inverse of `to_iso`; takes any ISO 8601 time that names its offset.

    Raises BadDocument for anything else.
    """
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise BadDocument(f"not an ISO 8601 time: {text!r}") from error
    if moment.tzinfo is None:
        raise BadDocument(f"time without an offset (add Z for UTC): {text!r}")
    if not MINYEAR < moment.year < MAXYEAR:
        # near either end another offset, or rounding, leaves the years that can be written again
        raise BadDocument(f"a time out of range: {text!r}")
    return moment.timestamp()
