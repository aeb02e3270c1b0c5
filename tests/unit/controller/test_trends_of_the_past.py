"""What charts lack is read from the metric store when someone looks, and around each trip it is kept: best effort."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from killswitch.controller.past_windows import read_past
from killswitch.controller.trend_filling import AGAIN_AFTER, MOST_WAITING, TrendFilling
from killswitch.controller.trip_trends import AFTER, BEFORE, HEIRS_AFTER, RECENT, TripTrends
from killswitch.daemon.trend_view import TrendView
from killswitch.deadline import Deadline
from killswitch.flags import flag as flags
from killswitch.flags.flag import Flag
from killswitch.flags.transitions import Actor
from killswitch.model import Finding, Reason, Rollout, Unit, Unreadable, Verdict
from killswitch.status.reports import CycleReport, RolloutReport
from killswitch.stores import Put, keys
from killswitch.trends.memory import TrendMemory
from killswitch.trends.stored import trend_around
from killswitch.trends.trend import Span
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import Fault, MemoryServer, MemoryStore
from tests.doubles.scripted_source import ERRORS, LATENCY, ScriptedSource, Traffic, canary_from, rollout

NOW = 1_776_608_400.0  # a multiple of 60
RULES = {"copilot": rollout(rules=(ERRORS, LATENCY))}


class World:
    """One replica's trends over a metric store and a flag store that a test can break."""

    def __init__(self, by: str = "r0", server: MemoryServer | None = None) -> None:
        self.clock = VirtualClock(wall=NOW)
        self.source = ScriptedSource(self.clock, Traffic(rate=canary_from(NOW - 120, error_rate=0.3)))
        self.server = server or MemoryServer(self.clock)
        self.store = MemoryStore(self.server, by)
        self.memory = TrendMemory()
        self.rules: Mapping[str, Rollout] = RULES
        self.filling = TrendFilling(
            self.memory, self.source, rollouts=lambda: self.rules, monotonic=self.clock.monotonic
        )
        self.trips = TripTrends(
            self.store, self.memory, self.source,
            controller_id=by, rollouts=lambda: self.rules, monotonic=self.clock.monotonic,
        )  # fmt: skip

    def watch(self, tick: float, canary: float = 0.25) -> None:
        found = Finding(
            "error_rate", Verdict.HEALTHY, None, "", Unit.FRACTION,
            canary=canary, control=0.01, limit=0.02, evidence=9.0, needed=400.0,
        )  # fmt: skip
        self.memory.take(tick, {"copilot": (found,)})

    def later(self, seconds: float, *noticed: Flag) -> None:
        self.clock.advance(seconds)
        self.trips.notice(noticed, self.clock.wall())
        self.trips.look()


def tripped(at: float = NOW, by: str = "r0") -> Flag:
    armed = flags.arm(
        None, rollout="copilot", control="a", canary="b", percent=5.0, stage="ramp_5", now=at - 7200, by="ann"
    )
    return flags.trip(
        armed, rollout="copilot", reason="errors", rules=("error_rate",), incident="copilot.1", now=at, by=by,
        actor=Actor.CONTROLLER,
    )  # fmt: skip


@pytest.fixture(name="one")
def one_world() -> World:
    return World()


def test_the_past_has_values_limits_and_requests_of_both_cohorts(one: World) -> None:
    past = read_past(one.source, RULES["copilot"], [NOW - 600, NOW], Deadline(10.0, one.clock.monotonic))
    assert past is not None
    before, after = past[0]["error_rate"], past[1]["error_rate"]
    assert before.canary is not None
    assert before.canary < 0.05
    assert after.canary is not None
    assert after.canary > 0.1
    assert after.limit == pytest.approx(0.02, abs=0.01)
    assert after.samples_control is not None
    assert past[1]["latency_p95"].control is not None
    assert after.evidence is None


def test_a_source_that_does_not_answer_is_no_past(one: World) -> None:
    one.source.down = True
    assert read_past(one.source, RULES["copilot"], [NOW], Deadline(10.0, one.clock.monotonic)) is None


def test_missing_data_are_gaps_and_not_zero(one: World) -> None:
    nothing = Unreadable(Reason.NO_DATA, "no series")
    one.source.spoil = lambda want, tick: nothing
    past = read_past(one.source, RULES["copilot"], [NOW], Deadline(10.0, one.clock.monotonic))
    assert past is not None
    assert past[0]["error_rate"].canary is None
    assert past[0]["error_rate"].samples_canary is None


def test_a_chart_after_a_restart_is_filled_from_the_metric_store(one: World) -> None:
    one.watch(NOW)
    assert one.filling.want("copilot", Span.HOUR, NOW)
    one.filling.look()
    trend = one.memory.trend("copilot", Span.HOUR, NOW)
    assert all(moment.canary is not None for moment in trend.rules[0].moments)
    assert trend.rules[0].moments[-1].canary == pytest.approx(0.25)  # what was judged stays
    assert "the metric store's" in trend.note
    assert len(one.source.asked) == 1


@pytest.mark.parametrize("span", list(Span))
def test_each_span_costs_one_query_of_few_ticks(one: World, span: Span) -> None:
    assert one.filling.want("copilot", span, NOW)
    one.filling.look()
    one.filling.look()
    ((_, wants, ticks),) = one.source.asked
    assert wants == 2
    assert ticks <= 61
    assert not one.memory.trend("copilot", span, NOW).empty


def test_looking_again_and_again_asks_the_store_no_more(one: World) -> None:
    one.source.down = True
    for _ in range(20):
        one.filling.want("copilot", Span.HOUR, NOW)
        one.filling.look()
        one.clock.advance(1.0)
    assert len(one.source.asked) == 1
    one.clock.advance(AGAIN_AFTER)
    one.source.down = False
    assert one.filling.want("copilot", Span.HOUR, NOW)
    one.filling.look()
    assert not one.memory.trend("copilot", Span.HOUR, NOW).empty


