"""What a page says: the facts of one event, in words a person at 3 a.m. can act on.

A `Page` is a plain document: it is written into the outbox in the same transaction as the flip and
rendered by each pager in its own format, so every receiver tells the same story.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from killswitch.errors import BadDocument

FORMAT = 1


class PageKind(StrEnum):
    TRIPPED = "TRIPPED"
    WOULD_TRIP = "WOULD_TRIP"
    BLIND = "BLIND"
    CANNOT_ACT = "CANNOT_ACT"
    CONTROL_TOO = "CONTROL_TOO"
    TRAFFIC_SPLIT = "TRAFFIC_SPLIT"
    NEVER_SEEN = "NEVER_SEEN"
    RECOVERED = "RECOVERED"
    RE_ARMED = "RE_ARMED"
    RULES_REFUSED = "RULES_REFUSED"
    INTERNAL_ERROR = "INTERNAL_ERROR"


@dataclass(frozen=True, slots=True)
class RuleRow:
    """One rule of the side-by-side table, already in words ("8.7 %"), and whether it tripped."""

    rule: str
    verdict: str
    canary: str
    control: str
    limit: str
    samples: str
    tripping: bool


@dataclass(frozen=True, slots=True)
class Page:
    """One page. ``id`` is the incident's id for TRIPPED, unique for every other event.

    ``headline``: what was done. ``why``: one sentence. ``next_steps``: what the reader does now.
    ``payload``: the machine-readable form of DESIGN.md 7 (seven fixed names, ours beside them).
    ``at`` is Unix seconds. ``slack``, ``mention``, ``severity``, ``runbook``, ``dashboard`` are the
    rule file's page settings at the time of the event.
    """

    id: str
    kind: PageKind
    rollout: str
    generation: int
    at: float
    headline: str
    why: str
    rows: tuple[RuleRow, ...]
    next_steps: tuple[str, ...]
    payload: dict[str, Any]
    severity: str = "critical"
    slack: str | None = None
    mention: str | None = None
    runbook: str | None = None
    dashboard: str | None = None


def page_to_json(page: Page) -> dict[str, Any]:
    return {"format": FORMAT, **asdict(page)}


def page_from_json(document: object) -> Page:
    """The inverse of `page_to_json`. Raises BadDocument."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise BadDocument("page: not a page document of this format")
    try:
        fields = {name: document[name] for name in Page.__dataclass_fields__}
        fields["kind"] = PageKind(fields["kind"])
        fields["rows"] = tuple(RuleRow(**row) for row in fields["rows"])
        fields["next_steps"] = tuple(str(step) for step in fields["next_steps"])
        json.dumps(fields["payload"])
        return Page(**fields)
    except (KeyError, TypeError, ValueError) as error:
        raise BadDocument(f"page: {error!r}") from error
