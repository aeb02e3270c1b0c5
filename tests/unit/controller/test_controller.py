"""Whole cycles of one and of several controllers over an in-memory store, with faults at every call."""

from __future__ import annotations

import itertools
import json
import logging
import os
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace

import pytest

from killswitch.cli.trip import request_by_hand
from killswitch.controller.controller import Timing
from killswitch.deadline import Deadline
from killswitch.flags.flag import Flag, State
from killswitch.model import (
    Cohort,
    Counts,
    Decide,
    Limits,
    Matcher,
    Measurement,
    Mode,
    PageSettings,
    QuerySignal,
    Reading,
    Readings,
    Reason,
    Rule,
    Scalar,
    Unit,
    Unreadable,
    Want,
)
from killswitch.pages.page import PageKind
from killswitch.rules.loading import Rules
from killswitch.stores import Delete, Put, keys
from killswitch.trips.request import TripRequest
from killswitch.verdicts import evaluator
from killswitch.verdicts.compare import Comparison, compare
from killswitch.wording import duration_in_words
from tests.doubles.fleet import INTERVAL, START, Faults, Fleet, no_fault
from tests.doubles.memory_store import Call, Crash, Fault
from tests.doubles.scripted_source import (
    ALL_RULES,
    COHORTS,
    ERRORS,
    HEALTHY_RATES,
    LATENCY,
    REFUSALS,
    THUMBS,
    ScriptedSource,
    Traffic,
    canary_from,
    rollout,
)

THOROUGH = "KILLSWITCH_TEST_THOROUGH" in os.environ  # `make soak`
ONSET = START + 600
BAD = Traffic(rate=canary_from(ONSET, error_rate=0.3), since=START)
BAD_SOON = Traffic(rate=canary_from(START + 90, error_rate=0.9), since=START)
ONSET_LATE = START + 1500
BAD_LATE = Traffic(rate=canary_from(ONSET_LATE, error_rate=0.3), since=START - 4000)
GOOD = Traffic(since=START)
DOWN = Unreadable(Reason.SOURCE_DOWN, "gone")


def fleet_of(*names: str, script: Traffic = BAD, **changes: object) -> Fleet:
    fleet = Fleet(script, rollout(**changes))  # type: ignore[arg-type]  # fields of Rollout
    for name in names:
        fleet.replica(name)
    fleet.arm()
    return fleet


def assert_one_trip(fleet: Fleet, name: str = "copilot") -> None:
    assert len(fleet.flips(name)) == 1
    assert len(fleet.incidents(name)) == 1
    assert len([page for page in fleet.pages(PageKind.TRIPPED) if page.rollout == name]) == 1


# --- the trip -----------------------------------------------------------------------------------


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
    """Each rule trips on its own regression, and the incident names only that rule."""
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


def test_rules_edited_to_threshold_trip_by_windows_of_now() -> None:
    """The age of evidence gathered before the edit was taken for the verdict's: every trip expired, for ever."""
    fleet = fleet_of("a", script=BAD_LATE)
    fleet.run(30)
    fleet.replicas[0].rules = Rules({"copilot": rollout(decide=Decide.THRESHOLD, digest="sha256:2")}, "digest-2")
    assert fleet.run(40, until=fleet.tripped) < 40
    assert_one_trip(fleet)


def test_a_canary_that_vanishes_is_blind_though_its_share_is_wrong() -> None:
    """TRAFFIC_SPLIT counted as sight: RECOVERED was paged, and `when_blind` never tripped."""

    def script(want: Want, cohort: Cohort, tick: float) -> Measurement:
        if cohort is Cohort.CANARY and tick > START + 900:
            return Unreadable(Reason.NO_DATA, "no series match")
        return busy(want, cohort, tick)

    busy = Traffic({Cohort.CONTROL: 1125.0, Cohort.CANARY: 375.0}, since=START)
    fleet = Fleet(script, rollout(rules=(ERRORS, REFUSALS), trip_when_blind_after=900.0))
    fleet.replica("a")
    fleet.arm(percent=25.0)
    assert fleet.run(100, until=fleet.tripped) < 100
    assert fleet.pages(PageKind.TRAFFIC_SPLIT)
    assert fleet.pages(PageKind.RECOVERED) == []
    assert "no series match" in fleet.sentences()[0]


def test_a_small_idle_canary_next_to_a_busy_control_is_not_blind() -> None:
    """Its counters stand still, and its share is wrong: that is paged once, and trips nothing."""

    def script(want: Want, cohort: Cohort, tick: float) -> Measurement:
        return Counts(0.0, 0.0) if cohort is Cohort.CANARY and tick > START + 900 else busy(want, cohort, tick)

    busy = Traffic({Cohort.CONTROL: 1125.0, Cohort.CANARY: 375.0}, since=START)
    fleet = Fleet(script, rollout(rules=(ERRORS, REFUSALS), trip_when_blind_after=900.0))
    fleet.replica("a")
    fleet.arm(percent=25.0)
    assert fleet.run(100, until=fleet.tripped) == 100
    assert [page.kind for page in fleet.pages()] == [PageKind.TRAFFIC_SPLIT]


