"""The page: what one event says to people and to machines, as a value and as a stored document.

A `Page` is written into the outbox in the same transaction as the flip, and each receiver renders it in its own
format. So every receiver shows the same facts in the same order: what was done, why in one sentence, the rules side
by side, what to do next.

Texts come from rule files, metrics and error messages. All of them pass through `killswitch.wording.plain`: one line,
no control characters, at most 1,000 characters. A receiver escapes them for its own markup.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

from killswitch.documents import Fields
from killswitch.errors import BadDocument
from killswitch.page_addresses import NO_ADDRESSES, PageAddresses
from killswitch.pages.stage_rows import StageRow
from killswitch.wording import plain

FORMAT = 1
MAX_NAME = 120
MAX_ROWS = 40
MAX_STEPS = 12
MAX_ROLLOUTS = 1000  # named in a payload; ``rollouts_count`` says how many there are
FLEET = "_fleet"  # no rollout can have this name: names begin with a letter or digit


class PageKind(StrEnum):
    TRIPPED = "TRIPPED"
    WOULD_TRIP = "WOULD_TRIP"
    BLIND = "BLIND"
    CANNOT_ACT = "CANNOT_ACT"
    CONTROL_TOO = "CONTROL_TOO"
    TRAFFIC_SPLIT = "TRAFFIC_SPLIT"
    NEVER_SEEN = "NEVER_SEEN"
    RULE_BLIND = "RULE_BLIND"
    UNWATCHED = "UNWATCHED"
    FLAG_UNREADABLE = "FLAG_UNREADABLE"
    RECOVERED = "RECOVERED"
    RE_ARMED = "RE_ARMED"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    ENDED = "ENDED"
    RULES_REFUSED = "RULES_REFUSED"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    FOLLOWED = "FOLLOWED"
    NAME_TAKEN = "NAME_TAKEN"
    SLOW_UNKNOWN = "SLOW_UNKNOWN"
    PINNED = "PINNED"
    UNPINNED = "UNPINNED"
    READY = "READY"
    ADVANCED = "ADVANCED"
    PLAN_HELD = "PLAN_HELD"
    COMPLETE = "COMPLETE"
    ROLLED_OUT = "ROLLED_OUT"
    CONTROL_DROWNS = "CONTROL_DROWNS"
    SPEND_SOFT = "SPEND_SOFT"
    SPEND_HARD = "SPEND_HARD"
    SPEND_UNKNOWN = "SPEND_UNKNOWN"
    PROMOTED = "PROMOTED"
    ROLE_ROLLED_BACK = "ROLE_ROLLED_BACK"
    MODEL_GONE = "MODEL_GONE"
    MODEL_RETIRING = "MODEL_RETIRING"
    MODEL_UNKNOWN = "MODEL_UNKNOWN"
    MODEL_MISMATCH = "MODEL_MISMATCH"
    TEST = "TEST"
    DRILL = "DRILL"
    DRILL_FAILED = "DRILL_FAILED"
    DRILL_MISSED = "DRILL_MISSED"
    DIGEST = "DIGEST"


@dataclass(frozen=True, slots=True)
class RuleRow:
    """One line of the table of rules, already in words ("8.7%"), and whether this rule tripped.

    A rule that tripped by evidence has a second line about its window, with an empty ``rule`` and ``verdict``.
    ``samples``: ``53 of 189`` events of requests, or both cohorts' requests; ``counted``: over which time.
    """

    rule: str
    verdict: str
    canary: str
    control: str
    limit: str
    samples: str
    counted: str
    tripping: bool


@dataclass(frozen=True, slots=True)
class Page:
    """One page. ``id`` is the incident's id for TRIPPED, unique for every other event.

    ``headline``: what was done. ``why``: one sentence. ``next_steps``: what the reader does now.
    ``payload``: the machine-readable form (seven fixed names, and others; see `killswitch.pages.payload`).
    ``at`` is Unix seconds. ``slack``, ``mention``, ``severity``, ``runbook``, ``dashboard`` are the
    rule file's page settings at the time of the event. ``follows`` is the id of the page that this one
    continues (a re-arm continues its trip), so that a receiver can show both together. ``exposed`` says how many
    users and requests the canary had, "" where there is no incident. ``pagerduty`` names an integration key.
    A page about a role has ``role:<name>`` as its ``rollout``, and the number of the change as its ``generation``.
    ``link`` is the address of the incident, or of the rollout, on the daemon's own pages. ``stages``: those of the
    rollout's plan, for a page about it. ``addresses``: the rule file's other receivers, and its routes.
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
    follows: str | None = None
    exposed: str = ""
    pagerduty: str | None = None
    link: str | None = None
    stages: tuple[StageRow, ...] = ()
    addresses: PageAddresses = NO_ADDRESSES

    @property
    def good_news(self) -> bool:
        """No one has to act on it: it mentions no one, and stays in the thread of the page that it continues."""
        return self.payload.get("good_news") is True


