"""What one alert may do: it acts on the arming in which it began, once, and holds at most where clocks may differ."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.alert_settings import AlertSettings
from killswitch.alerts.deciding import choose
from killswitch.alerts.message import Alert
from killswitch.alerts.seen import CLOCKS, Did, SeenAlert
from killswitch.flags.flag import Flag
from tests.doubles.flags import armed, tripped
from tests.unit.alerts.desks import HOLD, TRIP

ARMED_AT = armed().armed_at
NOW = ARMED_AT + 1e6
BACK = replace(TRIP, looks_back=300.0)


def began(after: float) -> Alert:
    """An alert that began this many seconds after the arming."""
    return Alert("f", firing=True, starts_at=ARMED_AT + after, labels={}, annotations={}, generator_url="")


@pytest.mark.parametrize(
    ("settings", "after", "does"),
    [
        (TRIP, 0.0, Did.TRIPPED),
        (TRIP, 1e6, Did.TRIPPED),
        (TRIP, -1.0, Did.HELD),
        (TRIP, -CLOCKS, Did.HELD),
        (TRIP, -CLOCKS - 1, Did.NOTHING),
        (TRIP, -1e9, Did.NOTHING),
        (HOLD, 0.0, Did.HELD),
        (HOLD, -1.0, Did.HELD),
        (HOLD, -CLOCKS - 1, Did.NOTHING),
        (BACK, 299.0, Did.HELD),
        (BACK, 300.0, Did.TRIPPED),
    ],
)
def test_when_it_began_says_what_it_may_do(settings: AlertSettings, after: float, does: Did) -> None:
    assert choose(began(after), armed(), settings, None, now=NOW).do is does


@pytest.mark.parametrize("flag", [None, tripped()])
def test_only_an_armed_rollout_is_acted_on(flag: Flag | None) -> None:
    choice = choose(began(10), flag, TRIP, None, now=NOW)
    assert choice.do is Did.NOTHING
    assert "only on armed ones" in choice.why


@pytest.mark.parametrize("did", list(Did))
def test_an_alert_seen_in_an_earlier_generation_never_acts(did: Did) -> None:
    """However wrong the clocks of who arms and who raises alerts are."""
    seen = SeenAlert(ARMED_AT + 10, 1, did)
    assert choose(began(10), armed(generation=2), TRIP, seen, now=NOW).do is Did.NOTHING


def test_a_new_beginning_acts_again() -> None:
    seen = SeenAlert(ARMED_AT + 10, 1, Did.TRIPPED)
    assert choose(began(20), armed(generation=2), TRIP, seen, now=NOW).do is Did.TRIPPED


def test_a_rule_file_that_now_says_trip_is_obeyed() -> None:
    """The alert has held before; it goes on, and the rule file was changed."""
    assert choose(began(10), armed(), TRIP, SeenAlert(ARMED_AT + 10, 1, Did.HELD), now=NOW).do is Did.TRIPPED


def test_an_earlier_beginning_is_no_new_one() -> None:
    """A second Prometheus whose copy of the alert is older, or a replay."""
    assert choose(began(5), armed(), TRIP, SeenAlert(ARMED_AT + 10, 1, Did.TRIPPED), now=NOW).do is Did.NOTHING


def test_a_clock_that_was_ahead_hides_no_later_alert() -> None:
    """It fired while a clock was a year ahead. The same alert that begins tomorrow is another one."""
    seen = SeenAlert(NOW + 365 * 86400.0, 1, Did.TRIPPED)
    assert choose(began(10), armed(generation=2), TRIP, seen, now=NOW).do is Did.TRIPPED
    ahead = replace(began(10), starts_at=seen.starts_at)
    assert choose(ahead, armed(generation=2), TRIP, seen, now=NOW).do is Did.NOTHING


@given(
    after=st.integers(-1_000_000, 1_000_000),
    generation=st.integers(1, 5),
    seen=st.none()
    | st.builds(SeenAlert, st.floats(ARMED_AT - 1e6, ARMED_AT + 1e6), st.integers(0, 5), st.sampled_from(Did)),
    settings=st.sampled_from([TRIP, HOLD, BACK]),
)
def test_no_alert_does_more_than_the_file_says_or_acts_twice(
    after: int, generation: int, seen: SeenAlert | None, settings: AlertSettings
) -> None:
    flag = armed(generation=generation)
    choice = choose(began(after), flag, settings, seen, now=NOW)
    assert choice.do <= (Did.HELD if settings is HOLD else Did.TRIPPED)
    if choice.do is Did.TRIPPED:
        assert after >= settings.looks_back
    if choice.do is Did.NOTHING:
        assert choice.why
    if seen is not None and seen.covers(ARMED_AT + after, now=NOW):
        assert choice.do is Did.NOTHING or (seen.generation == generation and seen.did < choice.do)
