"""Sampled requests that left no pair, by reason: the worker keeps them next to the records, as ``dropped-*.jsonl``.

Without them the report would be of survivors: a canary that times out would look well among the answers.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from killswitch.documents import Fields, parse_object
from killswitch.errors import BadDocument, BadSettings

_MAX_LINE = 1 << 20


def dropped_requests(
    source: Path, rollout: str, *, since: float | None = None, until: float | None = None
) -> dict[str, int] | None:
    """Reason to requests dropped in minutes that began at ``since <= at < until``; None if ``source`` is one file.

    Raises BadSettings if a file cannot be read.
    """
    if source.is_file():
        return None
    found: Counter[str] = Counter()
    for path in sorted((source / rollout).glob("*/dropped-*.jsonl")):
        try:
            with path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    row = parse_object(line, f"{path}, line {number}", max_bytes=_MAX_LINE)
                    if row.text("rollout") == rollout and _within(row.number("at"), since, until):
                        found.update(_reasons(row))
        except (OSError, BadDocument) as error:
            raise BadSettings([f"{path}: dropped requests cannot be read: {error}"]) from error
    return dict(sorted(found.items()))


def _reasons(row: Fields) -> dict[str, int]:
    counts = Fields(row.raw.get("reasons"), f"{row.where}, reasons")
    return {reason: max(counts.integer(reason), 0) for reason in counts.raw}


def _within(at: float, since: float | None, until: float | None) -> bool:
    return (since is None or at >= since) and (until is None or at < until)
