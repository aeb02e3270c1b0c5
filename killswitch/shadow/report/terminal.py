"""The report as plain text for one screen of a terminal: verdict, criteria, worst classes, what else stands out.

Every line is at most `WIDTH` characters, if names allow it. Texts of models and users are made visible and one line.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.cells import cell_len

from killswitch.shadow.report.document import BothWays, OverFloor, ShadowReport, Spread
from killswitch.shadow.report.hostile_text import in_terminal
from killswitch.shadow.report.html_parts import dollars, number, percent, points, signed
from killswitch.shadow.report.in_words import (
    by_chance,
    criterion_numbers,
    evidence_of,
    limit_of,
    models_of,
    outcome_of,
    period_in_words,
    reasons,
    time_needed,
)

WIDTH = 100
_LABEL = 14  # characters before the text of a row
_MOST_CLASSES = 5
_MOST_REASONS = 4
_MOST_DIFFERENCES = 4
_MOST_DROP_REASONS = 3
_LONGEST_NAME = 28
_ORDER = ("FAIL", "NOT_YET", "PASS", "NOT_GATED")


def screen(report: ShadowReport) -> str:
    """The lines, each with its line end."""
    return "".join(f"{line}\n" for line in _lines(report))


def _lines(report: ShadowReport) -> Iterator[str]:
    decided = report.decided
    generations = ", ".join(map(str, report.period.generations))
    models = in_terminal(models_of(report.period))
    verdict = decided.verdict.replace("_", " ")
    more = ""
    if decided.more_pairs is not None:
        more = f", about {decided.more_pairs:,} more pairs needed{time_needed(report)}"
    yield f"{verdict}{more}: {in_terminal(report.rollout)}, {models}"
    of = f"generation {generations}, " if generations else ""
    yield from textwrap.wrap(f"{of}{period_in_words(report.period)}; {_counts(report)}", WIDTH, subsequent_indent="  ")
    said = reasons(report)
    for reason in said[:_MOST_REASONS]:
        yield from textwrap.wrap(in_terminal(reason), WIDTH, initial_indent="  ", subsequent_indent="    ")
    if len(said) > _MOST_REASONS:
        yield f"  and {len(said) - _MOST_REASONS} more, see the table"
    yield ""
    yield from _criteria(report)
    if len(report.classes) > 1:
        yield ""
        yield from _classes(report)
    yield ""
    yield from _else(report)


def _counts(report: ShadowReport) -> str:
    counts = report.counts
    dropped = "" if counts.dropped is None else f", {sum(counts.dropped.values()):,} dropped{_why(counts.dropped)}"
    left_out = "".join(f"; left out: {number:,} {reason}" for reason, number in counts.left_out.items())
    return (
        f"{counts.asked:,} asked, {counts.compared:,} compared, {counts.noise_asked:,} noise pairs{dropped}{left_out}"
    )


def _why(dropped: Mapping[str, int]) -> str:
    """``: 200 budget, 97 late``, the most frequent reasons first."""
    found = sorted(
        ((number, reason) for reason, number in dropped.items() if number), key=lambda one: (-one[0], one[1])
    )
    said = [f"{number:,} {_short(reason)}" for number, reason in found[:_MOST_DROP_REASONS]]
    rest = sum(number for number, _ in found[_MOST_DROP_REASONS:])
    said += [f"{rest:,} for other reasons"] if rest else []
    return f": {', '.join(said)}" if said else ""


def _criteria(report: ShadowReport) -> Iterator[str]:
    rows = sorted(report.decided.criteria, key=lambda row: _ORDER.index(row.standing) if row.standing in _ORDER else 9)
    yield from _table(
        ("criterion", "standing", "canary", "control", "limit", "evidence", "more pairs"),
        [
            (
                row.title, row.standing, *criterion_numbers(row),
                limit_of(row, as_points=report.decided.as_points), evidence_of(row, short=True),
                "-" if row.more_pairs is None else f"{row.more_pairs:,}",
            )
            for row in rows
        ],
    )  # fmt: skip
    unknown: dict[str, list[str]] = {}  # why no number of pairs can be given
    for row in rows:
        if row.standing == "NOT_YET" and row.more_pairs is None:
            unknown.setdefault(outcome_of(row), []).append(row.title)
    for why, titles in unknown.items():
        yield from textwrap.wrap(in_terminal(f"{', '.join(titles)}: {why}"), WIDTH, subsequent_indent="  ")


def _classes(report: ShadowReport) -> Iterator[str]:
    yield from _table(
        ("class, worst first", "standing", "pairs", "different", "floor", "at least over", "mostly in"),
        [
            (
                _short(row.name or "no class"), row.standing or "-", f"{row.different.candidate.trials:,}",
                percent(row.different.candidate.share), percent(row.different.noise.share),
                points(row.worst_case), row.main_difference or "-",
            )
            for row in report.classes[:_MOST_CLASSES]
        ],
    )  # fmt: skip
    hidden = len(report.classes) + report.classes_left_out - _MOST_CLASSES
    if hidden > 0:
        yield f"and {hidden:,} more; --html and --json show them"


def _else(report: ShadowReport) -> Iterator[str]:
    """One line each: agreement, differences, tone, users, refusals, lengths, time, cost."""
    shares = {row.name: row for row in report.agreement}
    compared = max((row.candidate.trials for row in report.agreement), default=0)
    said = "; ".join(_over(name, row) for name, row in shares.items())
    yield _row("answers", f"of {compared:,} compared: {said}")
    differences = [_over(row.name, row) for row in report.differences[:_MOST_DIFFERENCES]]
    if differences:
        yield _row("differences", "; ".join(differences))
    grown = next((row for row in report.tone.by_candidate if row.name == report.tone.grown), None)
    if grown is not None:
        odds = "" if report.tone.e_value is None else f"; openings differ: {by_chance(report.tone.e_value)}"
        shares_of = f"{percent(grown.candidate.share)} against {percent(grown.control.share)}"
        yield _row("tone", f"“{_short(grown.name)}” opens {shares_of} of answers{odds}")
    if report.judge is not None:
        decides = "may decide" if report.judge.gates else "decides nothing yet, see --json or --html"
        yield _row("judge", f"win rate {percent(report.judge.win_rate)}, {decides}")
    if report.decided.users is not None:
        yield _row("users", report.decided.users.sentence)
    yield _row("refusals", _both_ways(report.refusals))
    yield _row("cut at limit", _both_ways(report.cut))
    for spread in report.spreads:
        if spread.name == "output tokens":
            yield _row("output tokens", f"{_shift(spread)}{_apart(report, 'output tokens')}")
    for timing in report.timings[:1]:
        yield _row(
            "seconds",
            f"p50 {number(timing.candidate.p50, 's')} against {number(timing.control.p50, 's')},"
            f" p95 {number(timing.candidate.p95, 's')} against {number(timing.control.p95, 's')},"
            f" asked {timing.name.partition(', ')[2]}{_apart(report, 'seconds')}",
        )
    cost = report.cost
    month = f"; 100 % for a month {dollars(cost.month_candidate_micros)}"
    yield _row("cost a call", f"{dollars(cost.candidate_micros)} against {dollars(cost.control_micros)}{month}")


def _both_ways(found: BothWays) -> str:
    """``only the canary 12 (floor 1), only control 2 (floor 1), both 5``: the floor is control with itself."""
    if not found.pairs:
        return f"unknown in {found.unknown:,} pairs" if found.unknown else "no pairs"
    only = ((found.candidate_only, found.noise_second_only), (found.control_only, found.noise_first_only))
    canary, control = (
        f"{events:,} ({percent(events / found.pairs)}, floor {percent(_part(noise, found.noise_pairs))})"
        for events, noise in only
    )
    unknown = f", unknown {found.unknown:,}" if found.unknown else ""
    return f"only the canary {canary}, only control {control}, both {found.both:,}{unknown}"


def _part(events: int, of: int) -> float | None:
    return events / of if of else None


def _over(name: str, row: OverFloor) -> str:
    return f"{name} {percent(row.candidate.share)} (floor {percent(row.noise.share)})"


def _apart(report: ShadowReport, name: str) -> str:
    """``; apart by 113 ms, control from itself by 110 ms``: a shift of that size is no difference of the models."""
    spread = next((one for one in report.spreads if one.name == name), None)
    if spread is None or spread.wasserstein is None or spread.wasserstein_noise is None:
        return ""
    apart, floor = (number(one, spread.unit) for one in (spread.wasserstein, spread.wasserstein_noise))
    return f"; apart by {apart}, control from itself by {floor}"


def _shift(spread: Spread) -> str:
    return (
        f"median {signed(spread.shift_p50, spread.unit)} to {number(spread.candidate.p50, spread.unit)},"
        f" p95 {signed(spread.shift_p95, spread.unit)} to {number(spread.candidate.p95, spread.unit)}"
    )


def _row(label: str, text: str) -> str:
    """One line, or as many as it takes, each under the text."""
    lines = textwrap.wrap(in_terminal(text), WIDTH - _LABEL, break_long_words=False, break_on_hyphens=False)
    return "\n".join(f"{label if place == 0 else '':{_LABEL}}{line}" for place, line in enumerate(lines))


def _short(name: str) -> str:
    shown = in_terminal(name)
    return shown if len(shown) <= _LONGEST_NAME else f"{shown[: _LONGEST_NAME - 1]}…"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as they must be; the first two to the left, numbers to the right."""
    lines = [tuple(in_terminal(cell) for cell in line) for line in (head, *rows)]
    widths = [max(cell_len(line[place]) for line in lines) for place in range(len(head))]
    for line in lines:
        cells = []
        for place, (cell, width) in enumerate(zip(line, widths, strict=True)):
            space = " " * (width - cell_len(cell))
            cells.append(cell + space if place < 2 else space + cell)
        yield "  ".join(cells).rstrip()
