"""Whether one change of a role follows from the one before it, and what must hold for a stored history."""

from __future__ import annotations

from collections.abc import Sequence

from killswitch.roles.document import from_document, history_from_document
from killswitch.roles.role import Role, RoleChange, RoleHistoryEntry
from killswitch.stores import Item


def follows(before: Role | None, after: Role, was: set[str | None]) -> None:
    """Asserts that one change leads from ``before`` to ``after``; ``was``: what was prod until then."""
    if after.change is RoleChange.PROMOTED:
        assert before is not None
        assert (after.prod, after.previous) == (before.candidate, before.prod)
    elif after.change is RoleChange.ROLLED_BACK:
        assert before is not None
        assert after.prod in was
        assert after.prod != before.prod
        assert after.previous is None
    elif after.change is RoleChange.CANDIDATE_SET:
        kept = (None, None) if before is None else (before.prod, before.previous)
        assert (after.prod, after.previous) == kept


def checked_entries(items: Sequence[Item], role: Item | None, name: str) -> list[RoleHistoryEntry]:
    """Numbers without gaps from 1, each entry follows from the one before, the last is the role as it is."""
    entries = [history_from_document(item.value, name=name) for item in items]
    assert [entry.role.number for entry in entries] == list(range(1, len(entries) + 1))
    was: set[str | None] = set()
    for before, after in zip([None, *entries], entries, strict=False):
        follows(None if before is None else before.role, after.role, was)
        was.add(after.role.prod)
    assert role is not None
    assert from_document(role.value, name=name) == entries[-1].role
    return entries
