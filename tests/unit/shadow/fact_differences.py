"""The kinds of facts in which two texts differ."""

from __future__ import annotations

from killswitch.shadow.facts import differences, facts_of


def between(one: str, other: str) -> tuple[str, ...]:
    """The differences, which must be the same in both orders."""
    found = differences(facts_of(one), facts_of(other))
    assert found == differences(facts_of(other), facts_of(one))
    return found
