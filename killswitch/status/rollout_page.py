"""The page of one rollout: what it does now, its course over time, its routers and incidents, and who did what when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from killswitch.charts.chart import Chart, ChartMark, LineRole, MarkKind, Scale, Series
from killswitch.flags.change import Deed, FlagChange, FlagSummary
from killswitch.flags.flag import AA
from killswitch.flags.incident import Incident
from killswitch.roles.armed_pair import UNSEEN
from killswitch.router.presence import Report
from killswitch.status.attention import attention
from killswitch.status.chart_html import figure, numbers_of_rule, numbers_of_stairs
from killswitch.status.html_document import Cell, Row, document, table, text, utc, word
from killswitch.status.rollout_html import incident_address, moment_of, rollout_section
from killswitch.timestamps import to_iso
from killswitch.trends.drawing import cohorts_chart, evidence_chart
from killswitch.trends.trend import RuleTrend, Span, Trend
from killswitch.wording import date_and_time, plain, reasons_in_words

MOST_CHARTED: Final = 20  # rules
MOST_LISTED: Final = 50  # routers, incidents and lines of history each
FILLING_REFRESH: Final = "the metric store is being asked for what is missing; reload in some seconds"
_STOPS: Final = frozenset({Deed.TRIP, Deed.PIN})
_CHANGES_NOTHING: Final = frozenset({Deed.HOLD, Deed.RESUME, Deed.APPROVE, Deed.ACKNOWLEDGE})


@dataclass(frozen=True, slots=True)
class StoredFacts:
    """What the flag store has of a rollout besides its flag. ``problem``: why it could not be read, "" if it was.

    ``history`` is ascending; ``incidents`` the newest first, with the id of each; ``revision``: the flag's.
    """

    history: tuple[FlagChange, ...] = ()
    incidents: tuple[tuple[str, Incident], ...] = ()
    routers: tuple[Report, ...] = ()
    revision: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Course:
    """How it was over time: the rules' trend, and whether gaps of it are being filled."""

    span: Span
    trend: Trend
    filling: bool = False


def rollout_page(
    one: Mapping[str, Any], facts: StoredFacts, course: Course | None, *, tick: str | None, dashboard: str | None = None
) -> str:
    """The page, from the rollout's part of the status. ``tick``: the newest, ISO; ``dashboard``: a link."""
    name, state = escape(str(one["rollout"])), escape(str(one["state"]))
    found = attention(one)
    links = '<a href="../">all rollouts</a>'
    if dashboard is not None:
        links += f'<a href="{escape(dashboard)}" rel="noreferrer">dashboard</a>'
    why = f"<p><b>{found.need.value}</b>{escape(f': {found.why}' if found.why else '')}</p>"
    judged = f"<p class=dim>judged at {utc(tick)}; this page does not reload by itself</p>" if tick else ""
    problem = f"<p class=problem>flag store: {escape(facts.problem)}</p>" if facts.problem else ""
    body = [
        f"<nav aria-label=Pages>{links}</nav><h1>{name} <span class={state}>{state}</span></h1>",
        f"{why}{judged}{problem}{_since_then(one, facts)}",
        f"<h2>Now</h2>{rollout_section(one, moment_of(tick), base='../')}",
        _course(one, facts, course),
        _routers(one, facts),
        _incidents(facts),
        _history(facts),
        _commands(one),
    ]
    return document(f"{one['rollout']} {one['state']}", body, refresh=False)


def _since_then(one: Mapping[str, Any], facts: StoredFacts) -> str:
    """What was done to the flag after the cycle that the page shows; "" where it is the same."""
    told = [change for change in facts.history if change.deed not in _CHANGES_NOTHING]
    if not told:
        return ""
    newest, now = told[-1], told[-1].after
    known = (one["state"], one["generation"], one["stage"])
    if (("absent", None, None) if now is None else (now.state.value, now.generation, now.stage)) == known:
        return ""
    return (
        f"<p class=problem>Since then: {escape(newest.deed.value)} by {escape(newest.by)} at"
        f" {escape(date_and_time(newest.at))}; the next cycle shows it.</p>"
    )