@pytest.mark.parametrize("decide", list(Decide))
def test_an_edit_of_whom_to_page_keeps_a_waiting_breach(decide: Decide) -> None:
    """The digest of the file was part of what a breach and a streak are about."""
    rules = (replace(ERRORS, for_ticks=6),)
    script = Traffic(rate=canary_from(ONSET, error_rate=0.04), since=START - 4000)
    usual = fleet_of("a", script=script, rules=rules, decide=decide)
    needed = usual.run(100, until=usual.tripped)
    fleet = fleet_of("a", script=script, rules=rules, decide=decide)
    a = fleet.replicas[0]
    a.fail_store(lambda call: Fault.FAIL_BEFORE if _flips(call) else None)
    fleet.run(needed + 2)
    edited = rollout(rules=rules, decide=decide, digest="sha256:2", page=PageSettings(slack="#other"))
    a.rules = Rules({"copilot": edited}, "digest-2")
    fleet.run(2)
    a.fail_store(no_fault)
    assert fleet.run(10, until=fleet.tripped) == 1


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
    """A breach that is read late, when the canary is healthy again, does not trip."""
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


def test_a_verdict_before_a_re_arm_does_not_trip_after_it() -> None:
    """A verdict that was reached before a re-arm does not trip the new generation."""
    fleet = fleet_of("a")
    a = fleet.replicas[0]
    a.fail_store(lambda call: Fault.FAIL_BEFORE if _flips(call) else None)
    fleet.run(60, until=lambda: "copilot" in a.controller._acting.trips.under_way)
    fleet.person.trip(_by_hand())
    fleet.rearm()
    a.fail_store(no_fault)
    a.controller.retry()
    a.controller._acting.trips.wait(10)
    flag = fleet.flag()
    assert flag is not None
    assert (flag.generation, flag.state) == (2, State.ARMED)


def _begin_again(fleet: Fleet) -> Flag:
    """The rollout is ended and another life begun, within one tick."""
    fleet.person.end("copilot")
    fleet.clock.advance(3)
    return fleet.person.arm("copilot", control="model-old", canary="model-new", percent=5.0, stage="s", salt="other")


def test_what_an_ended_life_did_does_not_trip_the_next_one() -> None:
    """In stage `aa` a breach trips nothing; the ramp begins with other users, healthy ones."""
    end = START + 1800
    bad, good = canary_from(START + 300, error_rate=0.05), canary_from(START + 1e6)

    def rate(name: str, rule: str, cohort: Cohort, at: float) -> float:
        return (bad if at <= end else good)(name, rule, cohort, at)

    fleet = Fleet(Traffic(rate=rate, since=START - 4000), rollout())
    fleet.replica("a")
    fleet.arm(stage="aa")
    while fleet.clock.wall() < end + 12:
        fleet.run(1)
    assert "error_rate" in fleet.sentences()[0]
    assert _begin_again(fleet).generation == 2
    assert fleet.run(20, until=fleet.tripped) == 20


def test_a_verdict_on_an_ended_life_does_not_commit_on_the_next() -> None:
    fleet = fleet_of("a", script=BAD_SOON)
    a = fleet.replicas[0]
    a.fail_store(lambda call: Fault.FAIL_BEFORE if _flips(call) else None)
    fleet.run(60, until=lambda: "copilot" in a.controller._acting.trips.under_way)
    _begin_again(fleet)
    a.fail_store(no_fault)
    a.controller.retry()
    a.controller._acting.trips.wait(10)
    assert not fleet.tripped()
    assert a.controller._acting.trips.under_way == {}


def test_what_was_said_of_an_ended_life_is_said_again_of_the_next() -> None:
    fleet = fleet_of("a", "b", mode=Mode.DRY_RUN)
    fleet.run(60)
    fleet.person.end("copilot")
    fleet.run(5)
    fleet.arm()
    fleet.run(60)
    pages = fleet.pages(PageKind.WOULD_TRIP)
    assert [page.generation for page in pages] == [1, 2]
    assert all("dry run" in page.headline and "dry run" not in page.why for page in pages)


def test_a_watch_is_about_one_arming_not_one_generation() -> None:
    """A flag put there without counting, by an older release or by hand, is not judged by the old one's windows."""
    fleet = fleet_of("a", script=GOOD)
    fleet.run(20)
    watch = fleet.replicas[0].controller._watches.armings["copilot"]
    before = fleet.flag()
    assert before is not None
    fleet.server.commit("x", (), (Delete(keys.flag("copilot")), Delete(keys.generation("copilot"))))
    again = fleet.arm()
    assert again.generation == before.generation
    fleet.run(1)
    renewed = fleet.replicas[0].controller._watches.armings["copilot"]
    assert renewed is not watch
    assert renewed.armed_at >= again.armed_at - 0.001


def _writes(call: Call) -> list[Put | Delete]:
    subject = call.subject if isinstance(call.subject, tuple) else ()
    return [write for write in subject if isinstance(write, Put | Delete)]


def _flips(call: Call) -> bool:
    return any(write.key.startswith(keys.FLAGS) for write in _writes(call))


def _by_hand() -> TripRequest:
    return request_by_hand("copilot", "by hand", PageSettings())


def test_a_process_that_slept_past_its_session_commits_nothing() -> None:
    """The transaction stands ready, the process is frozen for 20 s, a person trips and re-arms nothing: it is lost."""
    fleet = fleet_of("a")
    a = fleet.replicas[0]
    slept: list[float] = []

    def freeze(call: Call) -> Fault | None:
        if _flips(call) and not slept:
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
    a.fail_store(lambda call: Fault.FAIL_BEFORE if _flips(call) else None)
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


