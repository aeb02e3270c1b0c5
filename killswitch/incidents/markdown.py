"""The first page of a post-mortem in Markdown, ready to paste: a timeline, tables, and empty parts to fill in.

Texts of metrics, models, alerts and people cannot make markup, links or mentions of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from killswitch.incidents.story import IncidentStory, headline
from killswitch.incidents.tables import RULES_HEAD, cohort_lines, rule_rows
from killswitch.shadow.report.hostile_text import in_terminal
from killswitch.wording import date_and_time, duration_in_words

_MARKUP = re.compile(r"([\\`*_{}\[\]|~$!])")
_CALLS = re.compile(r"[@#]|://|(?i:www)(?=\.)")  # what a code host makes a mention, a reference or a link of
JOINER = "\u2060"  # has no width, and joins
TO_FILL_IN = (
    ("What users saw", "…"),
    ("Cause", "…"),
    ("What went well, and what did not", "…"),
    ("What we change", "| what | who | until |\n|---|---|---|\n| … | … | … |"),
)


def markdown(story: IncidentStory) -> str:
    """The whole page, with a line end."""
    return "\n\n".join(_parts(story)) + "\n"


def shown(text: str) -> str:
    """The text on one line, with nothing in it that Markdown, a code host or a reader could take for something else."""
    escaped = in_terminal(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _CALLS.sub(lambda found: found[0] + JOINER, _MARKUP.sub(r"\\\1", escaped))


def _parts(story: IncidentStory) -> Iterator[str]:
    incident = story.incident
    yield f"# Incident {shown(headline(story))}"
    yield f"**Why:** {shown(incident.reason)}"
    yield f"**Who had the canary:** {shown(story.exposed)}"
    yield "## Timeline"
    yield _table(
        ("UTC", "what"), [(date_and_time(one.at).removesuffix(" UTC"), shown(one.said)) for one in story.timeline]
    )
    yield "## How long it took"
    yield _table(("leg", "time"), [(one.leg, _took(one.seconds)) for one in story.took])
    rows = [tuple(map(shown, row)) for row in rule_rows(incident)]
    if rows:
        yield "## The rules as of the trip"
        yield _table(RULES_HEAD, rows)
    for lines in cohort_lines(story):
        yield f"Both cohorts of {shown(lines.rule)}, {lines.when}; the highest block is {lines.top}:"
        yield f"```text\ncanary   {lines.canary}\ncontrol  {lines.control}\n```"
    yield from _alert(story)
    if story.unknown:
        yield "## Not known"
        yield "\n".join(f"- {shown(one)}" for one in story.unknown)
    for title, body in TO_FILL_IN:
        yield f"## {title}"
        yield body


def _alert(story: IncidentStory) -> Iterator[str]:
    alert = story.incident.alert
    if alert is None:
        return
    yield f"## The alert {shown(alert.name)}"
    pairs = [
        *alert.labels,
        *alert.annotations,
        *((("generatorURL", alert.generator_url),) if alert.generator_url else ()),
    ]
    yield _table(("label or annotation", "value"), [(shown(name), shown(value)) for name, value in pairs])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _took(seconds: float | None) -> str:
    return "not known, or not yet" if seconds is None else duration_in_words(seconds)
