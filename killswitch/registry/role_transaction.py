"""A change of a role as a transaction: the role, its history entry and its page, or none of them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from killswitch.errors import KillswitchError, OutcomeUnknown, Refused
from killswitch.pages.outbox_entry import into_outbox
from killswitch.pages.page import Page
from killswitch.registry.stored_roles import StoredRole
from killswitch.roles.document import history_document, to_document
from killswitch.roles.role import Role, RoleHistoryEntry
from killswitch.stores import Committed, Compare, Put, Store, keys


@dataclass(frozen=True, slots=True)
class RoleTransaction:
    """``entry.role``: the role as it is after it. What carries it has all of ``compares`` and all of ``writes``.

    ``writes``: the role, its history entry, and ``page``, where there is one, in the outbox.
    """

    entry: RoleHistoryEntry
    page: Page | None
    compares: tuple[Compare, ...]
    writes: tuple[Put, ...]

    @property
    def role(self) -> Role:
        return self.entry.role


@dataclass(frozen=True, slots=True)
class ChangedRole:
    """A change that is in the store. ``page``: what was put into the outbox with it. ``revision``: of the change."""

    role: Role
    entry: RoleHistoryEntry
    page: Page | None
    revision: int


class LostRace(Refused):
    """Someone else has changed the role, or what its change rests on, since both were read. Nothing was changed."""


def transaction(
    stored: StoredRole, entry: RoleHistoryEntry, page: Page | None, *, also: Sequence[Compare] = (), now: float
) -> RoleTransaction:
    """The change from ``stored`` to ``entry``. ``also``: what it rests on besides. ``now``: Unix seconds."""
    role = entry.role
    key, change = keys.role(role.name), keys.role_change(role.name, role.number)
    writes = [Put(key, to_document(role)), Put(change, history_document(entry))]
    if page is not None:
        writes.append(into_outbox(page, at=now))
    return RoleTransaction(entry, page, (Compare(key, stored.revision), Compare(change, 0), *also), tuple(writes))


def commit(store: Store, change: RoleTransaction) -> ChangedRole:
    """Make the change. After a lost answer the history is read again, never assumed.

    Raises LostRace (nothing was changed), OutcomeUnknown, and as the store does.
    """
    try:
        outcome = store.commit(change.compares, change.writes)
    except OutcomeUnknown as error:
        return _settled(store, change, error)
    if isinstance(outcome, Committed):
        return ChangedRole(change.role, change.entry, change.page, outcome.revision)
    raise LostRace(
        f"role {change.role.name}, or what this rests on, was changed by someone else just now; look at"
        f" `killswitch role show {change.role.name}`, then repeat"
    )


def made_by(store: Store, change: RoleTransaction) -> ChangedRole | None:
    """The change, where the history has it; None where its number is another's, or no one's so far."""
    item = store.get(keys.role_change(change.role.name, change.role.number))
    if item is None or item.value != history_document(change.entry):
        return None
    return ChangedRole(change.role, change.entry, change.page, item.mod_revision)


def _settled(store: Store, change: RoleTransaction, error: OutcomeUnknown) -> ChangedRole:
    """What became of a change whose answer was lost: its entry in the history is ours, another's, or absent."""
    name = change.role.name
    there = False
    with contextlib.suppress(KillswitchError):
        made = made_by(store, change)
        if made is not None:
            return made
        there = store.get(keys.role_change(name, change.role.number)) is not None
    if there:
        raise LostRace(
            f"role {name} was changed by someone else just now; look at `killswitch role show {name}`, then repeat"
        ) from error
    raise OutcomeUnknown(
        f"the change of role {name} was sent and no answer came; it has not been applied so far and may be still: look"
        f" at `killswitch role show {name}` in a few seconds, then repeat it if needed"
    ) from error