# --- the flag store is away ---------------------------------------------------------------------


def test_cannot_act_is_paged_once_an_outage_and_its_end_once() -> None:
    fleet = fleet_of("a", script=GOOD)
    a = fleet.replicas[0]
    fleet.run(5)
    a.fail_store(lambda _: Fault.FAIL_BEFORE)
    fleet.run(10)
    assert [page.kind for page in a.told] == [PageKind.CANNOT_ACT]
    a.fail_store(no_fault)
    fleet.run(5)
    assert [page.kind for page in a.told] == [PageKind.CANNOT_ACT, PageKind.RECOVERED]
    assert a.told[1].follows == a.told[0].id
    a.fail_store(lambda _: Fault.FAIL_BEFORE)
    fleet.run(3)
    assert [page.kind for page in a.told][2:] == [PageKind.CANNOT_ACT]
    assert a.told[2].id != a.told[0].id


def test_cannot_act_is_paged_within_45_seconds() -> None:
    fleet = fleet_of("a", script=GOOD)
    a = fleet.replicas[0]
    fleet.run(5)
    a.fail_store(lambda _: Fault.FAIL_BEFORE)
    began = fleet.clock.wall()
    fleet.run(2, until=lambda: bool(a.told))
    assert a.told[0].at - began <= 45


def test_a_short_outage_of_the_store_pages_nobody() -> None:
    fleet = fleet_of("a", script=GOOD)
    a = fleet.replicas[0]
    fleet.run(5)
    until = fleet.clock.wall() + 10
    a.fail_store(lambda _: Fault.FAIL_BEFORE if fleet.clock.wall() < until else None)
    fleet.run(5)
    assert a.told == []


def test_a_breach_in_an_outage_pages_now_and_flips_afterwards() -> None:
    """A breach during an outage of the store is paged at once. The flag is flipped when the store is back."""
    fleet = fleet_of("a")
    a = fleet.replicas[0]
    a.fail_store(lambda _: Fault.FAIL_BEFORE if START + 630 < fleet.clock.wall() < START + 1500 else None)
    fleet.run(45)
    waiting = [page for page in a.told if "A breach is waiting" in page.why]
    assert len(waiting) == 1
    assert "error_rate" in waiting[0].why
    assert not fleet.tripped()
    fleet.run(7)
    assert_one_trip(fleet)
    assert a.told[-1].kind is PageKind.RECOVERED


def test_a_store_read_and_not_written_is_an_outage_paged_once() -> None:
    """etcd over its space quota answers reads and keep-alives, and refuses every write."""
    fleet = fleet_of("a", script=GOOD)
    a = fleet.replicas[0]
    fleet.run(5)
    a.fail_store(lambda call: Fault.FAIL_BEFORE if call.name == "commit" else None)
    fleet.run(20)
    assert [page.kind for page in a.told] == [PageKind.CANNOT_ACT]
    a.fail_store(no_fault)
    fleet.run(3)
    assert [page.kind for page in a.told] == [PageKind.CANNOT_ACT, PageKind.RECOVERED]


def test_a_breach_that_cannot_be_written_is_paged_once() -> None:
    """A breach on a store that cannot be written is paged once, not every few seconds."""
    fleet = fleet_of("a")
    a = fleet.replicas[0]
    a.fail_store(lambda call: Fault.FAIL_BEFORE if call.name == "commit" and fleet.clock.wall() > ONSET else None)
    fleet.run(50)
    assert [page.kind for page in a.told].count(PageKind.RECOVERED) == 0
    assert len(a.told) <= 2  # without a breach waiting, and with one
    a.fail_store(no_fault)
    fleet.run(3)
    assert_one_trip(fleet)


@pytest.mark.slow
def test_a_cycle_in_an_outage_does_not_ask_the_store_once_a_notice() -> None:
    """Each of those calls waits for a timeout."""
    rollouts = [rollout(f"r{n}", mode=Mode.DRY_RUN) for n in range(20)]
    fleet = Fleet(BAD, *rollouts)
    a = fleet.replica("a")
    for one in rollouts:
        fleet.arm(one.name)
    fleet.run(19)
    a.fail_store(lambda _: Fault.FAIL_BEFORE)
    before = len(a.store.calls)
    said: list[str] = []  # of the breach and of the ticks after it, at which evidence begins at nothing
    cycles = 6
    for _ in range(cycles):
        fleet.run(1)
        said += fleet.sentences("r0")
    assert len(a.store.calls) - before <= cycles * 20  # renewals and one read a cycle, not 20 notices each
    assert any("would trip" in sentence for sentence in said)


# --- blindness ----------------------------------------------------------------------------------


def blind(fleet: Fleet, *, down: bool = True) -> None:
    for one in fleet.replicas:
        one.source.down = down


def test_blindness_of_a_fleet_is_paged_once_at_the_second_tick() -> None:
    """BLIND is paged once for the whole fleet, at the second missed tick."""
    rollouts = [rollout(f"r{n}") for n in range(5)]
    fleet = Fleet(GOOD, *rollouts)
    for name in "abc":
        fleet.replica(name)
    for one in rollouts:
        fleet.arm(one.name)
    fleet.run(10)
    blind(fleet)
    fleet.run(1)
    assert fleet.pages(PageKind.BLIND) == []
    fleet.run(1)
    pages = fleet.pages(PageKind.BLIND)
    assert len(pages) == 1
    assert pages[0].payload["rollouts"] == [f"r{n}" for n in range(5)]
    fleet.run(60)
    assert len(fleet.pages(PageKind.BLIND)) == 1
    blind(fleet, down=False)
    fleet.run(3)
    recovered = fleet.pages(PageKind.RECOVERED)
    assert len(recovered) == 1
    assert recovered[0].follows == pages[0].id
    assert all(not fleet.flips(one.name) for one in rollouts)


