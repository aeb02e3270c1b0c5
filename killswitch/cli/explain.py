"""``killswitch explain``: why a rollout tripped, or why it did not, with every number and query."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from killswitch.cli.ask_controller import ask, no_answer, understood
from killswitch.cli.console import err, out
from killswitch.cli.invocation import (
    EXIT_UNAVAILABLE,
    JsonOption,
    SettingsOption,
    StoreOption,
    UrlOption,
    fail,
    opened,
    say,
    show,
)
from killswitch.cli.newest_status import as_stored, unjudged
from killswitch.cli.terminal import one_line
from killswitch.drill.record import not_an_incident
from killswitch.errors import KillswitchError, NoFlag
from killswitch.flags.incident import to_document as incident_document
from killswitch.flags.incident import who_tripped
from killswitch.flags.shadow_share import shadowed_of
from killswitch.pages.finding_rows import is_slow
from killswitch.status.table import findings_table
from killswitch.stores import Store
from killswitch.timestamps import from_iso, to_iso
from killswitch.trips.armed_pairs import stored_pair
from killswitch.trips.incidents import (
    Record,
    incident_called,
    incident_of_trip,
    incidents_of,
    latest_incident,
    split_id,
)
from killswitch.trips.stored_flags import StoredFlag
from killswitch.trips.switch import Switch
from killswitch.wording import duration_in_words, reasons_in_words, untagged

_LISTED = 10
_RANGE = re.compile(r"\[([0-9]+)ms\]", re.ASCII)  # of a query, in milliseconds
_DIGEST = 12  # characters; --json has all of them

OptionalRollout = Annotated[
    str | None, typer.Argument(help="The rollout's name; without it, the latest incident of all.", show_default=False)
]
IncidentOption = Annotated[
    str | None, typer.Option("--incident", help="An older incident, such as support-copilot.3 or 3.")
]


def command(
    rollout: OptionalRollout = None,
    incident: IncidentOption = None,
    store: StoreOption = None,
    url: UrlOption = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the state of a rollout and why: its incident if it is tripped, else the last decision; then older incidents.

    Without a name, it shows the latest incident of all rollouts. To see an older incident, give --incident, or its id
    instead of the rollout's name.

    Flags and incidents come from the flag store, the decision on an armed rollout from a controller (--url). Exits with
    3 if no controller answers.
    """
    with opened(store, settings) as (_, opened_store, switch):
        if rollout is None:
            _show_record(_latest(opened_store, incident), as_json=as_json)
            return
        records = incidents_of(opened_store, rollout)
        if incident is not None:
            _show_record(_chosen(records, rollout, incident), as_json=as_json)
            return
        stored = switch.stored(rollout)
        if stored.flag is None and not records:
            meant = _by_id_alone(opened_store, rollout)
            if meant is not None:
                _show_record(meant, as_json=as_json)
                return
        document, problem = _now(rollout, stored, records, url)
        if stored.flag is None and not records and document is None:
            _unknown(rollout, switch, problem)
        known = document or as_stored(unjudged(rollout), stored, reached=problem is None)
        known["rests_on"] = _rests_on(opened_store, stored)
        with understood(url):  # an incident has been checked when it was read
            show(known, as_json=as_json, otherwise=lambda: _print(one_line(known)))
        if problem is not None:
            fail(problem, EXIT_UNAVAILABLE)


def _rests_on(store: Store, stored: StoredFlag) -> str | None:
    """The role's slots that the rollout compares, and its evidence; None of two models."""
    if stored.flag is None:
        return None
    try:
        pair = stored_pair(store, stored.flag.rollout, stored.flag.generation)
    except KillswitchError as error:
        return str(error)
    return None if pair is None else pair.sentence


# --- what is known ------------------------------------------------------------------------------


def _now(
    rollout: str, stored: StoredFlag, records: Sequence[Record], url: str | None
) -> tuple[dict[str, Any] | None, str | None]:
    """The rollout's state, None if only its name is known; and the problem, if the controller could not be asked."""
    flag = stored.flag
    tripped_on = None if flag is None else incident_of_trip(records, flag)
    this = None if tripped_on is None else tripped_on.id
    earlier = [_listed(record) for record in records if record.id != this]
    if flag is not None and tripped_on is not None:
        document = {**_incident(tripped_on), "state": flag.state.value, "earlier_incidents": earlier}
        return document, None
    problem = None
    said: dict[str, Any] | None = None
    try:
        said = ask(url, f"/api/v1/explain/{rollout}")
    except KillswitchError as error:
        if flag is None or flag.armed:
            problem = f"{no_answer(url)}, so no decision can be shown: {error}"
    if said is None and flag is None and not records:
        return None, problem
    with understood(url):
        document = as_stored(said or unjudged(rollout), stored, reached=problem is None)
        document["earlier_incidents"] = earlier
    return document, problem if flag is not None else None


