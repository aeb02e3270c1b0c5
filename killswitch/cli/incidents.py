"""``killswitch incidents``: every trip that the flag store keeps, the newest first."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from killswitch.cli.invocation import JsonOption, SettingsOption, StoreOption, opened, print_problems, say, show
from killswitch.cli.known_rollout import check_known
from killswitch.cli.since import SinceOption, since_when
from killswitch.cli.terminal import one_line
from killswitch.flags.incident import Incident, to_document
from killswitch.incidents.reading import all_incidents
from killswitch.trips.incidents import Record
from killswitch.wording import date_and_time, plain

OneRollout = Annotated[str | None, typer.Option("--rollout", help="Only this rollout.", show_default=False)]
_REASON = 160


def command(
    rollout: OneRollout = None,
    since: SinceOption = None,
    store: StoreOption = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """List every trip that the flag store keeps, the newest first. It needs no daemon."""
    after = since_when(since, now=time.time())
    with opened(store, settings) as (known_settings, opened_store, switch):
        records = all_incidents(opened_store, rollout)
        if rollout is not None and not records:
            check_known(known_settings, opened_store, switch, rollout)
    unread = [record for record in records if record.incident is None]
    found = [one for one in records if one.incident is not None and one.incident.decided_at >= after]
    if unread:
        print_problems([f"{record.id} cannot be read: {record.problem}" for record in unread], style="yellow")
    show([_document(record) for record in found], as_json=as_json, otherwise=lambda: _print(found))


def _document(record: Record) -> dict[str, Any]:
    assert record.incident is not None
    document: dict[str, Any] = json.loads(to_document(record.incident))
    return document | {"id": record.id}


def _print(found: Sequence[Record]) -> None:
    if not found:
        say("no incident")
    for record in found:
        assert record.incident is not None
        say(one_line(f"{record.id}  {date_and_time(record.incident.decided_at)}  {_state(record.incident)}"))
        say(one_line(f"    {plain(record.incident.reason, _REASON)}"))
    if found:
        say(f"All of one: killswitch incident show {found[0].id}")


def _state(incident: Incident) -> str:
    taken = incident.acknowledged
    return f"tripped {incident.who}, " + ("not acknowledged" if taken is None else f"acknowledged by {taken.by}")
