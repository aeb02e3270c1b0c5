"""A page as an alert of Alertmanager's API v2. Pure.

Alertmanager takes alerts with the same labels for one alert. So the labels say what the alert is about, and never
change; every number and text is an annotation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from killswitch.documents import Fields
from killswitch.errors import BadDocument
from killswitch.pages.page import SEVERITIES, Page, PageKind
from killswitch.pages.receivers.alert_life import web_links
from killswitch.pages.text import plain_text
from killswitch.timestamps import to_iso
from killswitch.wording import plain

EVENT_LASTS = 3600.0  # seconds; an alert that nothing re-sends and nothing ends
MAX_TEXT = 16_000  # characters
# the incident is open for as long as the flag is tripped, so these are one alert, re-sent until it is not
OF_INCIDENTS = frozenset({PageKind.TRIPPED, PageKind.PINNED})
_INCIDENT = re.compile(r"(?P<rollout>[a-z0-9][a-z0-9._-]{0,62})\.(?P<generation>[0-9]{1,16})\Z")
Labels = Mapping[str, str]


def labels_of(page: Page) -> Labels:
    """The labels of the alert that this page is or belongs to."""
    kind, rollout, generation = page.kind, page.rollout, page.generation
    incident = _INCIDENT.match(page.follows or page.id)
    if kind in OF_INCIDENTS:
        kind = PageKind.TRIPPED
        if incident is not None:
            rollout, generation = incident["rollout"], int(incident["generation"])
    labels = {"alertname": _alert_name(kind.value), "severity": page.severity, "generation": str(generation)}
    return labels | ({"rollout": rollout} if rollout else {})


def ended_labels(page: Page) -> list[Labels]:
    """The labels that the alerts of a trip may have, for a page that ends it: their severity is not known any more.

    Alertmanager notifies no one of the end of an alert that it does not have.
    """
    incident = _INCIDENT.match(page.follows or "")
    if incident is None:
        return []
    return [
        {
            "alertname": _alert_name(kind.value),
            "generation": incident["generation"],
            "rollout": incident["rollout"],
            "severity": severity,
        }
        for kind in (PageKind.TRIPPED, PageKind.CONTROL_DROWNS, PageKind.FOLLOWED)
        for severity in SEVERITIES
    ]


def alert(page: Page, *, ends_at: float, possible_repeat: bool = False) -> dict[str, Any]:
    """The alert, active until ``ends_at`` (Unix seconds)."""
    annotations = {
        "summary": plain(page.headline, 400),
        "description": plain_text(page, possible_repeat=possible_repeat)[:MAX_TEXT],
        "reason": page.why,
        "page": page.id,
    }
    links = {"Incident": "incident_url", "Runbook": "runbook_url", "Dashboard": "dashboard_url"}
    annotations |= {links[name]: link for name, link in web_links(page)}
    return {
        "labels": dict(labels_of(page)),
        "annotations": {name: text for name, text in annotations.items() if text},
        "startsAt": to_iso(min(page.at, ends_at)),
        "endsAt": to_iso(ends_at),
        **({"generatorURL": page.link} if page.link else {}),
    }


def ended(labels: Iterable[Labels], at: float) -> list[dict[str, Any]]:
    """Alerts with these labels that end ``at`` (Unix seconds)."""
    return [{"labels": dict(one), "annotations": {}, "endsAt": to_iso(at)} for one in labels]


def to_reference(labels: Labels) -> str:
    return json.dumps(dict(labels), sort_keys=True)


def from_reference(reference: str) -> Labels | None:
    """The labels in a reference; None where it is none of ours."""
    try:
        fields = Fields(json.loads(reference), "reference")
        return {name: fields.text(name) for name in fields.raw} or None
    except (ValueError, RecursionError, BadDocument):
        return None


def _alert_name(kind: str) -> str:
    """``CANNOT_ACT`` -> ``CanaryCannotAct``."""
    return "Canary" + "".join(word.capitalize() for word in kind.split("_"))
