"""The first page: every rollout, sorted by what needs a person. No script, no outside resource, read-only.

Those that need a person come first, in full, with the command to type next; the others have a row each. A page of
thousands stays bounded: `MOST_ROWS` rows, and no more than `IN_FULL` rollouts in full.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from killswitch.flags.shadow_share import shadowed_of
from killswitch.status.attention import Attention, Need, attention
from killswitch.status.html_document import Cell, Row, document, table, text, utc, with_commands
from killswitch.status.roles_html import roles_section
from killswitch.status.rollout_html import address_of, moment_of, rollout_section, said_of
from killswitch.wording import labelled, plain

IN_FULL: Final = 10
MOST_ROWS: Final = 2_000
_FAR: Final = 30  # rows after which the browser need not lay out what is not on the screen
_MOST_WHY: Final = 160  # characters
_COUNTED: Final = {
    "unreadable": "unreadable", "unknown": "UNKNOWN", "tripped": "tripped", "pinned": "pinned", "armed": "armed",
    "complete": "complete", "absent": "without a flag",
}  # fmt: skip

_Ranked = tuple[Attention, Mapping[str, Any]]


def status_page(status: Mapping[str, Any]) -> str:
    """The page for a document of `status_document`; every text in it is escaped."""
    body = [f"<h1>LLM canary kill switch</h1><p class=dim>{_heading(status)}</p>"]
    body += [
        f"<p class=problem>{escape(labelled(label, str(status[key])))}</p>"
        for key, label in (("store_problem", "flag store"), ("source_problem", "metric source"))
        if status.get(key)
    ]
    ranked = sorted(
        ((attention(one), one) for one in status["rollouts"]),
        key=lambda entry: (list(Need).index(entry[0].need), entry[0].rank, str(entry[1]["rollout"])),
    )
    body += _groups(ranked, moment_of(status.get("tick")))
    body.append(roles_section(status.get("roles")))
    if status.get("age_seconds") is None and not status["rollouts"]:
        body.append("<p>No cycle has finished yet.</p>")
    return document(_title(ranked), body, refresh=True)


def _title(ranked: Sequence[_Ranked]) -> str:
    """So that a tab in the background says it."""
    needed = sum(found.need is Need.PERSON for found, _ in ranked)
    return f"({needed}) Kill switch" if needed else "Kill switch"


def _heading(status: Mapping[str, Any]) -> str:
    age = status.get("age_seconds")
    when = "no cycle yet" if age is None else f"judged at {utc(status['tick'])}, {age:.0f} s ago"
    states = Counter(one["state"] for one in status["rollouts"])
    counted = ", ".join(f"{states[state]} {_COUNTED[state]}" for state in _COUNTED if states[state])
    return f"controller {escape(str(status['controller']))}, {when}" + (f"; rollouts: {counted}" if counted else "")


def _groups(ranked: Sequence[_Ranked], at: float | None) -> list[str]:
    """A heading for each group; below it some of its rollouts in full, and a row for each of the others."""
    found: list[str] = []
    full, rows = IN_FULL, MOST_ROWS
    for need in Need:
        group = [entry for entry in ranked if entry[0].need is need]
        if not group:
            continue
        found.append(f"<h2>{need.value} ({len(group):,})</h2>")
        in_full = group[:full] if need is Need.PERSON or len(ranked) <= IN_FULL else []
        full -= len(in_full)
        found += [_in_full(one, at) for _, one in in_full]
        rest = group[len(in_full) :]
        shown, rows = rest[:rows], max(0, rows - len(rest))
        found.append(_rows(shown, need))
        if len(shown) < len(rest):
            more = len(rest) - len(shown)
            found.append(f"<p class=dim>and {more:,} more: <code>killswitch status</code></p>")
    return found


def _in_full(one: Mapping[str, Any], at: float | None) -> str:
    name, state = escape(str(one["rollout"])), escape(str(one["state"]))
    return (
        f'<h3><a href="{address_of(one["rollout"])}">{name}</a> <span class={state}>{state}</span></h3>'
        f"{rollout_section(one, at)}"
    )


def _rows(ranked: Sequence[_Ranked], need: Need) -> str:
    heads = ("rollout", "state", "traffic", "why")
    rows = [_row(found, one, far=number >= _FAR) for number, (found, one) in enumerate(ranked)]
    return table(f"{need.value}, by name" if need is not Need.PERSON else "", heads, rows)


def _row(found: Attention, one: Mapping[str, Any], *, far: bool) -> Row:
    state = str(one["state"])
    link = f'<a href="{address_of(one["rollout"])}">{escape(str(one["rollout"]))}</a>'
    css = "problem" if found.need is Need.PERSON else "watch" if found.need is Need.WATCH else ""
    said = "" if found.need is Need.NOTHING else plain(said_of(one), _MOST_WHY)
    why = escape(f"{found.why}: " if found.why and said else found.why) + with_commands(said)
    return Row([Cell(link), text(state, escape(state)), text(_traffic(one)), Cell(why, css)], "far" if far else "")


def _traffic(one: Mapping[str, Any]) -> str:
    if one["state"] != "armed":
        return "" if one["state"] in ("unknown", "unreadable") else "control only"
    shadowed = shadowed_of(one)
    return f"{one['canary_percent']:g}% {one['stage']}{f', {shadowed}' if shadowed else ''}"
