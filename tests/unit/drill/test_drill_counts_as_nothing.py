"""A drill is no incident: not in metrics of trips, verdicts for releases, trends, or lists. Nor is a live one."""

from __future__ import annotations

import pytest

from killswitch.daemon.drill_job import Clocks, DrillGauges
from killswitch.drill.record import DrillOutcome
from killswitch.drill.standing import DrillStanding
from killswitch.errors import Unavailable
from killswitch.flags.flag import Flag, as_served, drilled, trip
from killswitch.flags.pinning import stopped_in_words
from killswitch.flags.transitions import Actor
from killswitch.status.flag_metrics import FlagMetrics
from killswitch.status.release_verdict import Word, release_verdict
from killswitch.status.self_metrics import SelfMetrics
from killswitch.stores import keys
from killswitch.trips.flag_history import changes_in, history_of
from killswitch.trips.incidents import incidents_of, latest_incident
from tests.doubles.drills import NAME, DrilledWorld
from tests.doubles.pages import AT, armed

QUIET = 'drill: {quiet: "* * * * *"}\n'


def tripped_by(drill: int | None) -> Flag:
    return trip(
        armed(rollout=NAME), rollout=NAME, reason="made up", rules=("error_rate",), incident=f"{NAME}.drill-3", now=AT,
        by="drill 3 (ann)", actor=Actor.CONTROLLER, drill=drill,
    )  # fmt: skip


@pytest.mark.parametrize(("drill", "shown"), [(None, True), (3, False)])
def test_metrics_of_trips_have_no_drills(drill: int | None, shown: bool) -> None:
    """Grafana draws a line at each trip; a drill is none."""
    metrics = FlagMetrics()
    metrics.set(NAME, tripped_by(drill))
    trips = next(iter(metrics.collect()))
    assert bool(trips.samples) is shown


@pytest.mark.parametrize(("drill", "word"), [(None, Word.TRIPPED), (3, Word.UNKNOWN)])
def test_no_release_is_rolled_back_for_a_drill(drill: int | None, word: Word) -> None:
    """Argo and Flagger wait for the minute that it takes."""
    found = release_verdict(tripped_by(drill), None, age=1.0, oldest=60.0, stale=False, held=False)
    assert found.word is word
    assert found.roll_back is (word is Word.TRIPPED)


@pytest.mark.parametrize("live", [False, True])
def test_no_list_of_incidents_has_one(live: bool) -> None:
    world = DrilledWorld(QUIET)
    world.drilled(live=live)
    assert not incidents_of(world.store, NAME)
    assert latest_incident(world.store) is None


def test_the_flags_history_says_that_a_trip_was_rehearsed() -> None:
    world = DrilledWorld(QUIET)
    world.drilled()
    line = changes_in(history_of(world.store, NAME))[-1]
    assert (line.deed.value, line.by, line.origin) == ("drill", "drill 1 (ann@laptop)", "command line on laptop")
    assert line.before == line.after


def test_the_flags_history_says_who_asked_for_a_live_one() -> None:
    world = DrilledWorld(QUIET)
    world.drilled(live=True)
    lines = changes_in(history_of(world.store, NAME))[-2:]
    assert [(line.deed.value, line.by) for line in lines] == [
        ("trip", "drill 1 (ann@laptop)"),
        ("rearm", "drill 1 (ann@laptop)"),
    ]


def test_a_flag_that_a_drill_has_says_so_in_words() -> None:
    flag = tripped_by(3)
    assert drilled(flag)
    assert stopped_in_words(flag).startswith("a live drill (3)")
    assert as_served(flag).canary_percent == armed().canary_percent


def test_metrics_of_drills_follow_the_standings() -> None:
    """A rollout that is gone has no series, and a leg that was not timed has none either."""
    metrics = SelfMetrics("1")
    gauges = DrillGauges(metrics)
    legs = {"commit": 0.05, "rollback": 6.2}
    passed = DrillStanding(
        NAME, newest=1, last_at=AT, outcome=DrillOutcome.PASSED.value, legs=legs, passed_at=AT, worst=7.0, due=AT + 60
    )
    gauges.show({NAME: passed})

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, {"rollout": NAME, **labels})

    assert value("killswitch_drill_last_timestamp_seconds") == AT
    assert value("killswitch_drill_ok") == 1.0
    assert value("killswitch_drill_seconds", leg="rollback") == 6.2
    assert value("killswitch_drill_worst_seconds") == 7.0
    assert value("killswitch_drill_due_timestamp_seconds") == AT + 60
    gauges.show({NAME: DrillStanding(NAME, outcome=DrillOutcome.FAILED.value, legs={"commit": 0.06}, missed=True)})
    assert value("killswitch_drill_ok") == 0.0
    assert value("killswitch_drill_seconds", leg="rollback") is None
    assert value("killswitch_drill_due_timestamp_seconds") is None  # its schedule was removed
    gauges.show({})
    assert value("killswitch_drill_ok") is None


def test_a_daemon_that_is_stopping_hands_its_drill_over() -> None:
    """It does not sleep on: its claim is given back, and another replica ends the drill."""
    slept: list[float] = []
    clocks = Clocks(lambda: AT, lambda: 0.0, slept.append, lambda: True)
    with pytest.raises(Unavailable, match="stopping"):
        clocks.sleep_unless_stopping(1.0)
    assert not slept


def test_a_stopped_daemon_leaves_its_drill_to_another_at_once() -> None:
    world = DrilledWorld(QUIET)

    def stop() -> None:
        raise Unavailable("this controller is stopping")

    world.at_each_step = stop
    world.ask(live=True)
    world.drills.look()
    assert drilled(world.flag)
    assert world.server.get(keys.drill_runner(NAME)) is None
    world.at_each_step = lambda: None
    world.replicas["kill-1"].look()
    assert world.flag is not None
    assert world.flag.armed
