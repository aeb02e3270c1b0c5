"""The status as one HTML page: no script, no outside resource, refreshed by the browser itself.

Rollouts that need a person come first; a tripped one shows its rules as of the trip and the command to type next. A
rule's sentence is shown once: below its row, or in the rollout's sentence above. A healthy rule shows its numbers only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from killswitch.flags.flag import SHADOW
from killswitch.flags.shadow_share import shadowed_of
from killswitch.model import Verdict
from killswitch.pages.finding_rows import finding_rows
from killswitch.status.plan_html import plan_section, slow_section, with_commands
from killswitch.status.roles_html import roles_section
from killswitch.timestamps import from_iso
from killswitch.wording import duration_in_words, evidence_in_words, labelled, reasons_in_words, untagged

_STYLE = """
:root { color-scheme: light dark; --bad: #c62828; --warn: #b26a00; --good: #2e7d32; --dim: #777; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .2rem; } p { margin: .2rem 0 .6rem; }
p.next { margin-top: .6rem; line-height: 2; } p.why { margin: .4rem .6rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .3rem .6rem; }
p.caption { color: var(--dim); margin: .6rem .6rem 0; }
th { color: var(--dim); font-weight: 500; } td { border-top: 1px solid var(--line); vertical-align: top; }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; } th.n { text-align: right; }
.BREACH, .tripped, .pinned, .unreadable, .unknown, .problem { color: var(--bad); font-weight: 600; }
.SUSPECT { color: var(--warn); font-weight: 600; }
.HEALTHY, .armed, .complete { color: var(--good); } .UNKNOWN, .absent, .dim { color: var(--dim); }
div.wide { overflow-x: auto; } tr.stage td { white-space: nowrap; }
tr.now td { font-weight: 600; } tr.now td:first-child { box-shadow: inset 3px 0; }
@media (max-width: 40rem) { th, td { padding: .3rem .35rem; font-size: .87rem; } }
code { background: var(--line); padding: .1rem .4rem; border-radius: 3px; }
"""
_FIRST = ("unreadable", "unknown", "tripped", "pinned", "armed", "complete", "absent")
_COUNTED = {
    "tripped": "tripped",
    "pinned": "pinned",
    "armed": "armed",
    "complete": "complete",
    "absent": "without a flag",
    "unreadable": "unreadable",
    "unknown": "UNKNOWN",
}


def status_page(status: Mapping[str, Any]) -> str:
    """The page for a document of `status_document`; every text in it is escaped."""
    body = [f"<h1>LLM canary kill switch</h1><p class=dim>{_heading(status)}</p>"]
    body += [
        f"<p class=problem>{escape(labelled(label, str(status[key])))}</p>"
        for key, label in (("store_problem", "flag store"), ("source_problem", "metric source"))
        if status.get(key)
    ]
    at = _time(status.get("tick"))
    body += [_rollout(one, at) for one in sorted(status["rollouts"], key=lambda one: _FIRST.index(one["state"]))]
    body.append(roles_section(status.get("roles")))
    if status.get("age_seconds") is None and not status["rollouts"]:
        body.append("<p>No cycle has finished yet.</p>")
    return _document("Kill switch", body, refresh=True)


def incident_page(incident: Mapping[str, Any]) -> str:
    """The page of one incident, from its JSON document; every text in it is escaped."""
    window = incident["window_seconds"]
    who = "by itself" if incident["automatic"] else f"by {escape(str(incident['by']))}"
    name = escape(str(incident["rollout"]))
    control, canary, stage = (escape(str(incident[key])) for key in ("control", "canary", "stage_before"))
    users = f"{incident['percent_before']:g}% of users had {canary} (stage {stage}), the others {control}"
    if incident["stage_before"] == SHADOW:
        users = f"every user had {control}, and requests were shadowed to {canary}"
    before = f"<p class=dim>{who} at {_utc(incident['decided_at'])}; before, {users}</p>"
    body = [
        f"<h1>{escape(str(incident['id']))} <span class=tripped>tripped</span></h1>",
        before,
        f"<p>{escape(reasons_in_words(str(incident['reason'])))}</p>",
        _table(
            incident["findings"],
            str(incident["reason"]),
            "the rules as of the trip",
            window=window,
            at=_time(incident["decided_at"]),
        ),
    ]
    facts = [
        f"paged {escape(one['receiver'])} ({escape(one['kind'])}) at {_utc(one['at'])}" for one in incident["pages"]
    ]
    routers = incident["routers"]
    if routers is not None:
        facts.append(f"{routers['followed']} of {routers['known']} routers had followed at {_utc(routers['at'])}")
    body.append("".join(f"<p class=dim>{fact}</p>" for fact in facts))
    body.append(
        f"<p class=next>every query: <code>killswitch explain {escape(str(incident['id']))}</code>;"
        f' how it stands now: <a href="../#{name}">the status page</a></p>'
    )
    return _document(f"{incident['id']} tripped", body, refresh=False)


def _document(title: str, body: Sequence[str], *, refresh: bool) -> str:
    again = "<meta http-equiv=refresh content=10>" if refresh else ""
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8>{again}"
        '<meta name=viewport content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style><body>{''.join(body)}</body></html>"
    )


def _utc(iso: object) -> str:
    """``2026-04-19 14:22:11 UTC`` of the ISO time."""
    return escape(f"{str(iso)[:19].replace('T', ' ')} UTC")


def _heading(status: Mapping[str, Any]) -> str:
    age = status.get("age_seconds")
    when = "no cycle yet" if age is None else f"judged at {_utc(status['tick'])}, {age:.0f} s ago"
    states = Counter(one["state"] for one in status["rollouts"])
    counted = ", ".join(f"{states[state]} {_COUNTED[state]}" for state in _FIRST if states[state])
    return f"controller {escape(str(status['controller']))}, {when}" + (f"; rollouts: {counted}" if counted else "")


def _rollout(one: Mapping[str, Any], at: float | None) -> str:
    state = escape(str(one["state"]))
    name = escape(str(one["rollout"]))
    head = f'<h2 id="{name}">{name} <span class={state}>{state}</span></h2>'
    if one.get("state_as_of"):
        head += f"<p class=problem>as last read at {_utc(one['state_as_of'])}; it may have changed since</p>"
    spend = "".join(f"<p class=why>spend: {escape(str(cap['line']))}</p>" for cap in one.get("spend", ()))
    body = _tripped(one, one["trip"]) if one.get("trip") else _untripped(one, at)
    if one.get("rests_on"):
        body += f"<p class=dim>{escape(str(one['rests_on']))}</p>"
    return head + body + slow_section(one.get("slow", ())) + plan_section(one.get("plan")) + spend


def _untripped(one: Mapping[str, Any], at: float | None) -> str:
    models = f"{escape(str(one['canary']))} against {escape(str(one['control']))}"
    if one["state"] == "complete":
        models = f"everyone gets {escape(str(one['control']))}; generation {escape(str(one['generation']))}"
    share = ""
    if one["state"] == "armed":
        shadowed = shadowed_of(one)
        share = (
            f"; {one['canary_percent']:g}% canary, stage {escape(str(one['stage']))},"
            f"{f' {escape(shadowed)},' if shadowed else ''} generation {escape(str(one['generation']))}"
        )
    findings = one["findings"]
    said = _sentence(one)
    window = one.get("window_seconds")
    caption = f"the last {duration_in_words(window)}" if window else ""
    table = _table(findings, said, caption, window=window, at=at)
    kind = "" if one.get("monitored", True) else " class=problem"
    return f"<p class=dim>{models}{share}</p><p{kind}>{with_commands(said)}</p>{table}"


def _tripped(one: Mapping[str, Any], trip: Mapping[str, Any]) -> str:
    name = escape(str(one["rollout"]))
    by = f"{'by itself, controller' if trip['automatic'] else 'by'} {escape(str(trip['by']))},"
    window = trip["window_seconds"]
    caption = "the rules as of the trip" if trip["findings"] else ""
    then = (
        f"and once it is fixed <code>killswitch rearm {name} --reason &quot;what was fixed&quot;</code>,"
        f" or <code>killswitch end {name}</code>"
    )
    if one["state"] == "pinned":
        then = f"and once it is settled <code>killswitch unpin {name} --reason &quot;why&quot;</code>"
    return (
        f"<p class=dim>all traffic goes to {escape(str(one['control']))}; before, {trip['percent_before']:g}% went to"
        f" {escape(str(one['canary']))} (stage {escape(str(trip['stage_before']))}, generation"
        f" {escape(str(one['generation']))})</p>"
        f"<p>{escape(reasons_in_words(str(trip['reason'])))}</p>"
        f"<p class=dim>{'pinned' if one['state'] == 'pinned' else 'tripped'} {by} at {_utc(trip['at'])}, incident"
        f' <a href="incidents/{quote(str(trip["incident"]), safe="")}">{escape(str(trip["incident"]))}</a></p>'
        f"{_table(trip['findings'], str(trip['reason']), caption, window=window, at=_time(trip['at']))}"
        f"<p class=next>next: <code>killswitch explain {name}</code>, {then}</p>"
    )


def _sentence(one: Mapping[str, Any]) -> str:
    """A rollout's sentence without what is shown next to it: the flag's tag, and if it holds, its rules' sentences."""
    said = untagged(str(one["sentence"]))
    if one["action"] == "hold":
        for finding in one["findings"]:
            said = said.replace(f"; {finding['sentence']}", "")
    return reasons_in_words(said)


