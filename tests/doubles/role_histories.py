"""Whether one change of a role follows from the one before it."""

from __future__ import annotations

from killswitch.roles.role import Role, RoleChange


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
