"""The page of one incident, at the address that pages link to; every text in it is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from killswitch.charts.chart import Chart
from killswitch.flags.flag import SHADOW
from killswitch.status.chart_html import figure, numbers_of_rule
from killswitch.status.html_document import Row, document, table, text, utc
from killswitch.status.rollout_html import address_of, moment_of
from killswitch.status.rules_html import rules_table
from killswitch.trends.trend import Trend
from killswitch.wording import reasons_in_words


def incident_page(
    incident: Mapping[str, Any], charts: Sequence[Chart] = (), trend: Trend | None = None, dashboard: str | None = None
) -> str:
    """The page, from the incident's JSON document. ``charts`` and ``trend``: both cohorts around the trip, if kept."""
    name, rollout = escape(str(incident["id"])), escape(str(incident["rollout"]))
    links = f'<a href="../">all rollouts</a><a href="../{address_of(incident["rollout"])}">{rollout} now</a>'
    if dashboard is not None:
        links += f'<a href="{escape(dashboard)}" rel="noreferrer">dashboard</a>'
    body = [
        f"<nav aria-label=Pages>{links}</nav>",
        f"<h1>{name} <span class=tripped>tripped</span></h1>",
        f"<p class=dim>{_before(incident)}</p>",
        f"<p>{escape(reasons_in_words(str(incident['reason'])))}</p>",
        f"<h2>The rules as of the trip</h2>{_rules(incident)}" if incident["findings"] else "",
        _pictures(charts, trend),
        _timeline(incident),
        f"<h2>Commands</h2><p class=next>every query: <code>killswitch explain {name}</code></p>",
        f"<p class=next>for the post-mortem: <code>killswitch incident show {name} --md</code></p>",
    ]
    return document(f"{incident['id']} tripped", body, refresh=False)


def _before(incident: Mapping[str, Any]) -> str:
    who = "by itself" if incident["automatic"] else f"by {escape(str(incident['by']))}"
    control, canary, stage = (escape(str(incident[key])) for key in ("control", "canary", "stage_before"))
    users = f"{incident['percent_before']:g}% of users had {canary} (stage {stage}), the others {control}"
    if incident["stage_before"] == SHADOW:
        users = f"every user had {control}, and requests were shadowed to {canary}"
    return f"{who} at {utc(incident['decided_at'])}; before, {users}"


def _rules(incident: Mapping[str, Any]) -> str:
    return rules_table(
        incident["findings"],
        str(incident["reason"]),
        "",
        window=incident["window_seconds"],
        at=moment_of(incident["decided_at"]),
    )


def _pictures(charts: Sequence[Chart], trend: Trend | None) -> str:
    if not charts or trend is None:
        return ""
    shown = "".join(
        f"<div>{figure(chart, f'trip-{number}')}{_numbers(trend, chart)}</div>" for number, chart in enumerate(charts)
    )
    note = f"<p class=dim>{escape(trend.note)}</p>" if trend.note else ""
    return f"<h2>Both cohorts around the trip</h2>{note}<div class=charts>{shown}</div>"


def _numbers(trend: Trend, chart: Chart) -> str:
    rule = trend.of(chart.title)
    return "" if rule is None else numbers_of_rule(trend, rule, [chart])


def _timeline(incident: Mapping[str, Any]) -> str:
    """What happened when, the earliest first."""
    found = [(str(incident["decided_at"]), "the flag was tripped", "everyone gets control")]
    found += [
        (str(finding["excursion"]["since"]), "evidence began to point at the canary", str(finding["rule"]))
        for finding in incident["findings"]
        if finding["rule"] in incident["rules"] and finding.get("excursion") is not None
    ]
    found += [
        (str(one["at"]), f"paged {one['receiver']} ({one['kind']})", "perhaps twice" if one["possible_repeat"] else "")
        for one in incident["pages"]
    ]
    routers, taken = incident["routers"], incident.get("acknowledged")
    if routers is not None:
        found.append((str(routers["at"]), f"{routers['followed']} of {routers['known']} routers had followed", ""))
    if taken is not None:
        found.append((str(taken["at"]), f"{taken['by']} looks after it", f"from {taken['origin']}"))
    rows = [Row([text(utc_plain(at)), text(what), text(more)]) for at, what, more in sorted(set(found))]
    return f"<h2>What happened when</h2>{table('in UTC', ('time', 'what', 'more'), rows)}"


def utc_plain(iso: str) -> str:
    """``2026-04-19 14:22:11``, not escaped."""
    return iso[:19].replace("T", " ")
