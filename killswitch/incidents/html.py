"""One incident as HTML: the page that others link to, and a file for a post-mortem. Made of one story, in one look.

No script, nothing from outside, light and dark. Texts that others write are escaped, on one line, without hidden signs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from killswitch.charts.chart import Chart
from killswitch.flags.incident import finding_to_json
from killswitch.incidents.story import IncidentStory, headline
from killswitch.status.chart_html import figure, numbers_of_rule
from killswitch.status.html_document import Row, document, table, text
from killswitch.status.rollout_html import address_of
from killswitch.status.rules_html import rules_table
from killswitch.trends.drawing import charts_of_trip
from killswitch.wording import date_and_time, duration_in_words, plain, reasons_in_words


def html(story: IncidentStory) -> str:
    """A whole file, which carries its own policy and links to nothing."""
    return document(headline(story), [f"<h1>Incident {_text(headline(story))}</h1>", *_parts(story)], a_file=True)


def incident_page(story: IncidentStory, dashboard: str | None = None) -> str:
    """The page at the incident's own address; ``dashboard``: a link to the time of the trip."""
    name, rollout = _text(story.id), _text(story.incident.rollout)
    links = f'<a href="../">all rollouts</a><a href="../{address_of(story.incident.rollout)}">{rollout} now</a>'
    if dashboard is not None:
        links += f'<a href="{escape(dashboard)}" rel="noreferrer">dashboard</a>'
    body = [
        f"<nav aria-label=Pages>{links}</nav><h1>{name} <span class=tripped>tripped</span></h1>",
        f"<p class=dim>{_text(headline(story))}</p>",
        *_parts(story),
        f"<h2>Commands</h2><p class=next>every query: <code>killswitch explain {name}</code></p>",
        f"<p class=next>for the post-mortem: <code>killswitch incident show {name} --md</code></p>",
    ]
    return document(f"{story.id} tripped", body)


def _parts(story: IncidentStory) -> Iterator[str]:
    incident = story.incident
    yield f"<p>{_text(reasons_in_words(incident.reason))}</p>"
    yield f"<p><b>Who had the canary:</b> {_text(story.exposed)}</p>"
    if incident.acknowledged is not None:
        yield f"<p><b>{_text(incident.acknowledged.by)}</b> looks after it</p>"
    yield "<h2>The rules as of the trip</h2>" + _rules(story) if incident.findings else ""
    yield _pictures(story)
    yield "<h2>Timeline</h2>" + table(
        "in UTC", ("time", "what"), [Row([text(_moment(one.at)), text(one.said)]) for one in story.timeline]
    )
    legs = [
        Row([text(one.leg), text("not known, or not yet" if one.seconds is None else duration_in_words(one.seconds))])
        for one in story.took
    ]
    yield "<h2>How long it took</h2>" + table("", ("leg", "time"), legs)
    yield _alert(story)
    if story.unknown:
        yield "<h2>Not known</h2>" + "".join(f"<p>{_text(one)}</p>" for one in story.unknown)


def _rules(story: IncidentStory) -> str:
    """The rules that tripped come first."""
    incident = story.incident
    ordered = sorted(incident.findings, key=lambda one: (one.rule not in incident.rules, one.rule))
    findings = [finding_to_json(finding) for finding in ordered]
    return rules_table(findings, incident.reason, "", window=incident.window, at=incident.decided_at)


def _pictures(story: IncidentStory) -> str:
    trend = story.trend
    if trend is None:
        return ""
    charts: Sequence[Chart] = charts_of_trip(trend, story.incident)
    shown = ""
    for number, chart in enumerate(charts):
        rule = trend.of(chart.title)
        numbers = "" if rule is None else numbers_of_rule(trend, rule, [chart])
        shown += f"<div>{figure(chart, f'trip-{number}')}{numbers}</div>"
    note = f"<p class=dim>{_text(trend.note)}</p>" if trend.note else ""
    return f"<h2>Both cohorts around the trip</h2>{note}<div class=charts>{shown}</div>" if shown else ""


def _alert(story: IncidentStory) -> str:
    alert = story.incident.alert
    if alert is None:
        return ""
    pairs = (*alert.labels, *alert.annotations, ("generatorURL", alert.generator_url))
    rows = [Row([text(name), text(value)]) for name, value in pairs]
    return f"<h2>The alert {_text(alert.name)}</h2>{table('', ('label or annotation', 'value'), rows)}"


def _moment(at: float) -> str:
    return date_and_time(at).removesuffix(" UTC")


def _text(value: str) -> str:
    return escape(plain(value, 2000))