def test_a_replica_that_is_blind_alone_neither_pages_nor_trips() -> None:
    fleet = fleet_of("a", "b", script=GOOD, trip_when_blind_after=120.0)
    fleet.run(5)
    fleet.replicas[0].source.down = True
    fleet.run(40)
    assert fleet.pages(PageKind.BLIND, PageKind.TRIPPED) == []
    assert "blind" in fleet.replicas[0].controller.latest.reports["copilot"].sentence  # type: ignore[union-attr]  # it ran


def test_a_replica_that_starts_in_an_outage_does_not_call_it_over() -> None:
    """What it has not seen it does not claim: no RECOVERED, no second BLIND."""
    fleet = fleet_of("a", "b", script=GOOD)
    fleet.run(10)
    blind(fleet)
    fleet.run(5)
    assert len(fleet.pages(PageKind.BLIND)) == 1
    fleet.kill(fleet.replicas[0])
    fleet.replica("c").source.down = True
    fleet.run(10)
    assert len(fleet.pages(PageKind.BLIND)) == 1
    assert fleet.pages(PageKind.RECOVERED) == []


def test_older_rules_do_not_end_the_outage_of_a_new_rollout() -> None:
    """A replica with older rules does not end an outage of a rollout that it does not know."""
    fleet = Fleet(GOOD, rollout("old"), rollout("new"))
    a = fleet.replica("a")
    fleet.replica("b", rules=Rules({"old": fleet.rollouts["old"]}, "digest-0"))
    fleet.arm("old")
    fleet.arm("new")
    fleet.run(5)
    a.source.spoil = lambda want, _tick: DOWN if want.rollout == "new" else None
    fleet.run(20)
    assert len(fleet.pages(PageKind.BLIND)) == 1
    assert fleet.pages(PageKind.RECOVERED) == []


def test_a_blind_trip_is_not_held_up_by_replicas_also_blind() -> None:
    """All replicas evaluate the same ticks, so each writes its heartbeat between another's look and its trip."""
    fleet = fleet_of("a", "b", script=GOOD, trip_when_blind_after=300.0)
    a, b = fleet.replicas
    fleet.run(5)
    blind(fleet)

    def at_the_same_time(call: Call) -> Fault | None:
        if call.name == "commit" and any(w.key == keys.controller("a") for w in _writes(call)):
            b.cycle()
        return None

    a.fail_store(at_the_same_time)
    fleet.run(20, until=fleet.tripped)
    assert_one_trip(fleet)
    assert fleet.told(PageKind.CANNOT_ACT) == []


@pytest.mark.parametrize("names", ["a", "ab", "abc"])
def test_trip_after_trips_once_for_any_number_of_blind_replicas(names: str) -> None:
    """`when_blind: trip_after` trips once, whatever the number of replicas that report their blindness."""
    fleet = fleet_of(*names, script=GOOD, trip_when_blind_after=600.0)
    fleet.run(10)
    blind(fleet)
    since = fleet.clock.wall()
    fleet.run(40, until=fleet.tripped)
    assert_one_trip(fleet)
    assert 600 <= fleet.clock.wall() - since + INTERVAL <= 600 + 4 * INTERVAL
    trip = fleet.flips()[0].trip
    assert trip is not None
    assert trip.rules == ()
    assert trip.reason.startswith("blind for 10m")
    assert fleet.told(PageKind.CANNOT_ACT) == []


def test_the_store_refuses_a_blind_trip_once_a_replica_sees() -> None:
    """The store refuses a blind trip if a replica has reported sight in the meantime."""
    fleet = fleet_of("a", "b", script=GOOD, trip_when_blind_after=300.0)
    a, b = fleet.replicas
    fleet.run(5)
    blind(fleet)

    def b_sees_again(call: Call) -> Fault | None:
        # between a's decision and its transaction
        if _flips(call):
            b.source.down = False
            b.cycle()
            b.source.down = True
        return None

    a.fail_store(b_sees_again)
    b.asleep = False
    fleet.replicas.remove(b)  # from here on b runs only when told to
    for _ in range(30):
        fleet.clock.advance(5)
        b.pulse()
        a.pulse()
        a.cycle()
    fleet.replicas.append(b)
    assert not fleet.tripped()


def test_a_quiet_canary_is_no_blindness() -> None:
    """Nobody asks anything at night: few requests, or none, are seen well enough."""

    def nothing(want: Want, cohort: Cohort, tick: float) -> Measurement:
        return Counts(0.0, 0.0)

    fleet = Fleet(nothing, rollout(rules=(ERRORS, REFUSALS), decide=Decide.THRESHOLD, trip_when_blind_after=300.0))
    fleet.replica("a")
    fleet.arm()
    fleet.run(40)
    assert fleet.pages() == []
    assert not fleet.tripped()
    assert "TOO_FEW_REQUESTS" in fleet.sentences()[0]


