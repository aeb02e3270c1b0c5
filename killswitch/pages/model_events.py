"""The pages about a role's pinned models: one that is gone, one that soon will be, one of which nothing is known."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace

from killswitch.model import PageSettings
from killswitch.pages.building import page_of_event, with_severity
from killswitch.pages.page import MAX_NAME, Page, PageKind
from killswitch.roles.references import PREFIX
from killswitch.roles.role import Role, Slot
from killswitch.timestamps import to_iso
from killswitch.wording import plain


def model_gone(role: Role, model: str, slots: Sequence[Slot], why: str, *, at: float, settings: PageSettings) -> Page:
    """A pinned model does not answer any more: it is retired, or its provider says that there is none."""
    name = plain(model, MAX_NAME)
    headline = f"role {role.name}: {_slots(slots)} {name} is gone"
    page = _page(
        PageKind.MODEL_GONE, role, model, headline, why, _instead(role, slots),
        at=at, settings=settings, alert="model gone",
        auto_action="none: the role stays as it is, and nothing is promoted to this model",
    )  # fmt: skip
    return page if Slot.PROD in slots else with_severity(page, "warning")


def model_retiring(
    role: Role, model: str, slots: Sequence[Slot], why: str, *, at: float, settings: PageSettings, urgent: bool = False
) -> Page:
    """A pinned model is going to be retired. ``urgent``: within a day."""
    headline = f"role {role.name}: {_slots(slots)} {plain(model, MAX_NAME)} is going to be retired"
    page = _page(
        PageKind.MODEL_RETIRING, role, model, headline, why, _instead(role, slots),
        at=at, settings=settings, alert="model retiring", auto_action="none: the role stays as it is",
    )  # fmt: skip
    return page if urgent and Slot.PROD in slots else with_severity(page, "warning")


def model_unknown(
    role: Role, model: str, slots: Sequence[Slot], why: str, *, at: float, settings: PageSettings
) -> Page:
    """Whether a pinned model still answers has not been known for days."""
    headline = f"role {role.name}: whether {_slots(slots)} {plain(model, MAX_NAME)} still answers is not known"
    steps = (
        f"Ask it now, and see why: `killswitch roles probe {role.name}`",
        "Check the key, its budget and the role's `url`. A provider that is down does not make a model gone",
    )
    page = _page(
        PageKind.MODEL_UNKNOWN, role, model, headline, why, steps,
        at=at, settings=settings, alert="model not probed", auto_action="none: it is asked again every hour",
    )  # fmt: skip
    return with_severity(page, "warning")


def _instead(role: Role, slots: Sequence[Slot]) -> tuple[str, ...]:
    look = f"Ask it now: `killswitch roles probe {role.name}`"
    choose = f'`killswitch role set-candidate {role.name} MODEL --reason "why"`'
    if Slot.PROD in slots:
        back = "There is no previous model to go back to"
        if role.previous is not None:
            undo = f'`killswitch role rollback {role.name} --reason "why"`'
            back = f"To go back to {plain(role.previous, MAX_NAME)} at once: {undo}"
        return (look, back, f"Choose the next model: {choose}, then run its gate: `killswitch gate run {role.name}`")
    if Slot.PREVIOUS in slots:
        return (look, f"Do not rely on a rollback of {role.name} now: it would give users this model")
    return (look, f"Choose another candidate: {choose}")


def _part_of_key(model: str) -> str:
    """The model in a page's id, which is a key of the store: ids of models may have slashes."""
    digest = hashlib.sha256(model.encode(errors="replace")).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9._-]', '-', model)[:60]}-{digest}"


def _slots(slots: Sequence[Slot]) -> str:
    return " and ".join(slots)


def _page(
    kind: PageKind,
    role: Role,
    model: str,
    headline: str,
    why: str,
    steps: Sequence[str],
    *,
    at: float,
    settings: PageSettings,
    alert: str,
    auto_action: str,
) -> Page:
    """``rollout`` is ``role:<name>``, which no rollout can be called; ``generation`` is the number of its change."""
    subject = f"{PREFIX}{role.name}"
    page = page_of_event(
        kind, (), headline, why, settings,
        at=at, identity=f"{subject}.{_part_of_key(model)}.{to_iso(at)}",
        alert=alert, auto_action=auto_action, steps=steps,
    )  # fmt: skip
    payload = {**page.payload, "rollout": subject, "generation": role.number}
    return replace(page, rollout=subject, generation=role.number, payload=payload)
