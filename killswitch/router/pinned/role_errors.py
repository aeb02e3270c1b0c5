"""Why a service gets no model for a role. A typo must not choose a model, so each of these is raised, never guessed.

::

    RoleProblem             catch this one around `Roles.model_for`
    +-- RoleNotFound           no role has that name (an `UnknownRole`); the message lists those that resemble it
    +-- EmptySlot              the role is there, the slot holds no model (or is no slot)
    +-- RoleUnreadable         the role's document is damaged, and no good one was ever read
    +-- RolesNotRead           the store has not been read yet
    +-- RolesStale             the store has not answered for longer than pins are trusted

`RolesNotRead` and `RolesStale` pass when the store answers; the others take a person.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from killswitch.errors import KillswitchError, UnknownRole
from killswitch.roles.role import Slot
from killswitch.wording import plain

_MAX_TEXT = 80
_MOST_NAMED = 20


class RoleProblem(KillswitchError):
    """No model can be given for this role and slot."""


class RoleNotFound(RoleProblem, UnknownRole):
    """``known``: the names that there are."""

    def __init__(self, name: object, known: Iterable[str]) -> None:
        asked = plain(str(name), _MAX_TEXT)
        names = sorted(known)
        close = get_close_matches(asked, names, n=3, cutoff=0.6)
        UnknownRole.__init__(self, asked, names[:_MOST_NAMED])
        if close:
            self.args = (f"no role is called {asked!r}; did you mean {' or '.join(close)}?",)


class EmptySlot(RoleProblem):
    """The slot holds no model, or is none of prod, candidate and previous."""

    def __init__(self, role: str, slot: object) -> None:
        asked = plain(str(slot), _MAX_TEXT)
        if asked not in set(Slot):
            super().__init__(f"role {role} has no slot {asked!r}; the slots are {', '.join(Slot)}")
            return
        fix = {
            Slot.PROD: f"`killswitch role promote {role}` fills it from candidate",
            Slot.CANDIDATE: f"`killswitch role set-candidate {role} <model>` fills it",
            Slot.PREVIOUS: "the next promotion fills it",
        }[Slot(asked)]
        super().__init__(f"role {role}: slot {asked} is empty; {fix}")


class RoleUnreadable(RoleProblem):
    """The role's document is damaged, and this process has never read a good one."""

    def __init__(self, role: str, problem: str) -> None:
        super().__init__(f"role {role} cannot be read: {problem}; `killswitch role show {role}` says what to do")


class RolesNotRead(RoleProblem):
    """The store has not been read yet."""

    def __init__(self, role: object, store: str, problem: str | None) -> None:
        why = f" ({problem})" if problem else ""
        super().__init__(
            f"role {plain(str(role), _MAX_TEXT)!r}: {store} has not been read yet{why}; call wait_ready(timeout) at"
            " start-up, or give Roles(…, defaults={…})"
        )


class RolesStale(RoleProblem):
    """The store has not answered for longer than pins are trusted, or the roles were closed."""
