"""What was done to a delivered message since: which view it shows, and what was added to its thread.

It is kept with the delivery in the outbox, so that any replica goes on where another has stopped. This file says what
comes next (`next_step`), not when or by whom: no I/O, no clock. The number of a step is committed before the step is
made:

- `Step.SHOW` replaces the whole message. It may be made twice, so it is made again until an answer says that it is
  done. A process that ends a step of an older number than the newest may have put an old view over a newer one. So it
  leaves `DOUBTFUL`, and the view is shown once more.
- The other steps add something that must not be there twice. They are tried again only where the receiver has surely
  taken nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from killswitch.documents import Fields

DOUBTFUL = "?"


class Step(StrEnum):
    SHOW = "show"  # the message is replaced by the newest view
    REPLACE = "replace"  # the message was deleted: the newest view is posted again
    DETAIL = "detail"  # every rule, in the thread
    PICTURE = "picture"  # both cohorts around the trip, in the thread


@dataclass(frozen=True, slots=True)
class Upkeep:
    """``shown``: the fingerprint of the view that the message shows, "" for the view it was sent with, or `DOUBTFUL`.

    ``number`` counts the steps that were begun. ``by``: the process whose step is not known to have ended. ``once``:
    the steps that are not made again. ``gone``: the message was deleted. ``fixed``: the receiver does not let it be
    changed.
    """

    shown: str = ""
    number: int = 0
    by: str = ""
    once: tuple[Step, ...] = ()
    gone: bool = False
    fixed: bool = False


def next_step(upkeep: Upkeep, *, first: str, wanted: str, detail: bool) -> Step | None:
    """What is to be done now; None for nothing. `Step.PICTURE` counts only where there is a picture.

    ``first``: the fingerprint of the view that the message was sent with; ``wanted``: of the newest. ``detail``:
    whether there is some to add.
    """
    if upkeep.gone:
        return Step.REPLACE if Step.REPLACE not in upkeep.once else None
    if not upkeep.fixed and wanted != (upkeep.shown or first):
        return Step.SHOW
    if detail and Step.DETAIL not in upkeep.once:
        return Step.DETAIL
    return Step.PICTURE if Step.PICTURE not in upkeep.once else None


def begun(upkeep: Upkeep, step: Step, by: str) -> Upkeep:
    """One more step of process ``by``. Commit it before anything is sent."""
    once = upkeep.once if step is Step.SHOW else (*upkeep.once, step)
    return replace(upkeep, number=upkeep.number + 1, by=by, once=once)


def shown(upkeep: Upkeep, number: int, fingerprint: str) -> Upkeep:
    """The receiver has taken the view of step ``number``."""
    if upkeep.number != number:
        return replace(upkeep, number=upkeep.number + 1, shown=DOUBTFUL)
    return replace(upkeep, by="", shown=fingerprint)


def ended(upkeep: Upkeep, number: int) -> Upkeep:
    """Step ``number`` is over, and is not made again."""
    return replace(upkeep, by="") if upkeep.number == number else upkeep


def not_taken(upkeep: Upkeep, number: int, step: Step) -> Upkeep:
    """The receiver has surely taken nothing of step ``number``, so the step may be made again."""
    return replace(ended(upkeep, number), once=tuple(one for one in upkeep.once if one is not step))


def refused(upkeep: Upkeep, number: int, step: Step, *, gone: bool) -> Upkeep:
    """The receiver will never take step ``number``. ``gone``: because the message was deleted."""
    if step is not Step.SHOW:
        return ended(upkeep, number)
    return replace(ended(upkeep, number), gone=gone or upkeep.gone, fixed=upkeep.fixed or not gone)


def denied(upkeep: Upkeep, number: int, step: Step) -> Upkeep:
    """The receiver denies us access. A picture is not worth asking again; the rest is tried again later."""
    return ended(upkeep, number) if step is Step.PICTURE else not_taken(upkeep, number, step)


def replaced(upkeep: Upkeep, number: int, fingerprint: str) -> Upkeep:
    """A new message shows the view, because the one before was deleted. There is no third one."""
    return replace(ended(upkeep, number), shown=fingerprint, gone=False)


def to_json(upkeep: Upkeep) -> dict[str, Any]:
    return {
        "shown": upkeep.shown,
        "number": upkeep.number,
        "by": upkeep.by,
        "once": [step.value for step in upkeep.once],
        "gone": upkeep.gone,
        "fixed": upkeep.fixed,
    }


def from_json(fields: Fields) -> Upkeep:
    """The inverse of `to_json`. Raises BadDocument. A step that this version does not know is left out."""
    known = {step.value: step for step in Step}
    return Upkeep(
        shown=fields.text("shown", empty=True),
        number=fields.integer("number"),
        by=fields.text("by", empty=True),
        once=tuple(known[one] for one in fields.texts("once") if one in known),
        gone=fields.flag("gone"),
        fixed=fields.flag("fixed"),
    )