def _chosen(records: Sequence[Record], rollout: str, name: str) -> Record:
    record = incident_called(records, rollout, name)
    if record is None:
        _fail_of_a_drill(name if name.startswith(f"{rollout}.") else f"{rollout}.{name}")
        known = ", ".join(each.id for each in records[:_LISTED])
        fail(f"{rollout} has no incident {name!r}; " + (f"it has {known}" if known else "it has none"))
    return record


def _latest(store: Store, name: str | None) -> Record:
    """The newest incident of all, or the one of this id."""
    if name is not None:
        meant = _by_id(store, name)
        if meant is None:
            _fail_of_a_drill(name)
            fail(f"there is no incident {name!r}; write the whole id, such as support-copilot.7")
        return meant
    latest = latest_incident(store)
    if latest is None:
        fail("there is no incident yet; name a rollout to see its last decision (`killswitch status` lists rollouts)")
    return latest


def _by_id(store: Store, name: str) -> Record | None:
    """The record of the incident whose id was given instead of a rollout."""
    parts = split_id(name)
    return None if parts is None else incident_called(incidents_of(store, parts[0]), *parts)


def _by_id_alone(store: Store, name: str) -> Record | None:
    """`_by_id` where nothing but ``name`` was given: fails if its rollout has other incidents only."""
    parts = split_id(name)
    records = () if parts is None else incidents_of(store, parts[0])
    return _chosen(records, parts[0], name) if parts is not None and records else None


def _fail_of_a_drill(name: str) -> None:
    said = not_an_incident(name)
    if said is not None:
        fail(said)


def _unknown(rollout: str, switch: Switch, problem: str | None) -> None:
    _fail_of_a_drill(rollout)
    known = switch.everything()[0]
    if problem is not None:
        err.print(problem, style="yellow", markup=False, soft_wrap=True)
    raise NoFlag(rollout, known)


