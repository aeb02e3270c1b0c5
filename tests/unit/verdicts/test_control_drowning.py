"""Control after a trip: drowning is reported on evidence, never for one bad step, and by luck in 1 % of trips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from killswitch.flags.flag import Flag
from killswitch.model import Buckets, Counts, Measurement, Reason, Unreadable
from killswitch.verdicts.control_drowning import WATCHED_FOR, drowning, is_watched, watched_rules
from tests.doubles.scripted_source import BOUNDS, ERRORS, LATENCY, REFUSALS, THUMBS
from tests.unit.flags.changed_flags import NOW, armed, completed, pinned, tripped

STEP = 30.0
RULES = (ERRORS, LATENCY)
Steps = dict[float, dict[str, Measurement]]


def history(
    seed: int = 1,
    *,
    errors: float = 0.01,
    after: float = 0.01,
    slower: float = 1.0,
    steps: int = 60,
    rate: float = 600.0,
) -> Steps:
    """30 minutes before and after a trip at 0; ``after`` and ``slower``: the error rate and the latency after it."""
    chance = np.random.default_rng(seed)
    found: Steps = {}
    for number in range(-60, 61):
        late = number > 0
        trials = int(chance.poisson(rate * (1.33 if late else 1.0)))
        seconds = np.sort(chance.lognormal(-1.0, 0.4, trials) * (slower if late else 1.0))
        counts = tuple(float(count) for count in np.searchsorted(seconds, BOUNDS, side="right"))
        bad = float(chance.binomial(trials, after if late else 0.01))
        found[number * STEP] = {"error_rate": Counts(bad, float(trials)), "latency_p95": Buckets(BOUNDS, counts)}
    return found


def names(steps: Steps) -> list[str]:
    return [one.rule for one in drowning(RULES, steps, tripped_at=0.0, step=STEP)]


def test_errors_that_rise_are_reported_with_both_values() -> None:
    (found,) = drowning(RULES, history(after=0.12), tripped_at=0.0, step=STEP)
    assert found.rule == "error_rate"
    assert found.sentence.startswith("error_rate of control 11.8% since the trip (47,986 requests), and 1.0%")
    assert "before it; chance of this by luck if it is at most 2 times as bad: under 1 in " in found.sentence


def test_latency_that_rises_is_reported() -> None:
    assert names(history(slower=4.0)) == ["latency_p95"]


def test_one_bad_step_is_not_enough() -> None:
    steps = history(after=0.01)
    for tick in (30.0, 900.0):
        bad = {**steps, tick: {**steps[tick], "error_rate": Counts(700.0, 800.0)}}
        assert names(bad) == []
        assert names({at: one for at, one in bad.items() if at <= tick}) == []


def test_it_is_seen_within_minutes() -> None:
    """The first ticks after the trip decide what a person can still do."""
    steps = history(after=0.12)
    until = next(tick for tick in sorted(steps) if tick > 0 and names({t: s for t, s in steps.items() if t <= tick}))
    assert until <= 150.0


@pytest.mark.simulation
def test_a_control_that_takes_it_is_reported_in_no_more_than_1_percent() -> None:
    """400 trips; at most 1 % may be reported. At twice the rate it is exactly at what is allowed."""
    healthy = sum(bool(names(history(seed))) for seed in range(150))
    at_limit = sum(bool(names(history(seed, after=0.02))) for seed in range(150, 300))
    few = sum(bool(names(history(seed, rate=20.0))) for seed in range(300, 400))
    assert (healthy, at_limit <= 2, few <= 1) == (0, True, True)


def test_what_cannot_be_read_is_no_drowning() -> None:
    down = Unreadable(Reason.SOURCE_DOWN, "no answer")
    steps = {
        tick: {name: down if tick > 0 else one for name, one in rules.items()} for tick, rules in history().items()
    }
    assert names(steps) == []
    without_past = {tick: one for tick, one in history(after=0.3).items() if tick > -200.0}
    assert names(without_past) == []
    assert names({}) == []


@pytest.mark.parametrize(
    ("flag", "watched"),
    [
        (tripped(armed(25.0, "ramp_25"), at=NOW), True),
        (tripped(completed(armed(99.0, "full"), at=NOW - 5), at=NOW), True),
        (pinned(armed(25.0, "ramp_25"), at=NOW), True),
        (tripped(armed(24.0, "custom"), at=NOW), False),
        (tripped(armed(50.0, "aa"), at=NOW), False),
        (armed(25.0, "ramp_25"), False),
        (completed(), False),
    ],
    ids=str,
)
def test_only_a_trip_of_a_quarter_or_more_is_watched(flag: Flag, watched: bool) -> None:
    assert is_watched(flag, NOW + 60) == watched
    assert not is_watched(flag, NOW + WATCHED_FOR + 1)
    assert not is_watched(flag, NOW - 60)


def test_errors_and_latency_are_watched() -> None:
    assert watched_rules((ERRORS, LATENCY, REFUSALS, THUMBS)) == (ERRORS, LATENCY)
    assert watched_rules((replace(REFUSALS, name="other"),)) == ()