def marks_of(changes: Sequence[FlagChange], one: Mapping[str, Any]) -> tuple[ChartMark, ...]:
    """Trips and changes of the percent, for charts; of a flag without history, its trip alone."""
    found = []
    for change in changes:
        if change.deed in _STOPS:
            found.append(ChartMark(change.at, MarkKind.TRIP, change.deed.value))
        elif change.deed not in _CHANGES_NOTHING and _step(change.after) != _step(change.before):
            found.append(ChartMark(change.at, MarkKind.STEP, _step(change.after)))
    tripped = moment_of((one.get("trip") or {}).get("at"))
    if tripped is not None and not any(mark.kind is MarkKind.TRIP and abs(mark.at - tripped) < 60 for mark in found):
        found.append(ChartMark(tripped, MarkKind.TRIP, "trip"))
    return tuple(found)


def percent_chart(
    changes: Sequence[FlagChange], one: Mapping[str, Any], since: float, until: float, marks: Sequence[ChartMark]
) -> Chart:
    """The percent of users who had the canary, from the flag's history; a gap where it is not known."""
    points: list[tuple[float, float | None]] = []
    told = [change for change in changes if change.deed not in _CHANGES_NOTHING]
    before = [change for change in told if change.at <= since]
    inside = [change for change in told if since < change.at <= until]
    if before:
        points.append((since, _percent(before[-1].after)))
    elif inside:
        points.append((since, _percent(inside[0].before)))
    points += [(change.at, _percent(change.after)) for change in inside]
    now = 0.0 if one.get("stage") in UNSEEN else one.get("canary_percent")
    if now is not None:
        points += [(until, now)] if points else [(since, now), (until, now)]
    line = Series("canary", LineRole.CANARY, points, stairs=True)
    return Chart("users with the canary", Scale.PERCENT, since, until, (line,), tuple(marks))


def _percent(summary: FlagSummary | None) -> float:
    """Of users who had the canary: in stage ``aa`` the canary cohort gets control."""
    return 0.0 if summary is None or summary.stage in UNSEEN else summary.percent


def _step(summary: FlagSummary | None) -> str:
    """The text of a mark: the percent, or that an A/A stage began."""
    return AA if summary is not None and summary.stage == AA and summary.percent else f"{_percent(summary):g}%"


def _course(one: Mapping[str, Any], facts: StoredFacts, course: Course | None) -> str:
    if course is None:
        return "<h2>Over time</h2><p class=dim>No cycle has finished yet.</p>"
    trend = course.trend
    marks = marks_of(facts.history, one)
    percent = percent_chart(facts.history, one, trend.since, trend.until, marks)
    spans = "".join(
        f'<a href="?span={span}"{" aria-current=page" if span is course.span else ""}>{span}</a>' for span in Span
    )
    notes = [escape(trend.note)] if trend.note else []
    if course.filling:
        notes.append(escape(FILLING_REFRESH))
    if course.span is not Span.HOUR:
        notes.append(f"a point is the mean of {course.span.step / 60:g} minutes; evidence is the greatest in them")
    said = "".join(f"<p class=dim>{note}</p>" for note in notes)
    shown = [_rule(trend, rule, number, marks) for number, rule in enumerate(trend.rules[:MOST_CHARTED])]
    more = len(trend.rules) - len(shown)
    rest = f"<p class=dim>and {more} more rules: <code>killswitch explain {escape(str(one['rollout']))}</code></p>"
    return (
        f"<h2 id=course>Over time: the last {course.span}</h2><nav aria-label=Span>{spans}</nav>{said}"
        f"<div class=charts><div>{figure(percent, 'percent')}{numbers_of_stairs(percent)}</div></div>"
        f"{''.join(shown)}{rest if more > 0 else ''}"
    )


def _rule(trend: Trend, rule: RuleTrend, number: int, marks: Sequence[ChartMark]) -> str:
    cohorts, evidence = cohorts_chart(trend, rule, marks), evidence_chart(trend, rule, marks)
    second = "" if evidence is None else figure(evidence, f"e{number}", heading="evidence, on its way to a trip")
    return (
        f"<h3>{escape(rule.rule)}</h3><div class=charts>"
        f"{figure(cohorts, f'r{number}', heading='both cohorts and the limit')}{second}</div>"
        f"{numbers_of_rule(trend, rule, [cohorts])}"
    )


