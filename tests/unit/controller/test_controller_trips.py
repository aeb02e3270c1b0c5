"""A breach becomes one flip, whatever call fails, however late it was read, and by no evidence that is too old."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from killswitch.controller.controller import Timing
from killswitch.model import Cohort, Decide, Reason, Unreadable, Want
from killswitch.pages.page import PageKind
from killswitch.stores import keys
from killswitch.wording import duration_in_words
from tests.doubles.fleet import INTERVAL, START, Faults, Fleet, no_fault
from tests.doubles.memory_store import Call, Crash, Fault
from tests.doubles.scripted_source import (
    ERRORS,
    HEALTHY_RATES,
    LATENCY,
    REFUSALS,
    THUMBS,
    Traffic,
    canary_from,
    rollout,
)
from tests.unit.controller.fleets import BAD, BAD_SOON, GOOD, ONSET, assert_one_trip, fleet_of, flips

pytestmark = pytest.mark.simulation


def test_a_bad_canary_is_tripped_once_in_one_revision() -> None:
    """A bad canary is tripped once: flag, incident and page are written in one revision of the store."""
    fleet = fleet_of("a")
    fleet.run(40)
    assert_one_trip(fleet)
    flag, incident = fleet.flips()[0], fleet.incidents()[0]
    revisions = {c.key: c.revision for c in fleet.server.history if c.by == "a"}
    assert (
        revisions[keys.flag("copilot")] == revisions[keys.incident("copilot", 1)] == revisions[keys.outbox("copilot.1")]
    )
    assert flag.canary_percent == 0.0
    assert flag.trip is not None
    assert (flag.trip.percent_before, flag.trip.stage_before, flag.trip.rules) == (5.0, "ramp_5", ("error_rate",))
    assert [f["rule"] for f in incident["findings"]] == [rule.name for rule in rollout().rules]
    assert incident["findings"][0]["sentence"] == incident["reason"]
    assert incident["findings"][0]["queries"]


@pytest.mark.parametrize(
    ("rule", "rate"),
    [(ERRORS, 0.3), (REFUSALS, 0.4), (THUMBS, 0.2), (LATENCY, 4.0)],
    ids=lambda v: getattr(v, "name", ""),
)
def test_each_rule_trips_on_its_own_regression_only(rule: object, rate: float) -> None:
    name = getattr(rule, "name", "")
    fleet = fleet_of("a", script=Traffic(rate=canary_from(ONSET, **{name: rate}), since=START))
    assert fleet.run(60, until=fleet.tripped) < 60
    trip = fleet.flips()[0].trip
    assert trip is not None
    assert trip.rules == (name,)
    assert trip.at > ONSET


def test_a_page_names_the_time_since_arming_for_its_numbers() -> None:
    """A page of a trip after 90 s said "Last 5m" over counts of 90 s."""
    spoilt = Traffic(rate=canary_from(START, error_rate=0.9), since=START)
    fleet = fleet_of("a", script=spoilt, decide=Decide.THRESHOLD, rules=(replace(ERRORS, for_ticks=3),))
    assert fleet.run(20, until=fleet.tripped) <= 4
    incident = fleet.incidents()[0]
    assert 0 < incident["window_seconds"] < 120
    samples = incident["findings"][0]["samples_canary"]
    assert samples == pytest.approx(75 * incident["window_seconds"] / INTERVAL, rel=0.5)
    (page,) = fleet.pages(PageKind.TRIPPED)
    assert page.rows[0].counted == f"last {duration_in_words(incident['window_seconds'])}"


@pytest.mark.parametrize(("before", "ticks"), [(1, 2), (3, 3), (3, 5), (10, 12)])
def test_a_breach_read_late_together_with_later_ticks_trips(before: int, ticks: int) -> None:
    """Evidence begins at nothing after a breach; one within an outage of the metric store was lost, 10 minutes here."""
    script = Traffic(rate=canary_from(ONSET, error_rate=0.04), since=START - 4000)
    usual = fleet_of("a", script=script)
    needed = usual.run(100, until=usual.tripped)
    fleet = fleet_of("a", script=script)
    fleet.run(needed - before)
    fleet.replicas[0].source.down = True
    fleet.run(ticks)
    fleet.replicas[0].source.down = False
    assert fleet.run(100, until=fleet.tripped) == 1
    counted, as_usual = (one.incidents()[0]["findings"][0]["excursion"] for one in (fleet, usual))
    assert counted == as_usual


def test_a_breach_read_late_of_a_healthy_canary_does_not_trip() -> None:
    script = Traffic(since=START - 4000, rate=lambda *of: 0.3 if _spoilt(*of) else HEALTHY_RATES.get(of[1], 1.0))
    fleet = fleet_of("a", script=script)
    fleet.run(20)
    fleet.replicas[0].source.down = True
    fleet.run(30)
    fleet.replicas[0].source.down = False
    assert fleet.run(20, until=fleet.tripped) == 20


def _spoilt(_rollout: str, rule: str, cohort: Cohort, at: float) -> bool:
    """For five minutes, while the metric store is away."""
    return rule == "error_rate" and cohort is Cohort.CANARY and ONSET + 60 < at <= ONSET + 360


def test_two_replicas_trip_once() -> None:
    fleet = fleet_of("a", "b", "c")
    fleet.run(40)
    assert_one_trip(fleet)


@pytest.mark.slow
def test_a_healthy_canary_is_left_alone_for_three_hours() -> None:
    fleet = fleet_of("a", script=GOOD)
    fleet.run(360)
    assert fleet.flips() == []
    assert fleet.pages() == []
    assert fleet.told() == []
    assert fleet.sentences()[0].startswith("[armed g1 ramp_5 5%]: 4 of 4 rules healthy")


def strike(number: int, fault: Fault, onset_calls: list[int]) -> Faults:
    """The fault, once, at the ``number``-th call after the breach's cycle began."""

    def faults(call: Call) -> Fault | None:
        if not onset_calls:
            return None
        return fault if call.number == onset_calls[0] + number else None

    return faults


