"""Whose live spend is counted in a cycle, if there are more rollouts than one cycle counts."""

from __future__ import annotations

from killswitch.controller.live_spend import MOST_ROLLOUTS, MOST_STEPS, Due, chosen_now
from killswitch.spend.prices import PriceList
from killswitch.verdicts.armed_rollout import ArmedRollout
from tests.doubles.pages import armed
from tests.doubles.scripted_source import rollout

NOTHING = PriceList([])


def due(name: str, behind: int, *, near: bool = False) -> Due:
    return Due(ArmedRollout(rollout(name), armed(), 0.0), NOTHING, behind, near)


def names(chosen: object) -> list[str]:
    assert isinstance(chosen, tuple)
    return [one.armed.rollout.name for one in chosen]


def test_whoever_is_near_a_cap_is_counted_first() -> None:
    waiting = [due(f"w{number}", 7) for number in range(2 * MOST_ROLLOUTS)]
    chosen = names(chosen_now([*waiting, due("near", 1, near=True)]))
    assert (chosen[0], len(chosen)) == ("near", MOST_ROLLOUTS)


def test_of_the_others_those_that_wait_longest_come_first() -> None:
    fresh = [due(f"f{number}", 1) for number in range(2 * MOST_ROLLOUTS)]
    assert names(chosen_now([*fresh, due("old", 9), due("older", 10)]))[:2] == ["older", "old"]


def test_whatever_would_grow_too_old_is_counted_at_once() -> None:
    """More of them than one cycle counts: their steps could not be read back in their turn."""
    old = [due(f"o{number}", MOST_STEPS // 2) for number in range(3 * MOST_ROLLOUTS)]
    assert len(names(chosen_now([*old, due("near", 1, near=True)]))) == 3 * MOST_ROLLOUTS + 1