def _routers(one: Mapping[str, Any], facts: StoredFacts) -> str:
    if facts.problem:
        return ""
    if not facts.routers:
        return "<h2>Routers</h2><p class=dim>No router has reported to the flag store.</p>"
    stopped = one["state"] in ("tripped", "pinned")
    followed = [report.revision >= facts.revision and (report.on_control or not stopped) for report in facts.routers]
    shown = sorted(zip(followed, facts.routers, strict=True), key=lambda pair: (pair[0], pair[1].id))[:MOST_LISTED]
    rows = [
        Row(
            [
                text(report.id),
                text("yes" if done else "not yet", "" if done else "problem"),
                text(f"{report.canary_percent:g}%"),
                text(report.generation),
                text(report.standing),
                text(date_and_time(report.at)),
            ]
        )
        for done, report in shown
    ]
    heads = ("router", "followed", "canary", "generation", "standing", "since")
    caption = f"{sum(followed):,} of {len(followed):,} have acted on the newest change; those that have not come first"
    return f"<h2>Routers</h2>{table(caption, heads, rows)}"


def _incidents(facts: StoredFacts) -> str:
    if facts.problem:
        return ""
    if not facts.incidents:
        return "<h2>Incidents</h2><p class=dim>None so far.</p>"
    rows = []
    for name, incident in facts.incidents[:MOST_LISTED]:
        taken = incident.acknowledged
        rows.append(
            Row(
                [
                    Cell(f'<a href="../{incident_address(name)}">{escape(name)}</a>'),
                    text(date_and_time(incident.decided_at)),
                    _who(incident),
                    text(plain(reasons_in_words(incident.reason), 240)),
                    text("" if taken is None else taken.by),
                ]
            )
        )
    heads = ("incident", "at", "by", "why", "acknowledged by")
    return f"<h2>Incidents</h2>{table('the newest first', heads, rows)}"


def _who(incident: Incident) -> Cell:
    if incident.automatic:
        return word(incident.who) if incident.alert is None else text(incident.who)
    return text(incident.by)


def _history(facts: StoredFacts) -> str:
    if facts.problem or not facts.history:
        return ""
    rows = [
        Row(
            [
                text(f"{to_iso(change.at)[:19].replace('T', ' ')}"),
                word(change.deed.value),
                text(change.by),
                text(change.origin),
                text(_in_words(change)),
                text(plain(reasons_in_words(change.reason), 240)),
            ]
        )
        for change in facts.history[: -MOST_LISTED - 1 : -1]
    ]
    heads = ("time", "what", "who", "from where", "change", "why")
    return f"<h2>Who did what when</h2>{table('the newest first, in UTC', heads, rows)}"


def _in_words(change: FlagChange) -> str:
    before, after = _summary(change.before), _summary(change.after)
    return "" if before == after else f"{before} → {after}"


def _summary(summary: FlagSummary | None) -> str:
    if summary is None:
        return "no flag"
    shadow = f", {summary.shadow} shadowed" if summary.shadow else ""
    return f"{summary.state.value} {summary.percent:g}% {summary.stage} g{summary.generation}{shadow}"


def _commands(one: Mapping[str, Any]) -> str:
    """What a person may type next. The page itself changes nothing: it does not know who looks at it."""
    name = str(one["rollout"])
    why = '--reason "why"'
    of_state = {
        "armed": [
            ("stop the canary now", f"killswitch trip {name} {why}"),
            ("change its share", f"killswitch stage {name} --percent 1"),
            ("end the rollout", f"killswitch end {name}"),
        ],
        "tripped": [
            ("arm it again", f'killswitch rearm {name} --reason "what was fixed"'),
            ("end the rollout", f"killswitch end {name}"),
        ],
        "pinned": [("lift the pin", f"killswitch unpin {name} {why}")],
        "complete": [("send users back", f"killswitch trip {name} {why}")],
        "absent": [("begin", f"killswitch arm {name} --stage ramp_1")],
        "unreadable": [("remove the flag", f"killswitch end {name}")],
    }.get(str(one["state"]), [])
    if one.get("plan") is not None and one["state"] == "armed":
        of_state += [
            ("see what the plan waits for", f"killswitch ready {name}"),
            ("take the next step", f"killswitch advance {name}"),
            ("hold the plan", f"killswitch hold {name} {why}"),
        ]
    every = [("every number and query", f"killswitch explain {name}"), ("the whole history", f"killswitch log {name}")]
    rows = [Row([text(what), Cell(f"<code>{escape(command)}</code>")]) for what, command in (*of_state, *every)]
    return f"<h2>Commands</h2>{table('this page changes nothing', ('to', 'type'), rows)}"