def _incident(incident: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(incident_document(incident))
    return document


def _listed(record: Record) -> dict[str, Any]:
    one = record.incident
    if one is None:
        return {
            "id": record.id, "at": None, "automatic": None, "by": None, "alert": None,
            "reason": f"unreadable: {record.problem}",
        }  # fmt: skip
    return {
        "id": record.id,
        "at": to_iso(one.decided_at),
        "automatic": one.automatic,
        "by": one.by,
        "alert": None if one.alert is None else one.alert.name,
        "reason": one.reason,
    }


# --- for people ---------------------------------------------------------------------------------


def _show_record(record: Record, *, as_json: bool) -> None:
    if record.incident is None:
        fail(f"incident {record.id} cannot be read: {record.problem}")
    document = _incident(record.incident) | {"id": record.id}
    show(document, as_json=as_json, otherwise=lambda: _print(one_line(document)))


def _print(document: Mapping[str, Any]) -> None:
    facts = _print_incident(document) if "decided_at" in document else _print_decision(document)
    grid = Table(box=None, show_header=False, padding=(0, 2))
    for name, value in facts:
        if value:
            grid.add_row(Text(name, style="dim"), Text(str(value), overflow="fold"))
    if document.get("rests_on"):
        grid.add_row(Text("rests on", style="dim"), Text(str(document["rests_on"]), overflow="fold"))
    out.print(grid)
    if document["findings"]:
        at = _time(document.get("decided_at") or document.get("tick"))
        out.print(findings_table(document["findings"], window=_window(document), at=at))
    if any(finding["queries"] for finding in document["findings"]):
        when = f"Each query below was evaluated at {document['tick']}. Run it for that time to get the table's numbers."
        out.print(Text(f"\n{when}{_shorter_table(document)}", style="dim"), soft_wrap=True)
    for finding in document["findings"]:
        out.print(Text(f"\n{finding['sentence']}"), soft_wrap=True)
        for query in finding["queries"]:
            out.print(Text(f"  {query}", style="dim"), soft_wrap=True)
    _print_earlier(document["rollout"], document.get("earlier_incidents", ()))


def _shorter_table(document: Mapping[str, Any]) -> str:
    """Until a stage is a window old, the table counts from its beginning, and the queries reach back further."""
    window = _window(document)
    ranges = {int(one) for finding in document["findings"] for one in _RANGE.findall(" ".join(finding["queries"]))}
    if window is None or not ranges or window * 1000 >= max(ranges):
        return ""
    return (
        f" But the table counts only the last {duration_in_words(window)}, since the stage began, and the queries "
        f"reach back {duration_in_words(math.ceil(max(ranges) / 1000))}."
    )


def _window(document: Mapping[str, Any]) -> float | None:
    """The window of the findings' values in seconds, if known."""
    window = document.get("window_seconds") or document.get("judged", {}).get("window_seconds")
    return None if window is None else float(window)


def _time(text: object) -> float | None:
    return from_iso(text) if isinstance(text, str) else None


def _print_incident(document: Mapping[str, Any]) -> list[tuple[str, Any]]:
    alert = document.get("alert")
    who = who_tripped(
        automatic=document["automatic"], by=str(document["by"]), alert=None if alert is None else str(alert["name"])
    )
    slow = bool(document["rules"]) and all(is_slow(rule) for rule in document["rules"])
    did = "pinned" if slow else "tripped"
    out.print(Text(f"{document['rollout']}: {did} {who} at {document['decided_at']}", style="bold"))
    window = document["window_seconds"]
    routers, latency = document["routers"], document["latency_seconds"]
    taken = document.get("acknowledged")
    return [
        ("why", document["reason"]),
        ("incident", document["id"]),
        ("before", f"{document['percent_before']:g}% {document['canary']}, stage {document['stage_before']}"),
        ("evaluated for" if slow else "tick", document["tick"]),
        ("tick to flip", None if slow or latency is None else f"{latency:.1f} s"),
        ("controller", f"{document['controller']}, version {document['version']}" if document["controller"] else None),
        ("rules", f"{document['rules_file']} {document['rules_digest'][:_DIGEST]}".strip()),
        *_alert_rows(document.get("alert")),
        *(("paged", f"{page['receiver']} at {page['at']} {page['reference']}") for page in document["pages"]),
        ("looked after", None if taken is None else f"by {taken['by']} since {taken['at']}"),
        ("routers", None if routers is None else f"{routers['followed']} of {routers['known']} had followed"),
        ("table", f"the {duration_in_words(window)} before the trip" if window and document["findings"] else None),
    ]


def _alert_rows(alert: Mapping[str, Any] | None) -> list[tuple[str, Any]]:
    """The alert of another system that tripped it."""
    if alert is None:
        return []
    labels = ", ".join(f"{name}={value}" for name, value in alert["labels"].items())
    texts = ((f"its {name}", text) for name, text in alert["annotations"].items())
    return [
        ("alert", f"{alert['name']}, since {alert['starts_at']}: {labels}"),
        *texts,
        ("from", alert["generator_url"]),
    ]


def _print_decision(document: Mapping[str, Any]) -> list[tuple[str, Any]]:
    said = Text(f"{document['rollout']}: {document['state']}", style="bold")
    if document["state"] == "armed":
        said.append(
            f", generation {document['generation']}, stage {document['stage']}:"
            f" {document['canary_percent']:g}% {document['canary']}, rest {document['control']}"
            + (f"; {shadowed}" if (shadowed := shadowed_of(document)) else "")
        )
    out.print(said, soft_wrap=True)  # names of classes are as long as they are
    judged = document.get("judged", {})
    window = judged.get("window_seconds")
    return [
        ("decision", reasons_in_words(untagged(str(document["sentence"])))),
        ("tick", document.get("tick") if document["findings"] else None),
        ("rules", f"{judged['rules_file']} {judged['rules_digest'][:_DIGEST]}" if judged else None),
        ("table", f"the last {duration_in_words(window)}" if window and document["findings"] else None),
    ]


def _print_earlier(rollout: str, earlier: Sequence[Mapping[str, Any]]) -> None:
    if not earlier:
        return
    out.print(Text("\nearlier incidents", style="bold"))
    for one in earlier[:_LISTED]:
        who = who_tripped(automatic=one["automatic"], by=str(one["by"]), alert=one["alert"])
        say(f"  {one['id']}  " + (f"{one['at']} {who}: {one['reason']}" if one["at"] else str(one["reason"])))
    if len(earlier) > _LISTED:
        say(f"  and {len(earlier) - _LISTED} more (--json lists all)")
    say(f"  see one: `killswitch explain {rollout} --incident {earlier[0]['id']}`")