@pytest.mark.parametrize("fault", list(Fault))
def test_any_failed_call_leaves_one_flip_and_one_incident(fault: Fault) -> None:
    """A clean run counts the calls from the last healthy cycle on; then each of them is struck."""
    clean = fleet_of("a", script=BAD_SOON, rules=(ERRORS, REFUSALS))
    before = len(clean.replicas[0].store.calls)
    while not clean.tripped():
        before = len(clean.replicas[0].store.calls)
        clean.run(1)
    calls = len(clean.replicas[0].store.calls) - before
    assert calls > 10
    for number in range(calls):
        fleet = fleet_of("a", script=BAD_SOON, rules=(ERRORS, REFUSALS))
        first = fleet.replicas[0]
        first.fail_store(strike(number, fault, [before]))
        try:
            fleet.run(6)
        except Crash:
            assert fault in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER)
        fleet.server.apply_late()
        if fault in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER):
            fleet.replicas.clear()
            fleet.replica("b")
        fleet.run(4)
        fleet.server.apply_late()
        fleet.run(2)
        assert_one_trip(fleet)


def test_a_process_that_slept_past_its_session_commits_nothing() -> None:
    """The transaction stands ready, the process is frozen for 20 s, a person trips and re-arms nothing: it is lost."""
    fleet = fleet_of("a")
    a = fleet.replicas[0]
    slept: list[float] = []

    def freeze(call: Call) -> Fault | None:
        if flips(call) and not slept:
            slept.append(fleet.clock.monotonic())
            fleet.clock.advance(a.controller._timing.session_ttl + 5)
        return None

    a.fail_store(freeze)
    fleet.run(40)
    assert slept
    flip = next(change for change in fleet.server.history if change.by == "a" and change.key == keys.flag("copilot"))
    sessions = [c for c in fleet.server.history if c.key == keys.claim("sessions/a") and c.value is not None]
    assert len(sessions) >= 2  # the first had ended; only a new session's guard could hold
    assert sessions[-1].revision < flip.revision
    assert_one_trip(fleet)


def test_a_breach_whose_trips_expire_is_logged_and_paged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Allowed to be five seconds old: it never is. Something is wrong with a clock or a setting, and users suffer."""
    fleet = Fleet(BAD, rollout(), timing=Timing(max_evidence_age=20.0, session_ttl=15.0))
    a, b = fleet.replica("a"), fleet.replica("b")
    fleet.arm()
    fleet.run(60, until=lambda: a.sample("killswitch_trips_total", rollout="copilot", outcome="expired") > 0)
    loud = [record for record in caplog.records if "breach not acted upon" in record.getMessage()]
    assert {record.levelno for record in loud} == {logging.ERROR}
    assert fleet.pages() == []
    fleet.run(10)
    (page,) = fleet.pages()
    assert page.kind is PageKind.CANNOT_ACT
    assert "a breach is waiting: error_rate" in page.why
    assert b.sample("killswitch_trips_total", rollout="copilot", outcome="expired") >= 2
    assert not fleet.tripped()
    assert fleet.told() == []


def test_evidence_older_than_allowed_is_never_cited() -> None:
    """The store is away for five minutes during a breach: the flip cites a tick at most 60 s before it."""
    fleet = fleet_of("a")
    a = fleet.replicas[0]
    a.fail_store(lambda call: Fault.FAIL_BEFORE if START + 620 < fleet.clock.wall() < START + 1200 else None)
    committed: list[float] = []
    a.controller._acting._flipped = lambda *_: committed.append(fleet.clock.wall())
    fleet.run(60, until=fleet.tripped)
    trip = fleet.flips()[0].trip
    assert trip is not None
    assert committed
    assert committed[0] > START + 1200
    assert committed[0] - trip.at <= 60
    assert_one_trip(fleet)


def test_evidence_that_stopped_before_the_tick_has_its_true_age() -> None:
    """Steps end at their last update: a breach whose data stopped a step ago may not be sent 45 s after the tick."""
    fleet = fleet_of("a")
    a = fleet.replicas[0]
    wanted: list[float] = []

    def gone(want: Want, tick: float) -> Unreadable | None:
        stopped = wanted and tick > wanted[0] and want.part.startswith("step")
        return Unreadable(Reason.GAP, "a scrape is missing") if stopped else None

    a.source.spoil = gone
    a.fail_store(lambda call: Fault.FAIL_BEFORE if flips(call) else None)
    fleet.run(60, until=lambda: bool(a.controller._acting.trips.under_way))
    report = a.controller.latest
    assert report is not None
    wanted.append(report.tick)  # no evidence step after this one
    committed: list[float] = []
    a.controller._acting._flipped = lambda *_: committed.append(fleet.clock.wall())
    fleet.run(1)
    fleet.run(1)
    a.fail_store(no_fault)
    fleet.run(6)
    assert all(at - wanted[0] <= 60 for at in committed)
