"""How a page is built: of an incident, of findings, or of another event; its links and its payload."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from killswitch.documents import finite
from killswitch.flags.flag import SHADOW, Flag
from killswitch.flags.incident import Incident, finding_to_json, incident_id
from killswitch.model import Finding, PageSettings
from killswitch.pages.dashboards import dashboard_at
from killswitch.pages.exposure import exposure_in_words, exposure_of
from killswitch.pages.finding_rows import finding_rows
from killswitch.pages.page import FLEET, MAX_NAME, MAX_ROLLOUTS, Page, PageKind, RuleRow, with_steps
from killswitch.pages.rule_payloads import compared_in_words, most_important, rule_payloads, samples_of
from killswitch.timestamps import to_iso
from killswitch.wording import plain

# These link to an incident: the one of their generation. A re-arm links to the one of the generation before.
_ABOUT_INCIDENTS = frozenset(
    {PageKind.TRIPPED, PageKind.FOLLOWED, PageKind.RE_ARMED, PageKind.PINNED, PageKind.ACKNOWLEDGED}
)

_OF_ROLE = "role:"


def page_of_incident(incident: Incident, settings: PageSettings, kind: PageKind, page_id: str, headline: str) -> Page:
    page = _base(
        kind, page_id, headline, incident.reason, settings,
        rollout=incident.rollout, generation=incident.generation, at=incident.decided_at,
        rows=_rows(incident.findings, incident.rules, window=incident.window, at=incident.decided_at),
    )  # fmt: skip
    return replace(page, exposed=exposure_in_words(exposure_of(incident), shadow=of_shadow(incident)))


def of_shadow(incident: Incident) -> bool:
    """Whether it happened in stage ``shadow``, in which no user has the canary."""
    return incident.stage_before == SHADOW


def page_of_findings(
    kind: PageKind,
    flag: Flag,
    findings: Sequence[Finding],
    headline: str,
    settings: PageSettings,
    *,
    at: float,
    alert: str,
    auto_action: str,
    steps: Sequence[str],
    identity: str = "",
) -> Page:
    why = "; ".join(finding.sentence for finding in findings) or headline
    page = page_of_event(
        kind, (flag,), headline, why, settings,
        at=at, identity=identity or f"{at:.0f}", alert=alert, auto_action=auto_action, steps=steps,
    )  # fmt: skip
    samples_new, samples_old = samples_of(findings)
    payload = {
        **page.payload,
        "samples_new": samples_new,
        "samples_old": samples_old,
        "rules": rule_payloads(findings, ()),
    }
    return replace(page, rows=_rows(findings, (), window=None, at=at), payload=payload)


def page_of_event(
    kind: PageKind,
    flags: Sequence[Flag],
    headline: str,
    why: str,
    settings: PageSettings,
    *,
    at: float,
    identity: str,
    alert: str,
    auto_action: str,
    steps: Sequence[str],
) -> Page:
    """A page about an event that is no incident. ``identity`` keeps two events of one kind apart."""
    one = flags[0] if len(flags) == 1 else None
    page = _base(
        kind, event_id(kind, flags, identity), headline, why, settings,
        rollout=one.rollout if one else "", generation=one.generation if one else 0, at=at, rows=(),
    )  # fmt: skip
    payload = {
        "alert": alert,
        "reason": page.why,
        "stage": one.stage if one else None,
        "ts": to_iso(math.floor(at)),
        "samples_new": None,
        "samples_old": None,
        "auto_action": auto_action,
        **_our_fields(page),
        "rollouts": [flag.rollout for flag in flags[:MAX_ROLLOUTS]],
        "rollouts_count": len(flags),
        "control": one.control if one else None,
        "canary": one.rollout_canary if one else None,
    }
    return with_steps(replace(page, payload=payload), steps)


def event_id(kind: PageKind, flags: Sequence[Flag], identity: str) -> str:
    """The id of a page of `page_of_event`."""
    one = flags[0] if len(flags) == 1 else None
    owner = incident_id(one.rollout, one.generation) if one is not None else FLEET
    return ".".join(part for part in (owner, kind.value.lower().replace("_", "-"), identity) if part)


def _base(
    kind: PageKind,
    page_id: str,
    headline: str,
    why: str,
    settings: PageSettings,
    *,
    rollout: str,
    generation: int,
    at: float,
    rows: tuple[RuleRow, ...],
) -> Page:
    link = _link(settings, kind, rollout, generation)
    here = "Incident" if kind in _ABOUT_INCIDENTS else "Status"
    dashboard = dashboard_at(settings.dashboard, rollout, at)
    links = ((here, link), ("Runbook", settings.runbook), ("Dashboard", dashboard))
    return Page(
        id=page_id,
        kind=kind,
        rollout=rollout,
        generation=generation,
        at=at,
        headline=plain(headline, 400),
        why=plain(why),
        rows=rows,
        next_steps=tuple(f"{name}: {plain(address)}" for name, address in links if address),
        payload={},
        severity=settings.severity,
        slack=settings.slack,
        mention=settings.mention,
        runbook=settings.runbook,
        dashboard=dashboard,
        pagerduty=settings.pagerduty,
        link=link,
        addresses=settings.addresses,
    )


def _link(settings: PageSettings, kind: PageKind, rollout: str, generation: int) -> str | None:
    """The address on the daemon's own pages: of the incident, else of the rollout, else of the status page."""
    if settings.public_url is None:
        return None
    base = settings.public_url.rstrip("/")
    if not rollout or rollout.startswith(_OF_ROLE):
        return f"{base}/" if not rollout else f"{base}/#roles"
    if kind not in _ABOUT_INCIDENTS:
        return f"{base}/rollouts/{rollout}"
    return f"{base}/incidents/{incident_id(rollout, generation - 1 if kind is PageKind.RE_ARMED else generation)}"


