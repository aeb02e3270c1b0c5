"""One rollout as it is now, as a section of a page, from the JSON of the status; every text in it is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any
from urllib.parse import quote

from killswitch.flags.shadow_share import shadowed_of
from killswitch.status.html_document import utc, with_commands
from killswitch.status.plan_html import plan_section, slow_section
from killswitch.status.rules_html import rules_table
from killswitch.timestamps import from_iso
from killswitch.wording import duration_in_words, plain, reasons_in_words, untagged


def rollout_section(one: Mapping[str, Any], at: float | None, *, base: str = "") -> str:
    """What is known of a rollout now, without heading. ``at``: Unix seconds; ``base``: the way to the first page."""
    head = ""
    if one.get("state_as_of"):
        head = f"<p class=problem>as last read at {utc(one['state_as_of'])}; it may have changed since</p>"
    spend = "".join(f"<p class=why>spend: {escape(str(cap['line']))}</p>" for cap in one.get("spend", ()))
    body = _tripped(one, one["trip"], base) if one.get("trip") else _untripped(one, at)
    if one.get("rests_on"):
        body += f"<p class=dim>{escape(str(one['rests_on']))}</p>"
    return head + body + slow_section(one.get("slow", ())) + plan_section(one.get("plan")) + spend


def said_of(one: Mapping[str, Any]) -> str:
    """The sentence without what is shown next to it: the flag's tag, and while it holds, its rules' sentences."""
    said = untagged(str(one["sentence"]))
    if one["action"] == "hold":
        for finding in one["findings"]:
            said = said.replace(f"; {finding['sentence']}", "")
    return reasons_in_words(said)


def moment_of(text: object) -> float | None:
    """Unix seconds of a document's time; None where it has none."""
    return from_iso(text) if isinstance(text, str) else None


def address_of(rollout: object) -> str:
    """The path of a rollout's own page, from the first page."""
    return f"rollouts/{quote(str(rollout), safe='', errors='replace')}"


def incident_address(name: object) -> str:
    """The path of an incident's own page, from the first page."""
    return f"incidents/{quote(str(name), safe='', errors='replace')}"


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
    said = said_of(one)
    window = one.get("window_seconds")
    caption = f"the last {duration_in_words(window)}" if window else ""
    rules = rules_table(one["findings"], said, caption, window=window, at=at)
    kind = "" if one.get("monitored", True) else " class=problem"
    return f"<p class=dim>{models}{share}</p><p{kind}>{with_commands(said)}</p>{rules}"


def _tripped(one: Mapping[str, Any], trip: Mapping[str, Any], base: str) -> str:
    name = escape(str(one["rollout"]))
    by = f"{'by itself, controller' if trip['automatic'] else 'by'} {escape(str(trip['by']))},"
    if trip.get("alert") is not None:
        by = f"by alert {escape(plain(str(trip['alert']), 120))},"
    window = trip["window_seconds"]
    caption = "the rules as of the trip" if trip["findings"] else ""
    then = (
        f"and once it is fixed <code>killswitch rearm {name} --reason &quot;what was fixed&quot;</code>,"
        f" or <code>killswitch end {name}</code>"
    )
    if one["state"] == "pinned":
        then = f"and once it is settled <code>killswitch unpin {name} --reason &quot;why&quot;</code>"
    taken = trip.get("acknowledged")
    after = ""
    if taken is not None:
        after = f"<p>{escape(str(taken['by']))} looks after it since {utc(taken['at'])}</p>"
    rules = rules_table(trip["findings"], str(trip["reason"]), caption, window=window, at=moment_of(trip["at"]))
    return (
        f"<p class=dim>all traffic goes to {escape(str(one['control']))}; before, {trip['percent_before']:g}% went to"
        f" {escape(str(one['canary']))} (stage {escape(str(trip['stage_before']))}, generation"
        f" {escape(str(one['generation']))})</p>"
        f"<p>{escape(reasons_in_words(str(trip['reason'])))}</p>"
        f"<p class=dim>{'pinned' if one['state'] == 'pinned' else 'tripped'} {by} at {utc(trip['at'])}, incident"
        f' <a href="{base}{incident_address(trip["incident"])}">{escape(str(trip["incident"]))}</a></p>'
        f"{after}{rules}"
        f"<p class=next>next: <code>killswitch explain {name}</code>, {then}</p>"
    )
