"""Numbers of the report in words, the same on the page and in a terminal."""

from __future__ import annotations

import re

from killswitch.model import Unit
from killswitch.shadow.criteria import Measure
from killswitch.shadow.report.document import CriterionRow, RecordedPeriod, ShadowReport
from killswitch.wording import counted, date_and_time, duration_in_words, odds_in_words, value_in_words

_A_MILLION = 1e6
_NAMED = re.compile(r'"[^"]*" ')  # the opening that differs most
_MORE_PAIRS = re.compile(r"(?:; )?about [0-9,]+ more pairs? needed$")
_SHARES_OF_CONTROL = frozenset({"equivalent", "similarity"})
_TIMES_CONTROL = frozenset({"latency_p95", "cost", "tokens"})
_COUNTS = frozenset({"tokens", "pairs"})


def reasons(report: ShadowReport) -> list[str]:
    """The decision's sentence as one line a reason: what failed, or what is still open."""
    decided = report.decided
    said = decided.sentence.removeprefix(f"{decided.verdict}: ")
    begins = {row.title for row in decided.criteria} | {row.name or "no class" for row in report.classes}
    names = "|".join(re.escape(name) for name in sorted(begins, key=len, reverse=True))
    return re.split(rf"; (?=(?:{names}): )", said) if names else [said]


def criterion_numbers(row: CriterionRow) -> tuple[str, str]:
    """The canary's number and the one that it is compared with, in the measure's unit."""
    return _value(row.measure, row.candidate), _value(row.measure, row.reference)


def _value(measure: str, value: float | None) -> str:
    if value is None:
        return "-"
    if measure == "latency_p95":
        return duration_in_words(value)
    if measure == "cost":
        return f"${value / 1e6:.3g}"
    if measure in _COUNTS:
        return f"{value:,.0f}"
    return f"{value:.3f}" if measure == "similarity" else value_in_words(value, Unit.FRACTION)


def limit_of(row: CriterionRow, *, as_points: bool) -> str:
    """The limit with what it is relative to: ``70% of control's``, ``+0.5pp``. As points some are absolute."""
    if row.measure in _SHARES_OF_CONTROL:
        return row.limit if as_points else f"{row.limit} of control's"
    if row.measure in _TIMES_CONTROL:
        return f"{row.limit} x control's"
    if row.measure == Measure.ERRORS and as_points:
        return "control's"
    if row.measure == Measure.WIN_RATE:
        return "50%" if as_points else f"50% - {row.limit}"
    return row.limit if row.measure in (Measure.PAIRS, Measure.OPENINGS) else f"+{row.limit}"


def evidence_of(row: CriterionRow, *, short: bool = False) -> str:
    """``1 in 30 for it, passes at 1 in 100``: the side for which there is more of the evidence that it needs.

    Without the threshold where it is decided; ``-`` for none. ``short``: ``1 in 30, passes at 100``.
    """
    sides = ((row.odds_within, row.odds_to_pass, "for"), (row.odds_worse, row.odds_to_fail, "against"))
    known = [(odds, needed, side) for odds, needed, side in sides if odds is not None and needed is not None]
    if not known:
        return "-"
    odds, needed, side = max(known, key=lambda one: one[0] / one[1])
    if odds <= 1.0:
        return "none yet"
    if row.standing != "NOT_YET":
        return f"{chance(odds)} {side} it"
    ends = "passes" if side == "for" else "fails"
    threshold = odds_in_words(needed)
    if short:
        return f"{chance(odds)}, {ends} at {threshold.removeprefix('1 in ')}"
    return f"{chance(odds)} {side} it, {ends} at {threshold}"


def chance(odds: float) -> str:
    """``1 in 30``; from a million on the exact number says nothing more."""
    return "under 1 in a million" if odds >= _A_MILLION else odds_in_words(odds)


def by_chance(e_value: float) -> str:
    """Of evidence for a difference: ``1 in 30 by chance``, or that there is none."""
    return "no evidence" if e_value <= 1.0 else f"{chance(e_value)} by chance"


def outcome_of(row: CriterionRow) -> str:
    """The sentence without the numbers that are shown next to it: ``worse by more than 1.0 pp``."""
    said = row.sentence.removeprefix(f"{row.title}: ")
    numbers, separator, proven = said.partition("): ")
    named = _NAMED.match(said)
    return f"{named[0] if named else ''}{proven}" if separator and " (n = " in numbers else said


def why_open(row: CriterionRow) -> str:
    """`outcome_of` without the number of pairs that it still needs, which has a column of its own."""
    said = outcome_of(row)
    return said if row.more_pairs is None else _MORE_PAIRS.sub("", said)


def time_needed(report: ShadowReport) -> str:
    """``, about 4 days at this traffic``: how long the missing pairs take; empty where that is unknown."""
    seconds = report.more_seconds
    if seconds is None:
        return ""
    for size, name in ((86400.0, "day"), (3600.0, "hour"), (60.0, "minute")):
        if seconds >= size:
            return f", about {counted(round(seconds / size), name)} at this traffic"
    return ", about a minute at this traffic"


def models_of(period: RecordedPeriod) -> str:
    """``model-new against model-old``; ``no pairs`` where there is no record."""
    if period.oldest is None:
        return "no pairs"
    canary, control = (
        ", ".join(names) or "an unknown model" for names in (period.canary_models, period.control_models)
    )
    return f"{canary} against {control}"


def period_in_words(period: RecordedPeriod) -> str:
    """``2026-04-19 14:22:11 UTC to … (1h)``."""
    if period.since is None or period.until is None:
        return "no records"
    length = duration_in_words(max(period.until - period.since, 0.0))
    return f"{date_and_time(period.since)} to {date_and_time(period.until)} ({length})"