def test_a_canary_without_a_single_failure_is_not_blind() -> None:
    """Its counter is absent for good reason, and the policy for blindness would send everybody to the bad model."""

    def rate(_rollout: str, _rule: str, cohort: Cohort, tick: float) -> float:
        if cohort is Cohort.CANARY:
            return 0.0
        return 0.8 if START + 300 < tick <= START + 420 else 0.001

    traffic = Traffic(rate=rate, since=START)

    def script(want: Want, cohort: Cohort, tick: float) -> Measurement:
        found = traffic(want, cohort, tick)
        return replace(found, absent=True) if cohort is Cohort.CANARY and isinstance(found, Counts) else found

    fleet = Fleet(script, rollout(rules=(ERRORS,), trip_when_blind_after=600.0))
    fleet.replica("a")
    fleet.arm()
    fleet.run(60)
    assert fleet.pages() == []
    assert not fleet.tripped()


# --- dry run, notices, errors -------------------------------------------------------------------


def test_a_dry_run_says_would_trip_once_and_changes_nothing() -> None:
    """Evidence begins again after each alarm, so a regression that lasts is proven again and again and paged once."""
    fleet = fleet_of("a", "b", mode=Mode.DRY_RUN)
    armed, alarms = fleet.flag(), []
    for _ in range(60):
        fleet.run(1)
        alarms += [said for said in fleet.sentences()[:1] if "would trip (dry run): error_rate" in said]
    assert len(alarms) > 1
    assert len(fleet.pages(PageKind.WOULD_TRIP)) == 1
    assert fleet.flips() == []
    assert fleet.incidents() == []
    assert fleet.flag() == armed


def test_a_notice_is_sent_once_a_generation_and_again_in_the_next() -> None:
    never = Unreadable(Reason.NEVER_SEEN, "thumbs_total has not been seen in any cohort for 24 h")
    fleet = fleet_of("a", "b", script=GOOD)
    for one in fleet.replicas:
        one.source.spoil = lambda want, _tick: never if want.rule == THUMBS.name else None
    fleet.run(10)
    assert len(fleet.pages(PageKind.NEVER_SEEN)) == 1
    fleet.person.trip(_by_hand())
    fleet.run(2)
    fleet.rearm()
    fleet.run(10)
    assert len(fleet.pages(PageKind.NEVER_SEEN)) == 2


