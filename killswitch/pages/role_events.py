"""The pages about a role: prod was promoted or rolled back, or another model than the pinned one answers."""

from __future__ import annotations

import shlex
from dataclasses import replace

from killswitch.model import PageSettings
from killswitch.pages.building import as_good_news, page_of_event
from killswitch.pages.page import MAX_NAME, Page, PageKind, identified
from killswitch.pages.payload import MismatchPayload, RolePayload
from killswitch.roles.references import PREFIX
from killswitch.roles.role import Role, RoleChange, RoleHistoryEntry, Slot
from killswitch.wording import counted, plain


def promoted(entry: RoleHistoryEntry, *, before: Role | None, evidence: str, settings: PageSettings) -> Page:
    """A role's prod is the candidate now. ``before``: the role as it was. ``evidence``: what it rests on, in words."""
    role = entry.role
    prod, who = _model(role.prod), plain(role.updated_by, MAX_NAME)
    left = "" if before is None or before.prod is None else f" instead of {_model(before.prod)}"
    headline = f"role {role.name}: prod is {prod} now{left}, promoted by {who}"
    back = (
        (f'To go back to {_model(role.previous)}: `killswitch role rollback {role.name} --reason "why"`',)
        if role.previous is not None
        else ()
    )
    steps = (
        f"See what it rests on: `killswitch role show {role.name}`",
        *back,
        *((f"Keep {_model(role.previous)} in service: a rollback needs it",) if role.previous is not None else ()),
    )
    page = _page(
        PageKind.PROMOTED, entry, before, headline, f"{_because(entry)}; evidence: {evidence}", settings,
        alert="role promoted", auto_action=f"prod of role {role.name} is {prod}", steps=steps,
    )  # fmt: skip
    return as_good_news(page, "")


def rolled_back(entry: RoleHistoryEntry, *, before: Role, settings: PageSettings) -> Page:
    """A role's prod is a model that was prod before. ``before``: the role as it was."""
    role = entry.role
    prod, left, who = _model(role.prod), _model(before.prod), plain(role.updated_by, MAX_NAME)
    headline = f"role {role.name}: prod is {prod} again instead of {left}, rolled back by {who}"
    again = f'killswitch role rollback {role.name} --to {shlex.quote(left)} --reason "why"'
    after = "" if entry.incident is None else f", after the trip {plain(entry.incident, MAX_NAME)}"
    why_seen = (
        ()
        if entry.incident is None
        else (f"See what the trip has found: `killswitch explain {plain(entry.incident, MAX_NAME)}`",)
    )
    steps = (
        *why_seen,
        f"See the role and its history: `killswitch role show {role.name}`",
        f"Add rows to its golden set that show what went wrong with {left}, then run its gate again",
        f"{left} is in no slot now. If it was right after all: `{again}`",
    )
    return _page(
        PageKind.ROLE_ROLLED_BACK, entry, before, headline, f"{_because(entry)}{after}", settings,
        alert="role rolled back", auto_action=f"prod of role {role.name} is {prod} again", steps=steps,
    )  # fmt: skip


def model_mismatch(
    role: Role,
    slot: Slot,
    answered: str,
    *,
    number: int,
    processes: int,
    identity: str,
    at: float,
    settings: PageSettings,
) -> Page:
    """``answered`` has answered ``number`` requests for the pin of ``slot``, as ``processes`` processes report."""
    pinned, other = _model(role.model(slot)), _model(answered)
    subject = f"{PREFIX}{role.name}"
    headline = f"role {role.name}: {other} answers where {pinned} is pinned"
    why = (
        f"{counted(number, 'answer')} to requests for {pinned} ({slot} of role {role.name}) named {other} as their"
        f" model, in {processes:,} {'process' if processes == 1 else 'processes'}"
    )
    page = page_of_event(
        PageKind.MODEL_MISMATCH, (), headline, why, settings,
        at=at, identity=f"{subject}.{identity}", alert="another model answers for a pin",
        auto_action="none: requests still go to the pin",
        steps=(
            f"Ask the provider, or look at the gateway's fallbacks: does {pinned} lead to {other} now?",
            f"If {pinned} is an alias, pin an id: `killswitch role set-candidate {role.name} MODEL`, then its gate",
            f"If {other} is the same model by another name, say so in the service: `Roles(…, deployments=…)`",
            f'If its answers are bad: `killswitch role rollback {role.name} --reason "why"`',
        ),
    )  # fmt: skip
    payload: MismatchPayload = {
        "role": role.name,
        "slot": slot.value,
        "pinned": plain(role.model(slot) or "", MAX_NAME),
        "answered": plain(answered, MAX_NAME),
        "number": number,
        "processes": processes,
    }
    ours = {"rollout": subject, "generation": role.number, "mismatch": payload}
    return replace(page, rollout=subject, generation=role.number, payload={**page.payload, **ours})


def _page(
    kind: PageKind,
    entry: RoleHistoryEntry,
    before: Role | None,
    headline: str,
    why: str,
    settings: PageSettings,
    *,
    alert: str,
    auto_action: str,
    steps: tuple[str, ...],
) -> Page:
    """``rollout`` is ``role:<name>``, which no rollout can be called; ``generation`` is the number of the change."""
    role = entry.role
    subject = f"{PREFIX}{role.name}"
    page = page_of_event(
        kind, (), headline, why, settings,
        at=role.updated_at, identity="", alert=alert, auto_action=auto_action, steps=steps,
    )  # fmt: skip
    payload: RolePayload = {
        "role": role.name,
        "number": role.number,
        "change": role.change.value,
        "prod": _given(role.prod),
        "candidate": _given(role.candidate),
        "previous": _given(role.previous),
        "prod_before": None if before is None else _given(before.prod),
        "by": plain(role.updated_by, MAX_NAME),
        "reason": plain(entry.reason),
        "gate_run": entry.gate_run,
        "waiver": _given(entry.waiver),
        "incident": entry.incident,
    }
    page = identified(page, f"{subject}.{role.number}")
    ours = {"rollout": subject, "generation": role.number, "role": payload}
    return replace(page, rollout=subject, generation=role.number, payload={**page.payload, **ours})


def _because(entry: RoleHistoryEntry) -> str:
    return plain(entry.reason) or f"no reason was given ({RoleChange(entry.role.change).value})"


def _model(model: str | None) -> str:
    return "no model" if model is None else plain(model, MAX_NAME)


def _given(text: str | None) -> str | None:
    return None if text is None else plain(text)
