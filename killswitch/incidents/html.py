"""The first page of a post-mortem as one HTML file: charts inside, no script, nothing from outside, light and dark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from killswitch.charts.svg import COLOURS_DARK, COLOURS_LIGHT, STYLE, svg
from killswitch.incidents.story import IncidentStory, headline
from killswitch.incidents.tables import RULES_HEAD, rule_rows
from killswitch.shadow.report.hostile_text import in_html
from killswitch.trends.drawing import charts_of_trip
from killswitch.wording import date_and_time, duration_in_words

_SHEET = f"""
:root {{ color-scheme: light dark; --line: #8884; {COLOURS_LIGHT} }}
@media (prefers-color-scheme: dark) {{ :root {{ {COLOURS_DARK} }} }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.3rem; }} h2 {{ font-size: 1.1rem; margin: 1.6rem 0 .3rem; }} p {{ margin: .3rem 0; }}
table {{ border-collapse: collapse; }} td, th {{ text-align: left; padding: .25rem .6rem; vertical-align: top; }}
td {{ border-top: 1px solid var(--line); overflow-wrap: anywhere; }} td.at {{ white-space: nowrap; }}
div.wide {{ overflow-x: auto; }} .odd {{ background: var(--line); }}
{STYLE}"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def html(story: IncidentStory) -> str:
    """The whole file."""
    title = in_html(headline(story))
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        f'<meta http-equiv=Content-Security-Policy content="{_POLICY}">'
        f'<meta name=viewport content="width=device-width"><title>{title}</title><style>{_SHEET}</style>'
        f"<body><h1>Incident {title}</h1>{''.join(_parts(story))}</body></html>\n"
    )


def _parts(story: IncidentStory) -> Iterator[str]:
    incident = story.incident
    yield f"<p><b>Why:</b> {in_html(incident.reason)}</p>"
    yield f"<p><b>Who had the canary:</b> {in_html(story.exposed)}</p>"
    yield "<h2>Timeline</h2>"
    yield _table(("UTC", "what"), [(date_and_time(one.at).removesuffix(" UTC"), one.said) for one in story.timeline])
    if story.trend is not None:
        yield "<h2>Both cohorts around the trip</h2>"
        for number, chart in enumerate(charts_of_trip(story.trend, incident)):
            yield f"<p>{in_html(chart.title)}</p>{svg(chart, f'trip-{number}')}"
    yield "<h2>How long it took</h2>"
    yield _table(
        ("leg", "time"),
        [
            (one.leg, "not known, or not yet" if one.seconds is None else duration_in_words(one.seconds))
            for one in story.took
        ],
    )
    if incident.findings:
        yield "<h2>The rules as of the trip</h2>"
        yield _table(RULES_HEAD, list(rule_rows(incident)))
    alert = incident.alert
    if alert is not None:
        yield f"<h2>The alert {in_html(alert.name)}</h2>"
        yield _table(
            ("label or annotation", "value"),
            [*alert.labels, *alert.annotations, ("generatorURL", alert.generator_url)],
        )
    if story.unknown:
        yield "<h2>Not known</h2><ul>" + "".join(f"<li>{in_html(one)}</li>" for one in story.unknown) + "</ul>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th scope=col>{in_html(cell)}</th>" for cell in head)
    body = "".join(
        f"<tr>{''.join(f'<td{_class(place)}>{in_html(cell)}</td>' for place, cell in enumerate(row))}</tr>"
        for row in rows
    )
    return f"<div class=wide><table><tr>{top}</tr>{body}</table></div>"


def _class(place: int) -> str:
    return " class=at" if place == 0 else ""