def test_many_who_look_wait_in_a_bounded_queue(one: World) -> None:
    names = [f"r{number}" for number in range(500)]
    one.rules = {name: rollout(name, rules=(ERRORS,)) for name in names}
    assert sum(one.filling.want(name, Span.HOUR, NOW) for name in names) == MOST_WAITING


def test_nothing_is_read_for_a_rollout_without_rules(one: World) -> None:
    assert not one.filling.want("other", Span.HOUR, NOW)
    one.filling.look()
    assert one.source.asked == []


def test_a_trip_keeps_what_is_remembered_at_once(one: World) -> None:
    for minute in range(30, -1, -1):
        one.watch(NOW - 60.0 * minute)
    one.later(5.0, tripped())
    kept = trend_around(one.store, "copilot", 1)
    assert kept is not None
    assert kept.since == NOW - BEFORE
    moments = dict(zip(kept.times, kept.rules[0].moments, strict=True))
    assert moments[NOW].canary == pytest.approx(0.25)
    assert moments[NOW - 1860].canary is None  # not yet watched: a gap
    assert one.source.asked == []


def test_ten_minutes_later_the_rest_is_added(one: World) -> None:
    for minute in range(30, -1, -1):
        one.watch(NOW - 60.0 * minute)
    one.later(5.0, tripped())
    one.later(AFTER - 30.0, tripped())
    assert one.source.asked == []
    one.later(60.0, tripped())
    kept = trend_around(one.store, "copilot", 1)
    assert kept is not None
    assert kept.until >= NOW + AFTER
    (errors,) = [rule for rule in kept.rules if rule.rule == "error_rate"]
    moments = dict(zip(kept.times, errors.moments, strict=True))
    assert moments[NOW].canary == pytest.approx(0.25)
    assert moments[NOW].evidence == pytest.approx(9.0, rel=0.02)
    assert moments[NOW - 1860].canary is not None  # from the metric store
    assert moments[NOW + AFTER].control is not None
    assert len(one.source.asked) == 1
    one.later(60.0, tripped())
    assert len(one.source.asked) == 1


def test_a_re_armed_rollout_is_completed_all_the_same(one: World) -> None:
    one.later(5.0, tripped())
    one.later(AFTER + 60.0)
    kept = trend_around(one.store, "copilot", 1)
    assert kept is not None
    assert kept.until >= NOW + AFTER


def test_what_the_first_replica_wrote_is_kept() -> None:
    """The one that tripped has watched; one that has just started knows less."""
    first = World("r0")
    for minute in range(30, -1, -1):
        first.watch(NOW - 60.0 * minute)
    first.later(5.0, tripped())
    heir = World("r1", first.server)
    heir.watch(NOW)
    heir.later(5.0, tripped())
    kept = trend_around(heir.store, "copilot", 1)
    assert kept is not None
    assert sum(moment.canary is not None for moment in kept.rules[0].moments) > 20


def test_another_replica_completes_what_the_first_could_not() -> None:
    first = World("r0")
    first.later(5.0, tripped())
    heir = World("r1", first.server)
    heir.later(5.0, tripped())
    heir.later(AFTER + HEIRS_AFTER - 10.0, tripped())
    assert heir.source.asked == []
    heir.later(60.0, tripped())
    assert trend_around(heir.store, "copilot", 1) is not None
    first.later(AFTER + 200.0, tripped())
    assert first.source.asked == []  # it is whole already


def test_a_store_that_fails_is_tried_again_and_raises_nothing(one: World) -> None:
    one.watch(NOW)
    one.store.fault = lambda call: Fault.FAIL_BEFORE
    one.later(5.0, tripped())
    assert trend_around(MemoryStore(one.server), "copilot", 1) is None
    calls = len(one.store.calls)
    one.later(1.0, tripped())
    assert len(one.store.calls) == calls  # it rests a minute: a permission may be missing
    one.store.fault = lambda call: None
    one.later(60.0, tripped())
    assert trend_around(one.store, "copilot", 1) is not None


def test_an_old_trip_is_left_alone(one: World) -> None:
    one.later(0.0, tripped(at=NOW - RECENT - 1))
    one.later(0.0, tripped(at=NOW - RECENT - 1))
    assert one.store.calls == []


def test_a_spoiled_record_is_written_again(one: World) -> None:
    one.store.commit((), [Put(keys.incident_trend("copilot", 1), b"{}")])
    one.later(5.0, tripped())
    one.later(AFTER + 60.0, tripped())
    assert trend_around(one.store, "copilot", 1) is not None


def test_a_bug_in_remembering_costs_no_cycle(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cycle's job sets the sign of life after it: an error here would make the replica look hung."""
    one = World()
    view = TrendView(
        one.store, one.source, controller_id="r0", rollouts=lambda: RULES, monotonic=one.clock.monotonic
    )  # fmt: skip
    assert view.trend("copilot", Span.HOUR) is None
    monkeypatch.setattr(TrendMemory, "take", _breaks)
    report = CycleReport(NOW, 0.0, 0.0, {"copilot": RolloutReport("copilot", "fine")})
    view.cycle_finished(report)
    monkeypatch.undo()
    view.cycle_finished(report)
    found = view.trend("copilot", Span.HOUR)
    assert found is not None
    assert found[1]
    view.look()
    found = view.trend("copilot", Span.HOUR)
    assert found is not None
    assert not found[0].empty
    assert not found[1]


def _breaks(*_: object) -> None:
    raise ZeroDivisionError