def test_an_exception_in_one_rule_lets_the_others_trip(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An exception in one rule makes that rule UNKNOWN. The other rules still trip."""
    honest = compare

    def broken(rule: Rule, reading: Reading, beside: Reading | None = None) -> Comparison:
        if rule.name == THUMBS.name:
            raise ZeroDivisionError("a bug")
        return honest(rule, reading, beside)

    monkeypatch.setattr(evaluator, "compare", broken)
    fleet = fleet_of("a")
    fleet.run(40)
    assert_one_trip(fleet)
    finding = next(f for f in fleet.incidents()[0]["findings"] if f["rule"] == THUMBS.name)
    assert (finding["verdict"], finding["reason"]) == ("UNKNOWN", "INTERNAL_ERROR")
    assert len(fleet.pages(PageKind.INTERNAL_ERROR)) == 1


def test_a_source_that_raises_is_no_data_and_the_loop_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = fleet_of("a", script=GOOD)
    fleet.run(5)

    def bug(*_: object) -> object:
        raise RuntimeError("adapter")

    monkeypatch.setattr(type(fleet.replicas[0].source), "read", bug)
    fleet.run(5)
    assert not fleet.tripped()
    assert "INTERNAL_ERROR" in fleet.sentences()[0]


# --- clocks and ticks ---------------------------------------------------------------------------


def test_missed_ticks_are_counted_and_read_back() -> None:
    fleet = fleet_of("a")
    a = fleet.replicas[0]
    fleet.run(10)
    a.asleep = True
    fleet.run(7)
    a.asleep = False
    assert a.sample("killswitch_missed_ticks_total") == 0
    fleet.run(1)
    assert a.sample("killswitch_missed_ticks_total") == 6.0
    view = a.controller._evaluator.accumulator.view("copilot", ERRORS.name)
    assert view is not None
    assert view.updated_at == a.controller.latest.tick  # type: ignore[union-attr]  # it ran


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_a_jump_of_the_wall_clock_changes_no_verdict_and_no_trip(jump: float) -> None:
    calm, jumped = fleet_of("a"), fleet_of("a")
    calm.run(15)
    jumped.run(15)
    jumped.clock.jump_wall(jump)
    took = calm.run(40, until=calm.tripped), jumped.run(40, until=jumped.tripped)
    assert took[0] == took[1]
    assert calm.flips()[0].trip == jumped.flips()[0].trip


@pytest.mark.parametrize("ahead", [-3600.0, 3600.0])
def test_arming_with_a_clock_an_hour_off_is_watched_at_once(ahead: float) -> None:
    """If a person's clock is an hour off, the rollout that they arm is watched at once."""
    fleet = Fleet(BAD, rollout())
    fleet.replica("a")
    fleet.clock.jump_wall(ahead)
    fleet.arm()
    fleet.clock.jump_wall(-ahead)
    fleet.run(3)
    assert "rules healthy" in fleet.sentences()[0]
    fleet.run(60, until=fleet.tripped)
    assert_one_trip(fleet)
    trip = fleet.flips()[0].trip
    assert trip is not None
    assert ONSET < trip.at <= ONSET + 300


@pytest.mark.parametrize("behind", [0.0, 3600.0])
def test_a_re_armed_rollout_is_not_tripped_by_its_old_data(behind: float) -> None:
    """Not even where the person's clock runs an hour behind: routers took a while to follow the trip."""

    def rate(name: str, rule: str, cohort: Cohort, tick: float) -> float:
        bad = rule == ERRORS.name and cohort is Cohort.CANARY and ONSET < tick <= ONSET + 600
        return 0.9 if bad else HEALTHY_RATES.get(rule, 1.0)

    fleet = fleet_of("a", script=Traffic(rate=rate, since=START))
    fleet.run(60, until=fleet.tripped)
    fleet.run(25)
    fleet.clock.jump_wall(-behind)
    fleet.rearm()
    fleet.clock.jump_wall(behind)
    fleet.run(40)
    flag = fleet.flag()
    assert flag is not None
    assert (flag.generation, flag.state) == (2, State.ARMED)


def _nothing_from_the_future(fleet: Fleet) -> None:
    for one in fleet.replicas:
        one.source.spoil = lambda _want, tick: Unreadable(Reason.GAP, "to come") if tick > fleet.clock.wall() else None


@pytest.mark.parametrize("step", [-3600.0, -40.0, 40.0, 600.0, 3600.0, 30 * 86_400.0])
def test_one_wrong_answer_of_the_sources_clock_costs_nothing(step: float) -> None:
    calm, stepped = (Fleet(BAD_LATE, rollout()) for _ in range(2))
    for fleet in (calm, stepped):
        fleet.replica("a")
        fleet.arm()
        _nothing_from_the_future(fleet)
        fleet.run(30)
    source = stepped.replicas[0].source
    source.offset += step
    stepped.run(1)
    source.offset -= step
    calm.run(1)
    assert calm.run(60, until=calm.tripped) == stepped.run(60, until=stepped.tripped)
    assert calm.flips()[0].updated_at == stepped.flips()[0].updated_at
    assert [page.kind for page in stepped.pages()] == [PageKind.TRIPPED]


@pytest.mark.parametrize("step", [600.0, 3600.0, 30 * 86_400.0])
def test_a_clock_step_taken_back_does_not_blind_for_as_long(step: float) -> None:
    """For ten minutes its clock is ahead; then it is set right, and what lay in the future is read anew."""
    fleet = Fleet(BAD_LATE, rollout())
    a = fleet.replica("a")
    fleet.arm()
    _nothing_from_the_future(fleet)
    a.source.offset += step
    fleet.run(10)
    a.source.offset -= step
    fleet.run(4)
    assert "BEHIND" not in fleet.sentences()[0]
    view = a.controller._evaluator.accumulator.view("copilot", ERRORS.name)
    assert view is not None
    assert fleet.clock.wall() - 2 * INTERVAL <= view.until <= fleet.clock.wall()
    while fleet.clock.wall() < ONSET_LATE + 180:
        fleet.run(1)
    assert fleet.tripped()
    assert_one_trip(fleet)


class TwoClocks(ScriptedSource):
    """Two servers behind one name, asked by turns; the one that is ``ahead`` (seconds) answers first or second."""

    ahead = 40.0
    first = 1
    turns = 0

    def now(self, deadline: Deadline) -> float:
        TwoClocks.turns += 1
        return super().now(deadline) + (self.ahead if TwoClocks.turns % 2 == TwoClocks.first else 0.0)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("ahead", [40.0, 3600.0])
def test_two_clocks_behind_one_name_do_not_delay_a_trip(
    first: int, ahead: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two clocks behind one name are reported in words, and delay no trip."""
    for name, value in (("turns", 0), ("first", first), ("ahead", ahead)):
        monkeypatch.setattr(TwoClocks, name, value)
    fleet = Fleet(BAD_LATE, rollout())
    a = fleet.replica("a")
    fleet.arm()
    a.controller._source = TwoClocks(fleet.clock, fleet.script)
    said: list[str | None] = []
    while fleet.clock.wall() < ONSET_LATE + 180:
        fleet.run(1)
        said.append(a.controller.latest.source_problem if a.controller.latest is not None else None)
    assert any("ahead of what it has said so far" in problem for problem in said if problem is not None)
    assert_one_trip(fleet)
    assert [page.kind for page in fleet.pages()] == [PageKind.TRIPPED]


def test_a_tick_is_judged_once_even_if_the_source_clock_jitters() -> None:
    fleet = fleet_of("a", script=GOOD)
    a = fleet.replicas[0]
    ticks: list[float] = []
    for jitter in itertools.cycle([0.0, -0.4, 0.4]):
        a.source.offset += jitter
        fleet.clock.advance(7)
        report = a.cycle()
        if report is not None:
            ticks.append(report.tick)
        if len(ticks) == 30:
            break
    assert ticks == sorted(set(ticks))


# --- starting, evidence, memory -----------------------------------------------------------------


def test_without_history_a_replica_does_not_fall_back() -> None:
    """Window over its limit by luck, history unreadable: the bare comparison would trip, evidence must not."""

    def noisy(want: Want, cohort: Cohort, tick: float) -> Measurement:
        return Counts(3.0 if cohort is Cohort.CANARY else 10.0, 100.0 if cohort is Cohort.CANARY else 1000.0)

    fleet = Fleet(noisy, rollout(rules=(ERRORS,)))
    a = fleet.replica("a")
    a.source.fails = lambda call: call == "read_back"
    fleet.arm()
    fleet.run(10)
    assert not fleet.tripped()
    assert "SOURCE_DOWN" in fleet.sentences()[0]


def test_no_window_is_asked_for_if_evidence_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where evidence decides, only its steps are asked for, and no window."""
    fleet = fleet_of("a", script=GOOD)
    asked: list[Want] = []
    read = ScriptedSource.read

    def noted(source: ScriptedSource, wants: Sequence[Want], tick: float, deadline: Deadline) -> Readings:
        asked.extend(wants)
        return read(source, wants, tick, deadline)

    monkeypatch.setattr(ScriptedSource, "read", noted)
    fleet.run(14)
    assert asked
    assert {want.part for want in asked} == {"step"}
    assert {want.seconds for want in asked} == {30.0}
    report = fleet.replicas[0].controller.latest
    assert report is not None
    (findings,) = (each.findings for each in report.reports.values())
    ten_steps = 10 * 75
    assert [round((finding.samples_canary or 0.0) / ten_steps, 1) for finding in findings] == [1.0] * len(findings)


def edited(fleet: Fleet, **changes: object) -> None:
    """Another version of the rule file, in force from the next cycle on."""
    rules = rollout(digest="sha256:2", **changes)  # type: ignore[arg-type]  # fields of Rollout
    fleet.rollouts = {"copilot": rules}
    for replica in fleet.replicas:
        replica.rules = Rules({"copilot": rules}, "digest-2")


@pytest.mark.parametrize("window", [60.0, 1800.0, 7200.0])
@pytest.mark.parametrize("before", [300.0, 7200.0])
def test_a_failing_canary_trips_on_any_window_it_is_changed_to(before: float, window: float) -> None:
    """A canary that fails is tripped, whatever its window is changed to meanwhile."""
    fleet = fleet_of("a", script=Traffic(rate=canary_from(START + 1500.0, error_rate=0.5), since=START), window=before)
    fleet.run(20)
    edited(fleet, window=window)
    fleet.run(40)
    assert_one_trip(fleet)


def test_a_changed_window_shows_its_own_steps() -> None:
    """A changed window shows its own steps in time. It stops at once to show longer ones."""
    fleet = fleet_of("a", script=GOOD)
    fleet.run(40)
    (a,) = fleet.replicas

    def samples() -> list[float]:
        assert a.controller.latest is not None
        (report,) = a.controller.latest.reports.values()
        return [round((finding.samples_canary or 0.0) / 75) for finding in report.findings]

    edited(fleet, window=1800.0)
    fleet.run(60)
    assert samples() == pytest.approx([60] * len(ALL_RULES), abs=3)
    edited(fleet, window=60.0, min_requests=5)
    fleet.run(1)
    assert samples() == pytest.approx([2] * len(ALL_RULES), abs=1)


def test_a_file_that_goes_from_evidence_to_threshold_is_obeyed() -> None:
    """A rule file that goes from evidence to the bare comparison is judged by the bare comparison."""
    fleet = fleet_of("a", script=Traffic(rate=canary_from(START + 900.0, error_rate=0.5), since=START))
    fleet.run(20)
    edited(fleet, decide=Decide.THRESHOLD)
    fleet.run(40)
    assert_one_trip(fleet)


def test_other_cohorts_begin_at_nothing() -> None:
    """What the wrong pods did is neither shown nor counted once the file names the right ones."""

    def foreign(want: Want, cohort: Cohort, tick: float) -> Measurement:
        wrong = any(matcher.value == "foreign" for matcher in want.cohorts[Cohort.CANARY])
        share = 0.3 if wrong and cohort is Cohort.CANARY else 0.005
        trials = 75.0 if cohort is Cohort.CANARY else 1425.0
        return Counts(share * trials, trials)

    wrong = {**COHORTS, Cohort.CANARY: (Matcher("pod", "=", "foreign"),)}
    wrong_rules = replace(rollout(rules=(ERRORS,), mode=Mode.DRY_RUN), cohorts=wrong)
    fleet = Fleet(foreign, wrong_rules)
    a = fleet.replica("a")
    fleet.arm()
    fleet.run(4)
    edited(fleet, rules=(ERRORS,), mode=Mode.DRY_RUN)
    fleet.run(2)
    assert a.controller.latest is not None
    (report,) = a.controller.latest.reports.values()
    assert [finding.canary for finding in report.findings] == [pytest.approx(0.005)]


def test_a_source_failure_at_opening_does_not_cost_the_warm_up() -> None:
    """A source that fails while a rollout is opened does not cost the rollout its warm-up."""
    fleet = fleet_of(script=GOOD)
    a = fleet.replica("a")
    a.source.fails = lambda call: call == "read_back"
    fleet.run(3)
    a.source.fails = lambda _: False
    fleet.run(3)
    view = a.controller._evaluator.accumulator.view("copilot", ERRORS.name)
    assert view is not None
    assert not view.warming_up


def test_a_rollout_of_free_queries_alone_asks_for_no_history() -> None:
    rule = Rule("depth", QuerySignal("a", "b"), Limits(max_ratio=2.0), Unit.NUMBER)
    fleet = Fleet(lambda _want, _cohort, _tick: Scalar(1.0), rollout(rules=(rule,)))
    a = fleet.replica("a")
    fleet.arm()
    fleet.run(5)
    assert [call for call in a.source.asked if call[0] == "read_back"] == []
    assert "1 of 1 rules healthy" in fleet.sentences()[0]


def test_lookback_of_a_threshold_rule_survives_a_restart() -> None:
    bad = replace(ERRORS, for_ticks=3)
    fleet = Fleet(BAD, rollout(rules=(bad,), decide=Decide.THRESHOLD, window=60.0))
    fleet.replica("a")
    fleet.arm()
    for _ in range(60):
        fleet.run(1)
        fleet.kill(fleet.replicas[0])
        fleet.replica("a")
        if fleet.tripped():
            break
    trip = fleet.flips()[0].trip
    assert trip is not None
    assert trip.at <= ONSET + 4 * INTERVAL


def test_rules_edited_in_mid_flight_judge_by_what_comes_after() -> None:
    """2 % of errors for half an hour under a limit of 5 %; then the limit becomes 1.5 %: no trip by the past."""
    steady = Traffic(
        rate=lambda _n, rule, cohort, _t: 0.02 if rule == ERRORS.name and cohort is Cohort.CANARY else 0.01, since=START
    )
    loose = replace(ERRORS, limits=replace(ERRORS.limits, maximum=0.05))
    tight = replace(ERRORS, limits=replace(ERRORS.limits, maximum=0.015))
    fleet = Fleet(steady, rollout(rules=(loose,)))
    a = fleet.replica("a")
    fleet.arm()
    fleet.run(60)
    a.rules = Rules({"copilot": rollout(rules=(tight,), digest="sha256:2")}, "digest-2")
    fleet.run(1)
    assert not fleet.tripped()
    view = a.controller._evaluator.accumulator.view("copilot", ERRORS.name)
    assert view is not None
    assert view.trials_canary <= 200  # a step or two, not the half hour before


@pytest.mark.slow
def test_virtual_cycles_leave_memory_flat() -> None:
    """1,000 cycles, ten thousand in `make soak`: under 20 bytes a cycle stay, where one float kept would be 32."""

    def constant(want: Want, cohort: Cohort, tick: float) -> Measurement:
        return Counts(10.0 + (tick // 30) % 3, 1000.0)

    fleet = Fleet(constant, rollout(rules=(ERRORS,)))
    a = fleet.replica("a")
    fleet.arm()

    def cycles(count: int) -> None:
        for _ in range(count):
            fleet.clock.advance(INTERVAL)
            a.controller.renew()
            a.cycle()
            a.store.calls.clear()
            a.source.asked.clear()
            fleet.server.history.clear()

    count = 10_000 if THOROUGH else 1_000
    cycles(300)
    tracemalloc.start()  # and not stopped between: what was kept before a start is not counted after it
    cycles(500)  # caches of hours and windows are full after them
    before = tracemalloc.get_traced_memory()[0]
    cycles(count)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < 20 * count
    assert a.sample("killswitch_cycles_total") >= count + 800


def test_the_heartbeat_names_what_was_judged_and_how_late() -> None:
    fleet = fleet_of("a", script=GOOD)
    fleet.run(3)
    blind(fleet)
    fleet.run(1)
    document = json.loads(fleet.server.value(keys.controller("a")) or b"")
    assert document["judged"] == ["copilot"]
    assert document["last_good"] == {"copilot": document["last_good"]["copilot"]}
    assert document["rules_digest"] == "digest-1"


def test_closing_gives_the_session_and_the_heartbeat_back() -> None:
    fleet = fleet_of("a", script=GOOD)
    fleet.run(3)
    fleet.replicas[0].controller.close()
    assert fleet.server.value(keys.controller("a")) is None
    assert fleet.server.value(keys.claim("sessions/a")) is None


def test_what_is_asked_follows_rules_flag_and_arming(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked follows rules, flag and arming. If none of them changes, it is the same object."""
    fleet = fleet_of("a", script=GOOD, decide=Decide.THRESHOLD, mode=Mode.DRY_RUN)
    (a,) = fleet.replicas
    asked: list[list[Want]] = []
    read = ScriptedSource.read

    def noted(source: ScriptedSource, wants: Sequence[Want], tick: float, deadline: Deadline) -> Readings:
        if wants[0].part == "window":
            asked.append(list(wants))
        return read(source, wants, tick, deadline)

    monkeypatch.setattr(ScriptedSource, "read", noted)
    fleet.run(14)
    assert [one is other for one, other in zip(asked[-1], asked[-2], strict=True)] == [True] * len(asked[-1])
    shorter = replace(fleet.rollouts["copilot"], window=60.0, digest="other")
    a.rules = Rules({"copilot": shorter}, "digest-2")
    fleet.run(1)
    assert {want.seconds for want in asked[-1]} == {60.0}
    a.rules = Rules({"copilot": replace(shorter, rules=(ERRORS,))}, "digest-3")
    fleet.run(1)
    assert {want.rule for want in asked[-1]} == {ERRORS.name}
    fleet.person.set_stage("copilot", percent=25.0, stage="aa")
    fleet.run(1)
    assert {want.part for want in asked[-1]} == {"window", "aa"}
    assert fleet.person.stored("copilot").flag is not None
    fleet.person.end("copilot")
    fleet.arm()
    fleet.run(2)
    assert {want.seconds for want in asked[-1]} == {30.0}