def with_severity(page: Page, severity: str) -> Page:
    """The page with another severity than its rule file's."""
    return replace(page, severity=severity, payload={**page.payload, "severity": severity})


def as_good_news(page: Page, follows: str) -> Page:
    """The page as good news: it mentions no one, and continues the page ``follows``."""
    payload = {**page.payload, "severity": "info", "good_news": True}
    return replace(page, follows=follows, mention=None, severity="info", payload=payload)


def as_warning(page: Page) -> Page:
    """The page as a warning: it still mentions no one, but is shown in the channel: users may still get the canary."""
    return replace(page, severity="warning", payload={**page.payload, "severity": "warning", "good_news": False})


def incident_payload(incident: Incident, page: Page, *, alert: str, auto_action: str) -> dict[str, Any]:
    """The payload of an incident's page; the first seven names and their meanings are fixed.

    ``reason`` is ``rule=value vs baseline value`` for each tripping rule (else the sentence): of what was counted
    since the breach began where evidence tripped, of the window where the bare comparison did. ``stage``: the stage
    before the trip, ``ts`` the trip in UTC to the second, ``samples_new`` and ``samples_old`` the requests of canary
    and control that ``reason`` rests on, null where unknown. Under ``rules`` the values are of the last
    ``window_seconds``, and ``excursion`` has what was counted since the breach began.
    """
    samples_new, samples_old = samples_of(incident.tripping or incident.findings)
    compared = "; ".join(compared_in_words(finding) for finding in incident.tripping)
    return {
        "alert": alert,
        "reason": plain(compared or incident.reason),
        "stage": incident.stage_before,
        "ts": to_iso(math.floor(incident.decided_at)),
        "samples_new": samples_new,
        "samples_old": samples_old,
        "auto_action": auto_action,
        **_our_fields(page),
        "incident": incident.id,
        "control": plain(incident.control, MAX_NAME),
        "canary": plain(incident.canary, MAX_NAME),
        "percent_before": incident.percent_before,
        "exposed": exposure_of(incident),
        "automatic": incident.automatic,
        "by": plain(incident.by, MAX_NAME),
        "window_seconds": finite(incident.window),
        "rules": rule_payloads(incident.findings, incident.rules),
    }


def _our_fields(page: Page) -> dict[str, Any]:
    return {
        "page": page.id,
        "kind": page.kind.value,
        "rollout": page.rollout,
        "generation": page.generation,
        "severity": page.severity,
        "good_news": False,
        "headline": page.headline,
        "sentence": page.why,
        "link": page.link,
        "runbook": page.runbook,
        "dashboard": page.dashboard,
    }


def _rows(
    findings: Sequence[Finding], tripping: Sequence[str], *, window: float | None, at: float
) -> tuple[RuleRow, ...]:
    return tuple(
        row
        for finding in most_important(findings, tripping)
        for row in _rows_of(finding, window, at, tripping=finding.rule in tripping)
    )


def _rows_of(finding: Finding, window: float | None, at: float, *, tripping: bool) -> Iterator[RuleRow]:
    reason = "" if finding.reason is None else f" ({finding.reason.value})"
    for number, row in enumerate(finding_rows(finding_to_json(finding), window=window, at=at)):
        first = number == 0
        yield RuleRow(
            rule=plain(finding.rule, 60) if first else "",
            verdict=f"{finding.verdict.value}{reason}" if first else "",
            canary=row.canary,
            control=row.control,
            limit=row.limit,
            samples=row.requests,
            counted=row.counted,
            tripping=tripping and first,
        )


def names_in_words(flags: Sequence[Flag]) -> str:
    if not flags:
        return "all rollouts"
    listed = ", ".join(flag.rollout for flag in flags[:3])
    return listed if len(flags) <= 3 else f"{len(flags)} rollouts ({listed}, …)"
