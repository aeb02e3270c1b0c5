"""``killswitch explain``: why it tripped, or why it did not, with every number and query."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from killswitch.cli.controllers import DEFAULT_URL, ask, understood
from killswitch.cli.invocation import (
    JsonOption,
    RolloutArgument,
    SettingsOption,
    StoreOption,
    UrlOption,
    fail,
    opened,
    out,
    show,
)
from killswitch.cli.terminal import one_line
from killswitch.errors import KillswitchError, UnknownRollout
from killswitch.findings_table import findings_table
from killswitch.flag import State
from killswitch.incident import from_document
from killswitch.incident import to_document as incident_document
from killswitch.stores import Store, keys
from killswitch.switch import Switch


def command(
    rollout: RolloutArgument,
    store: StoreOption = None,
    url: UrlOption = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """The last incident if it is tripped, else the last decision: findings, numbers, queries, sentence."""
    with opened(store, settings) as (_, opened_store, switch):
        document = _incident(opened_store, switch, rollout)
        if document is None:
            try:
                document = ask(url, f"/api/v1/explain/{rollout}")
            except KillswitchError as error:
                fail(f"{rollout} is not tripped, and no controller answers at {url or DEFAULT_URL}: {error}", 3)
        if document is None:
            raise UnknownRollout(rollout, switch.everything()[0])
        known = document
        with understood(url):  # an incident was understood when it was read
            show(known, as_json=as_json, otherwise=lambda: _print(one_line(known)))


def _incident(store: Store, switch: Switch, rollout: str) -> dict[str, Any] | None:
    standing = switch.standing(rollout)
    if standing.flag is None or standing.flag.state is not State.TRIPPED:
        return None
    prefix = keys.incident(rollout, standing.flag.generation)
    # a second record of one generation exists where somebody put an armed flag back by hand; the newest counts
    items = [item for item in store.list(prefix).items if item.key == prefix or item.key.startswith(prefix + ".")]
    if not items:
        return None
    newest = max(items, key=lambda item: item.mod_revision)
    document: dict[str, Any] = json.loads(incident_document(from_document(newest.value, rollout=rollout)))
    return document


def _print(document: Mapping[str, Any]) -> None:
    if "decided_at" in document:
        who = "by itself" if document["automatic"] else f"by {document['by']}"
        out.print(Text(f"{document['rollout']}: tripped {who} at {document['decided_at']}", style="bold"))
        facts = [
            ("why", document["reason"]),
            ("incident", document["id"]),
            ("before", f"{document['percent_before']:g}% {document['canary']}, stage {document['stage_before']}"),
            ("tick", document["tick"]),
            ("tick to flip", None if document["latency_seconds"] is None else f"{document['latency_seconds']:.1f} s"),
            ("controller", f"{document['controller']} {document['version']}".strip()),
            ("rules", f"{document['rules_file']} {document['rules_digest']}".strip()),
        ]
        facts += [("paged", f"{p['receiver']} at {p['at']} {p['reference']}") for p in document["pages"]]
    else:
        out.print(Text(f"{document['rollout']}: {document['state']}", style="bold"))
        facts = [("decision", document["sentence"]), ("tick", document["tick"])]
        judged = document.get("judged", {})
        facts += [("rules", f"{judged['rules_file']} {judged['rules_digest']}")] if judged else []
    grid = Table(box=None, show_header=False, padding=(0, 2))
    for name, value in facts:
        if value:
            grid.add_row(Text(name, style="dim"), Text(str(value)))
    out.print(grid)
    if document["findings"]:
        out.print(findings_table(document["findings"]))
    for finding in document["findings"]:
        out.print(Text(f"\n{finding['sentence']}"), soft_wrap=True)
        for query in finding["queries"]:
            out.print(Text(f"  {query}", style="dim"), soft_wrap=True)