def _table(
    findings: Sequence[Mapping[str, Any]], said: str, caption: str, *, window: float | None, at: float | None
) -> str:
    if not findings:
        return ""
    with_evidence = any(finding["needed"] is not None for finding in findings)
    heads = ["canary", "control", "limit", "requests", "counted", *(["evidence"] if with_evidence else [])]
    head = "".join(f"<th class=n>{name}" for name in heads)
    rows = "".join(_rows(finding, with_evidence=with_evidence, window=window, at=at) for finding in findings)
    above = f"<p class=caption>{escape(caption)}</p>" if caption else ""
    table = f"{above}<div class=wide><table><tr><th>rule<th>verdict{head}</tr>{rows}</table></div>"
    return table + _whys(findings, said)


def _whys(findings: Sequence[Mapping[str, Any]], said: str) -> str:
    """One line below the table for each reason: several rules may have the same one."""
    rules: dict[str, list[str]] = {}
    for finding in findings:
        rules.setdefault(_why(finding, said), []).append(str(finding["rule"]))
    return "".join(
        f"<p class=why><b>{escape(', '.join(names))}</b>: {escape(why.removeprefix(f'{names[0]} '))}</p>"
        for why, names in rules.items()
        if why
    )


def _rows(finding: Mapping[str, Any], *, with_evidence: bool, window: float | None, at: float | None) -> str:
    """One row, and for a breach by evidence a second row for its window."""
    evidence = "" if finding["needed"] is None else evidence_in_words(finding["evidence"], finding["needed"])
    verdict = escape(str(finding["verdict"]))
    reason = "" if finding["reason"] is None else f", {escape(reasons_in_words(str(finding['reason'])))}"
    lines = []
    for number, row in enumerate(finding_rows(finding, window=window, at=at)):
        first = number == 0
        cells = (row.canary, row.control, row.limit, row.requests, row.counted)
        numbers = "".join(f"<td class=n>{escape(cell)}" for cell in cells)
        lines.append(
            (f"<tr><td>{escape(str(finding['rule']))}" if first else "<tr class=dim><td>")
            + (f"<td class={verdict}>{verdict}{reason}" if first else "<td>")
            + numbers
            + (f"<td class=n>{evidence if first else ''}" if with_evidence else "")
            + "</tr>"
        )
    return "".join(lines)


def _time(text: object) -> float | None:
    return from_iso(text) if isinstance(text, str) else None


def _why(finding: Mapping[str, Any], said: str) -> str:
    """The rule's sentence, unless the row's numbers or the sentence above say it already."""
    if finding["verdict"] == Verdict.HEALTHY and finding["reason"] is None:
        return ""
    why = str(finding["sentence"]).removeprefix(f"{finding['rule']} unknown ({finding['reason']}): ")
    return "" if why in said else why
