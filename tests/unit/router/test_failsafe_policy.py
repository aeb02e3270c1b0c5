"""The settings of the fail-safe: what is taken, and what is refused with what to write."""

from __future__ import annotations

from dataclasses import replace

import pytest

from killswitch.errors import BadSettings
from killswitch.router import failsafe
from killswitch.router.failsafe import StalePolicy


@pytest.mark.parametrize(
    ("given_as", "seconds"),
    [
        ("hold", None),
        ({"control_after": "5m"}, 300.0),
        ({"control_after": "90s"}, 90.0),
        ({"control_after": "1.5h"}, 5400.0),
        ({"control_after": 45}, 45.0),
    ],
)
def test_when_unwatched_is_a_word_or_a_duration(given_as: str | dict[str, object], seconds: float | None) -> None:
    assert failsafe.control_after_of(given_as) == seconds


@pytest.mark.parametrize(
    "given_as", ["", "never", {}, {"control_after": "5"}, {"control_after": True}, {"after": "5m"}]
)
def test_when_unwatched_is_refused_with_what_to_write(given_as: str | dict[str, object]) -> None:
    with pytest.raises(BadSettings, match="write 'hold' or"):
        failsafe.control_after_of(given_as)


def test_a_policy_out_of_bounds_is_refused_with_every_problem() -> None:
    with pytest.raises(BadSettings) as refused:
        StalePolicy(stale_grace=float("nan"), stale_jitter=-1.0, control_after=0.0)
    assert len(refused.value.problems) == 3


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("stale_grace", 1.0, 3600.0), ("stale_jitter", 0.0, 3600.0), ("control_after", 1.0, 86400.0),
        ("doubt_after", 0.0, 3600.0), ("spread", 0.0, 1.0),
    ],
)  # fmt: skip
def test_each_setting_of_the_policy_has_its_bounds_and_is_named(name: str, low: float, high: float) -> None:
    for inside in (low, high):
        replace(StalePolicy(), **{name: inside})
    for outside in (low - 0.01, high + 0.01):
        with pytest.raises(BadSettings, match=rf"\b{name} must be from {low:g} to {high:g}"):
            replace(StalePolicy(), **{name: outside})
