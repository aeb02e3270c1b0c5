"""A finding as lines of a table, in words, for pages, the status page and the terminal.

A breach by evidence has two lines. The first is what tripped: events and requests since the excursion began, in both
cohorts. The second is the window, which may hold minutes from before the excursion and so look healthy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from killswitch.model import Unit, Verdict
from killswitch.timestamps import from_iso
from killswitch.wording import count_in_words, duration_in_words, time_of_day, value_in_words


@dataclass(frozen=True, slots=True)
class FindingRow:
    """One line. ``requests``: ``53 of 189`` (events of the canary's) or ``1,842 / 35,160`` (both cohorts').

    ``counted``: over which time, such as ``since 20:10:30 (1m41s)`` or ``last 5m``; "" if that is not known.
    """

    canary: str
    control: str
    limit: str
    requests: str
    counted: str
    of_window: bool


def finding_rows(finding: Mapping[str, Any], *, window: float | None, at: float | None) -> tuple[FindingRow, ...]:
    """The lines of one finding in its JSON form; ``window`` in seconds, ``at``: when it was judged (Unix seconds)."""
    unit = Unit(finding["unit"])
    canary, control, limit = (value_in_words(finding[key], unit) for key in ("canary", "control", "limit"))
    both = f"{count_in_words(finding['samples_canary'])} / {count_in_words(finding['samples_control'])}"
    if is_slow(finding["rule"]):
        both = f"{both} users"
    of_window = FindingRow(canary, control, limit, both, f"last {duration_in_words(window)}" if window else "", True)
    tripped = _since_it_began(finding, unit, at)
    return (of_window,) if tripped is None else (tripped, of_window)


def is_slow(rule: str) -> bool:
    """Whether a finding is of a signal that arrives days later: it counts users, and judges days."""
    return rule.startswith("slow.")


def _since_it_began(finding: Mapping[str, Any], unit: Unit, at: float | None) -> FindingRow | None:
    """The line of what a breach by evidence counted; None for every other finding."""
    excursion = finding.get("excursion")
    if finding["verdict"] != Verdict.BREACH or excursion is None:
        return None
    since = from_iso(excursion["since"])
    # for a latency rule it counts the requests that were slower than the limit
    slow = " slow" if unit is Unit.SECONDS else ""
    lasted = f" ({duration_in_words(round(at - since))})" if at is not None and round(at - since) > 0 else ""
    return FindingRow(
        canary=_share(excursion["canary"]) + slow,
        control=_share(excursion["control"]) + slow,
        limit=_share(excursion["limit"]),
        requests=f"{count_in_words(excursion['events_canary'])} of {count_in_words(excursion['trials_canary'])}",
        counted=f"since {time_of_day(since)}{lasted}",
        of_window=False,
    )


def _share(value: float | None) -> str:
    return value_in_words(value, Unit.FRACTION)
