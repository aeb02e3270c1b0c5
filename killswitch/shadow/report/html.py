"""The report as one HTML file without scripts and without anything from outside, for phone and desktop.

Names, openings, reasons and answers are hostile: all of them are escaped by the parts that place them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from killswitch.shadow.report.document import BothWays, OverFloor, ShadowReport, ThreeWays
from killswitch.shadow.report.histogram_svg import histogram
from killswitch.shadow.report.hostile_text import in_html
from killswitch.shadow.report.html_pairs import pairs_side_by_side
from killswitch.shadow.report.html_parts import (
    CSP,
    STYLE,
    Column,
    Html,
    bars,
    chip,
    dollars,
    key,
    number,
    percent,
    points,
    share_of,
    signed,
    table,
)
from killswitch.shadow.report.in_words import (
    by_chance,
    criterion_numbers,
    evidence_of,
    limit_of,
    models_of,
    period_in_words,
    reasons,
    time_needed,
    why_open,
)
from killswitch.wording import counted

_SIDES = (("control", "control"), ("canary", "canary"), ("floor", "control again (noise floor)"))
_MOST_CLASSES = 50


def page(report: ShadowReport) -> str:
    """The whole page; in UTF-8 it can be written to a file as it is."""
    parts = (
        *_heading(report),
        *_criteria(report),
        *_pairs(report),
        *_classes(report),
        *_tone(report),
        *_judge(report),
        *_endings(report),
        *_lengths(report),
        *_features(report),
        *_time_and_cost(report),
        *pairs_side_by_side(report.examples, texts_left_out=report.texts_left_out),
        *_made_of(report),
    )
    title = in_html(f"{report.rollout}: shadow report, {report.decided.verdict}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"/>'
        f'<meta http-equiv="Content-Security-Policy" content="{CSP}"/>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        '<meta name="referrer" content="no-referrer"/>'
        f"<title>{title}</title><style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _heading(report: ShadowReport) -> Iterator[str]:
    decided, period = report.decided, report.period
    models = models_of(period)
    yield f"<h1>Shadow report of <bdi>{in_html(report.rollout)}</bdi></h1>"
    yield f'<p class="dim"><bdi>{in_html(models)}</bdi>; {in_html(period_in_words(period))}</p>'
    more = ""
    if decided.verdict == "NOT_YET":
        needed = "unknown how many more" if decided.more_pairs is None else f"about {decided.more_pairs:,} more"
        more = f"<p>{needed} pairs needed for a decision{time_needed(report)}</p>"
    said = "".join(f"<li><bdi>{in_html(reason)}</bdi></li>" for reason in reasons(report))
    yield (
        f'<div class="verdict {_colour(decided.verdict)}">'
        f"<strong>{in_html(decided.verdict.replace('_', ' '))}</strong><ul>{said}</ul>{more}</div>"
    )
    if decided.as_points:
        yield "<p>Taken as bare points, as asked: for a canary as good as control each of these is a coin flip.</p>"


def _colour(verdict: str) -> str:
    return verdict if verdict in ("GO", "NO_GO", "NOT_YET") else ""


def _criteria(report: ShadowReport) -> Iterator[str]:
    columns = (
        Column("criterion"), Column("standing", "standing"), Column("canary", "n"), Column("control or floor", "n"),
        Column("limit", "n"), Column("pairs", "n"), Column("evidence", "said"), Column("more pairs", "n"),
        Column("", "wide"),
    )  # fmt: skip
    rows = []
    for row in report.decided.criteria:
        canary, reference = criterion_numbers(row)
        more = "-" if row.more_pairs is None else f"{row.more_pairs:,}"
        limit = limit_of(row, as_points=report.decided.as_points)
        numbers = (canary, reference, limit, f"{row.pairs:,}", evidence_of(row), more)
        rows.append((row.title, chip(row.standing), *numbers, why_open(row)))
    if not rows:
        return
    yield f"<h2>Criteria</h2>{table(columns, rows, cards=True)}"
    budget = report.decided
    if not budget.as_points:
        yield (
            '<p class="dim">Evidence of 1 in 100 would be seen by chance once in 100 shadow stages, however often'
            f" one looks. Budgets: a wrong GO {percent(budget.wrong_go)},"
            f" a wrong NO GO {percent(budget.wrong_no_go)}.</p>"
        )


def _pairs(report: ShadowReport) -> Iterator[str]:
    counts = report.counts
    sampled = "unknown: nothing recorded what was dropped" if counts.sampled is None else f"{counts.sampled:,}"
    dropped = "unknown" if counts.dropped is None else _reasons(counts.dropped) or "none"
    yield "<h2>Pairs</h2>"
    yield table(
        (Column(""), Column("", "n"), Column("", "wide")),
        (
            ("requests sampled", sampled if counts.sampled is not None else "-", "" if counts.sampled else sampled),
            ("dropped", "-" if counts.dropped is None else f"{sum(counts.dropped.values()):,}", dropped),
            ("canary asked", f"{counts.asked:,}", ""),
            ("of these compared", f"{counts.compared:,}", _not_compared(counts.not_compared)),
            ("control asked again (noise floor)", f"{counts.noise_asked:,}", ""),
            ("of these compared", f"{counts.noise_compared:,}", _not_compared(counts.noise_not_compared)),
            *_users(report),
            ("left out", f"{sum(counts.left_out.values()):,}", _reasons(counts.left_out)),
        ),
    )
    yield "<h3>The same, equivalent, different</h3>"
    yield f'<p class="dim">{key(("canary", "canary against control"), _SIDES[2])}</p>'
    yield _over_floor("answers are", report.agreement)
    yield (
        '<p class="dim">Shares of the pairs that could be compared. The criterion of the same name counts a call that'
        " failed as not equivalent, so its shares are of more pairs.</p>"
    )
    if report.differences:
        yield f"<h3>Kinds of difference</h3>{_over_floor('difference in', report.differences)}"


def _users(report: ShadowReport) -> Iterator[tuple[str, str, str]]:
    users = report.decided.users
    if users is not None:
        yield "of the busiest user", "-" if users.share is None else percent(users.share), users.sentence


def _not_compared(reasons: Mapping[str, int]) -> str:
    return f"not compared: {_reasons(reasons)}" if reasons else ""


def _reasons(reasons: Mapping[str, int]) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {reasons[name]:,}" for name in sorted(reasons, key=lambda one: -reasons[one])
    )


def _over_floor(title: str, rows: Sequence[OverFloor]) -> str:
    columns = (
        Column(title), Column("canary", "n"), Column("floor", "n"), Column("over the floor", "n"), Column("", "bars"),
    )  # fmt: skip
    return table(
        columns,
        [
            (
                row.name, share_of(row.candidate), share_of(row.noise), points(row.excess),
                bars(("canary", row.candidate.share), ("floor", row.noise.share)),
            )
            for row in rows
        ],
        cards=True,
    )  # fmt: skip


def _classes(report: ShadowReport) -> Iterator[str]:
    if len(report.classes) < 2 and not report.classes_left_out:
        return
    columns = (
        Column("prompt class"), Column("standing", "standing"), Column("pairs", "n"), Column("different", "n"),
        Column("floor", "n"), Column("over it at least", "n"), Column("refused", "n"), Column("errors", "n"),
        Column("mostly in"), Column("", "wide"),
    )  # fmt: skip
    yield "<h2>Prompt classes, worst first</h2>"
    yield table(
        columns,
        [
            (
                row.name or "no class",
                chip(row.standing) if row.standing else "-",
                f"{row.different.candidate.trials:,}",
                percent(row.different.candidate.share),
                percent(row.different.noise.share) + ("" if row.own_floor else " of all"),
                points(row.worst_case),
                percent(row.refusals.candidate.share),
                percent(row.errors.share),
                row.main_difference or "-",
                row.sentence.removeprefix(f"{row.name or 'no class'}: ") if row.standing in ("FAIL", "NOT_YET") else "",
            )
            for row in report.classes[:_MOST_CLASSES]
        ],
        cards=True,
    )
    hidden = report.classes_left_out + max(len(report.classes) - _MOST_CLASSES, 0)
    left_out = f" {counted(hidden, 'class')[:-1] + 'es' if hidden > 1 else '1 class'} not shown." if hidden else ""
    yield (
        '<p class="dim">Over it at least: the lower end of a 95 % interval of what is over the noise floor, so that a'
        f" class of few pairs does not lead the list.{left_out}</p>"
    )


def _tone(report: ShadowReport) -> Iterator[str]:
    tone = report.tone
    if not tone.by_control and not tone.by_candidate:
        return
    yield "<h2>Tone: how answers open</h2>"
    if tone.sentence:
        yield f"<p>{in_html(tone.sentence)}</p>"
    if tone.e_value is not None:
        yield (
            '<p class="dim">Evidence that the openings differ at all:'
            f" {by_chance(tone.e_value)} (e-value {tone.e_value:,.3g}).</p>"
        )
    yield f'<p class="dim">{key(*_SIDES)}</p><div class="grid">'
    yield f"<div><h3>Most frequent of the canary</h3>{_three_ways('opening', tone.by_candidate)}</div>"
    yield f"<div><h3>Most frequent of control</h3>{_three_ways('opening', tone.by_control)}</div></div>"
    if tone.grown and tone.examples:
        yield f"<h3>Where only the canary opens with “<bdi>{in_html(tone.grown)}</bdi>”</h3>"
        rows = [(one.control, one.candidate, one.pair) for one in tone.examples]
        yield table((Column("control", "wide"), Column("canary", "wide"), Column("pair")), rows)


def _three_ways(title: str, rows: Sequence[ThreeWays]) -> str:
    columns = (
        Column(title), Column("control", "n"), Column("canary", "n"), Column("floor", "n"), Column("", "bars"),
    )  # fmt: skip
    return table(
        columns,
        [
            (
                row.name, percent(row.control.share), percent(row.candidate.share), percent(row.noise.share),
                bars(("control", row.control.share), ("canary", row.candidate.share), ("floor", row.noise.share)),
            )
            for row in rows
        ],
    )  # fmt: skip


def _judge(report: ShadowReport) -> Iterator[str]:
    if report.judge is None:
        return
    said = "".join(f"<li><bdi>{in_html(sentence)}</bdi></li>" for sentence in report.judge.sentences)
    yield f"<h2>The judge</h2><p>Win rate of the canary: {percent(report.judge.win_rate)}</p><ul>{said}</ul>"


def _endings(report: ShadowReport) -> Iterator[str]:
    yield '<h2>Refusals, cut answers and errors</h2><div class="grid">'
    yield f"<div><h3>Refusals, both ways</h3>{_both_ways('refused', report.refusals)}</div>"
    yield f"<div><h3>Cut at the limit of tokens, both ways</h3>{_both_ways('cut', report.cut)}</div>"
    yield f"<div><h3>How calls ended</h3>{_three_ways('outcome', _seen(report.outcomes))}</div></div>"


def _both_ways(what: str, found: BothWays) -> str:
    counts = (
        (f"both {what}", found.both, found.noise_both),
        (f"only control {what}", found.control_only, found.noise_first_only),
        (f"only the canary {what}", found.candidate_only, found.noise_second_only),
        ("pairs that both answered", found.pairs, found.noise_pairs),
    )
    rows = [(name, _of(canary, found.pairs), _of(noise, found.noise_pairs)) for name, canary, noise in counts]
    if found.unknown or found.noise_unknown:
        rows.append(("further pairs, not known", f"{found.unknown:,}", f"{found.noise_unknown:,}"))
    return table((Column(""), Column("control and canary", "n"), Column("control twice", "n")), rows)


def _of(events: int, trials: int) -> str:
    return f"{events:,}" if not trials or events == trials else f"{events:,} ({percent(events / trials)})"


def _seen(rows: Sequence[ThreeWays]) -> list[ThreeWays]:
    return [row for row in rows if row.control.events or row.candidate.events or row.noise.events]


def _lengths(report: ShadowReport) -> Iterator[str]:
    columns = (
        Column("measure"), Column("median, control", "n"), Column("canary", "n"), Column("shift", "n"),
        Column("p95, control", "n"), Column("canary", "n"), Column("shift", "n"), Column("Wasserstein", "n"),
        Column("its floor", "n"), Column("unknown", "n"),
    )  # fmt: skip
    rows = []
    for one in report.spreads:
        unit = one.unit
        rows.append(
            (
                one.name, number(one.control.p50, unit), number(one.candidate.p50, unit), signed(one.shift_p50, unit),
                number(one.control.p95, unit), number(one.candidate.p95, unit), signed(one.shift_p95, unit),
                number(one.wasserstein, unit), number(one.wasserstein_noise, unit),
                f"{one.control.unknown:,} / {one.candidate.unknown:,}",
            )
        )  # fmt: skip
    yield f"<h2>Lengths and tokens</h2>{table(columns, rows, cards=True)}"
    yield f'<p class="dim">{key(*_SIDES[:2])}; bins grow by the same factor</p><div class="grid">'
    for one in report.spreads:
        picture = histogram(one)
        if picture:
            yield f"<div><h3>{in_html(one.name)}</h3>{picture}</div>"
    yield "</div>"


def _features(report: ShadowReport) -> Iterator[str]:
    languages = [ThreeWays(row.name or "not known", row.control, row.candidate, row.noise) for row in report.languages]
    yield '<h2>Format and language</h2><div class="grid">'
    yield f"<div><h3>Answers with</h3>{_three_ways('feature', _seen(report.formats)) or 'none of the features'}</div>"
    yield f"<div><h3>Answers in</h3>{_three_ways('language', languages)}</div></div>"


def _time_and_cost(report: ShadowReport) -> Iterator[str]:
    columns = (
        Column("seconds"), Column("median, control", "n"), Column("canary", "n"), Column("p95, control", "n"),
        Column("canary", "n"), Column("pairs", "n"),
    )  # fmt: skip
    rows = [
        (
            one.name, number(one.control.p50, "s"), number(one.candidate.p50, "s"), number(one.control.p95, "s"),
            number(one.candidate.p95, "s"), f"{one.candidate.known:,}",
        )
        for one in report.timings
    ]  # fmt: skip
    cost = report.cost
    yield f"<h2>Time and cost</h2>{table(columns, rows, cards=True)}"
    yield (
        '<p class="dim">Only pairs that ran at the same time can be compared.'
        " A timeout counts as long as it was waited for.</p>"
    )
    yield table(
        (Column("cost"), Column("control", "n"), Column("canary", "n"), Column("", "wide")),
        (
            ("a call", dollars(cost.control_micros), dollars(cost.candidate_micros), _cost_pairs(report)),
            (
                "100 % of traffic for a month",
                dollars(cost.month_control_micros),
                dollars(cost.month_candidate_micros),
                cost.basis,
            ),
        ),
    )


def _cost_pairs(report: ShadowReport) -> str:
    cost = report.cost
    unknown = f"; unknown in {cost.unknown_pairs:,}" if cost.unknown_pairs else ""
    return f"mean of {counted(cost.pairs, 'pair')}{unknown}"


def _made_of(report: ShadowReport) -> Iterator[str]:
    period = report.period
    yield "<h2>What this is made of</h2>"
    rows: list[tuple[str, str | Html]] = [
        ("version", report.version),
        ("rollout", report.rollout),
        ("generations", ", ".join(map(str, period.generations)) or "-"),
        ("record formats", ", ".join(map(str, period.record_formats)) or "-"),
        ("measures", ", ".join(report.measures) or "-"),
    ]
    rows += [("on labelled pairs", sentence) for sentence in report.measure_agreement]
    yield table((Column(""), Column("", "wide")), rows)
