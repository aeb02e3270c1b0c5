"""The machine-readable form of a page: what a webhook gets, and PagerDuty's details.

``docs/webhook.schema.json`` is generated from these types (`killswitch.pages.receivers.webhook_schema`).
The first seven names and their meanings are fixed. Others may be added, so a receiver ignores names it does not know.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict


class ExcursionPayload(TypedDict):
    """What was counted since a breach began: what it rests on."""

    since: str
    canary: float | None
    control: float | None
    limit: float | None
    events_canary: float | None
    trials_canary: float | None
    events_control: float | None
    trials_control: float | None


class RulePayload(TypedDict):
    """One rule at the moment of the page, in plain numbers of its unit."""

    rule: str
    verdict: str
    reason: str | None
    tripping: bool
    unit: str
    canary: float | None
    control: float | None
    limit: float | None
    samples_new: int | None
    samples_old: int | None
    since: str | None
    excursion: ExcursionPayload | None
    sentence: str


class ExposurePayload(TypedDict):
    """How many users and requests the canary had until it was tripped."""

    percent_of_users: float
    since: str | None
    seconds: int | None
    requests: int | None
    bad_requests: int | None
    rule: str | None
    first_requests: bool
    users: int | None


class SpendPayload(TypedDict):
    """How one scope stands in its period of UTC, in micro-dollars."""

    scope: str
    period: str
    start: str
    end: str
    used_micros: int
    soft_micros: int | None
    hard_micros: int | None


class StagePayload(TypedDict):
    """One stage of a plan: done, skipped, now or to come. ``begins`` and ``ends`` ahead are the earliest possible."""

    stage: str
    percent: float
    for_seconds: float
    standing: str
    begins: str | None
    ends: str | None


class PlanPayload(TypedDict):
    """Where a rollout is in its plan, and why it is not moving, or what comes next."""

    stages: list[StagePayload]
    why: str


class RolePayload(TypedDict):
    """A change of a role: which model is in each slot after it, who made it, why, and on what evidence."""

    role: str
    number: int
    change: str
    prod: str | None
    candidate: str | None
    previous: str | None
    prod_before: str | None
    by: str
    reason: str
    gate_run: str | None
    waiver: str | None
    incident: str | None


class MismatchPayload(TypedDict):
    """Another model has answered for the pin of a role's slot."""

    role: str
    slot: str
    pinned: str
    answered: str
    number: int
    processes: int


class PagePayload(TypedDict):
    """One page."""

    alert: str
    reason: str
    stage: str | None
    ts: str
    samples_new: int | None
    samples_old: int | None
    auto_action: str
    page: str
    kind: str
    rollout: str
    generation: int
    severity: str
    good_news: bool
    headline: str
    sentence: str
    link: str | None
    runbook: str | None
    dashboard: str | None
    control: str | None
    canary: str | None
    rollouts: NotRequired[list[str]]
    rollouts_count: NotRequired[int]
    incident: NotRequired[str]
    percent_before: NotRequired[float]
    exposed: NotRequired[ExposurePayload]
    drill: NotRequired[bool]
    automatic: NotRequired[bool]
    by: NotRequired[str]
    window_seconds: NotRequired[float | None]
    rules: NotRequired[list[RulePayload]]
    controller: NotRequired[str]
    spend: NotRequired[SpendPayload]
    plan: NotRequired[PlanPayload]
    role: NotRequired[RolePayload]
    mismatch: NotRequired[MismatchPayload]
    count: NotRequired[int]
    pages: NotRequired[list[PagePayload]]
    possible_repeat: NotRequired[bool]