def about(kind: PageKind) -> str:
    """The last step of a page: which section of the runbook explains pages of this kind."""
    return f"About {kind.value} pages: docs/runbook.md#{kind.value.lower()}"


def with_steps(page: Page, steps: Sequence[str]) -> Page:
    """The page with these next steps after its own, at most `MAX_STEPS` of them, and its section of the runbook."""
    bounded = (plain(step) for step in (*page.next_steps, *steps)[:MAX_STEPS])
    return replace(page, next_steps=(*bounded, about(page.kind)))


def identified(page: Page, page_id: str) -> Page:
    """The page under another id, one that all replicas agree on, so that it is sent once."""
    return replace(page, id=page_id, payload={**page.payload, "page": page_id})


SEVERITIES = ("critical", "error", "warning", "info")


_PAGE_FIELDS = tuple(one.name for one in fields(Page))
_ROW_FIELDS = tuple(one.name for one in fields(RuleRow))
_STAGE_FIELDS = tuple(one.name for one in fields(StageRow))


def page_to_json(page: Page) -> dict[str, Any]:
    """For writing only: it shares the page's payload. `dataclasses.asdict` copies it, half of what a flip costs."""
    rows = [{name: getattr(row, name) for name in _ROW_FIELDS} for row in page.rows]
    stages = [{name: getattr(stage, name) for name in _STAGE_FIELDS} for stage in page.stages]
    plain_fields = {name: getattr(page, name) for name in _PAGE_FIELDS}
    addresses = _addresses_to_json(page.addresses)
    return {"format": FORMAT, **plain_fields, "rows": rows, "stages": stages, "addresses": addresses}


def page_from_json(document: object) -> Page:
    """The inverse of `page_to_json`. Raises BadDocument.

    Anyone with access to the outbox may have written it, so its texts are made plain again, as when a page is built.
    """
    fields = Fields(document, "page")
    if fields.raw.get("format") != FORMAT:
        raise BadDocument("page: not a page document of this format")
    payload = Fields(fields.raw.get("payload"), "page, payload").raw
    try:
        kind = PageKind(fields.text("kind"))
        json.dumps(payload, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise BadDocument(f"page: {error}") from error
    severity = fields.text("severity")
    if severity not in SEVERITIES:
        raise BadDocument(f"page: severity {severity!r:.80} is none of {', '.join(SEVERITIES)}")
    return Page(
        id=fields.text("id"),
        kind=kind,
        rollout=fields.text("rollout", empty=True),
        generation=fields.integer("generation"),
        at=fields.number("at"),
        headline=plain(fields.text("headline")),
        why=plain(fields.text("why", empty=True)),
        rows=tuple(_row(row) for row in fields.objects("rows")),
        next_steps=tuple(plain(step) for step in fields.texts("next_steps")),
        payload=payload,
        severity=severity,
        slack=fields.optional_text("slack"),
        mention=fields.optional_text("mention"),
        runbook=fields.optional_text("runbook"),
        dashboard=fields.optional_text("dashboard"),
        follows=fields.optional_text("follows"),
        exposed=plain(fields.text("exposed", empty=True)),
        pagerduty=fields.optional_text("pagerduty"),
        link=fields.optional_text("link"),
        stages=tuple(_stage(stage) for stage in fields.objects("stages")),
        addresses=_addresses(Fields(fields.raw.get("addresses"), "page, addresses")),
    )


def _row(fields: Fields) -> RuleRow:
    return RuleRow(
        rule=plain(fields.text("rule", empty=True)),
        verdict=plain(fields.text("verdict", empty=True)),
        canary=plain(fields.text("canary", empty=True)),
        control=plain(fields.text("control", empty=True)),
        limit=plain(fields.text("limit", empty=True)),
        samples=plain(fields.text("samples", empty=True)),
        counted=plain(fields.text("counted", empty=True)),
        tripping=fields.flag("tripping"),
    )


def _stage(fields: Fields) -> StageRow:
    return StageRow(*(plain(fields.text(name, empty=True)) for name in _STAGE_FIELDS))


def _addresses_to_json(one: PageAddresses) -> dict[str, Any]:
    routes = {severity: list(names) for severity, names in one.receivers}
    return {"email": list(one.email), "teams": one.teams, "opsgenie": one.opsgenie, "receivers": routes}


def _addresses(fields: Fields) -> PageAddresses:
    routes = Fields(fields.raw.get("receivers"), f"{fields.where}, receivers")
    return PageAddresses(
        email=fields.texts("email"),
        teams=fields.optional_text("teams"),
        opsgenie=fields.optional_text("opsgenie"),
        receivers=tuple((severity, routes.texts(severity)) for severity in SEVERITIES if severity in routes.raw),
    )
