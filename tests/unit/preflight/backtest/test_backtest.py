"""Back-tests say what the daemon would have done, and say so when they cannot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.histories import MONDAY, Behaviour, History, openmetrics
from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, Unavailable
from killswitch.flags import flag as flags
from killswitch.model import Decide, Mode, Readings, Reason, Rollout, Unreadable, Want
from killswitch.preflight.backtest.backtest import backtest, bare_comparison
from killswitch.preflight.backtest.results import RolloutHistory, Terms
from killswitch.rules.loading import load_text
from killswitch.sources import Source
from killswitch.sources.recording import Recording
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.catch_up import catch_up
from killswitch.verdicts.decide import DecisionKind, decide
from killswitch.verdicts.evaluator import Evaluator, answer_all

pytestmark = pytest.mark.simulation

HOUR = 3600.0
RULES = b"""\
rollout: copilot
control: model-old
canary: model-new
rules:
  error_rate: {max: 2%}
  latency_p95: {max_ratio: 1.5}
  refusal_rate: {max_increase: 5pp}
  thumbs_down_rate: {max_ratio: 2.0}
"""
REFUSING = History(seconds=2.5 * HOUR, onset=1.5 * HOUR, canary=Behaviour(refusals=0.2), rate=30, scrape_interval=30)


@pytest.fixture
def rollout() -> Rollout:
    return load_text(RULES).rollouts[0]


def _recording(folder: Path, *histories: History) -> Recording:
    path = folder / "history.om"
    path.write_text(openmetrics(*histories))
    return Recording(path, scrape_interval=histories[0].scrape_interval)


def _terms(source: Recording, history: History, **more: Any) -> Terms:
    terms = Terms(*source.span, step=history.scrape_interval * math.ceil(30 / history.scrape_interval))
    return replace(terms, **more)


def _run(folder: Path, rollout: Rollout, history: History, **more: float) -> RolloutHistory:
    source = _recording(folder, history)
    return backtest(source, [rollout], _terms(source, history, **more))[0]


def _as_the_daemon(source: Source, rollout: Rollout, terms: Terms, armed_at: float) -> float | None:
    """The first tick at which a daemon that never stopped would trip."""
    evaluator = Evaluator(interval=terms.interval, step=terms.step)
    flag = flags.arm(
        None, rollout=rollout.name, control="a", canary="b", percent=5, stage="ramp_5", now=armed_at, by="test"
    )
    armed = ArmedRollout(rollout, flag, armed_at)
    for number in range(math.ceil(armed_at / terms.interval), int(terms.until // terms.interval) + 1):
        tick = number * terms.interval
        catch_up(source, evaluator.accumulator, [armed], tick, Deadline(60))
        wants = evaluator.wants([armed], tick)
        readings = source.read(wants, tick, Deadline(60)) if wants else {}
        if decide(evaluator.judge([armed], tick, readings)[rollout.name], flag, rollout).action is DecisionKind.TRIP:
            return tick
    return None


@pytest.mark.slow
@pytest.mark.parametrize("interval", [15.0, 20.0, 60.0])
def test_it_trips_at_the_same_tick_as_the_daemon(tmp_path: Path, rollout: Rollout, interval: float) -> None:
    """A back-test trips at the very tick at which the daemon would."""
    history = replace(REFUSING, seconds=2 * HOUR, onset=HOUR, scrape_interval=interval, rate=20)
    source = _recording(tmp_path, history)
    terms = _terms(source, history)
    found = backtest(source, [rollout], terms)[0]
    assert found.armed_at is not None
    assert [trip.at for trip in found.trips] == [_as_the_daemon(source, rollout, terms, found.armed_at)]


def test_where_blocks_end_changes_nothing(tmp_path: Path, rollout: Rollout, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _run(tmp_path, rollout, REFUSING)
    monkeypatch.setattr("killswitch.preflight.backtest.reading.BLOCK_SECONDS", 120 * 30.0 + 30.0)
    monkeypatch.setattr("killswitch.preflight.backtest.reading._FEWEST_TICKS", 7)
    monkeypatch.setattr("killswitch.preflight.backtest.reading._MOST_READINGS", 7 * 8)
    pieces = _run(tmp_path, rollout, REFUSING)
    assert [(t.rule, t.at, t.sentence) for t in pieces.trips] == [(t.rule, t.at, t.sentence) for t in whole.trips]
    assert [rule.peak for rule in pieces.rules] == pytest.approx([rule.peak for rule in whole.rules], rel=1e-4)


def test_a_bad_canary_trips_soon_by_its_rule(tmp_path: Path, rollout: Rollout) -> None:
    """It trips soon after its onset, by the rule that it breaks, and the sentence says why."""
    (trip,) = _run(tmp_path, rollout, REFUSING).trips
    assert trip.rule == "refusal_rate"
    assert 0 < trip.at - REFUSING.onset_at <= 600
    assert trip.sentence.startswith("refusal_rate ")
    assert "over control" in trip.sentence


def test_a_healthy_or_better_canary_is_left_alone(tmp_path: Path, rollout: Rollout) -> None:
    healthy = History(seconds=3 * HOUR, scrape_interval=30)
    better = replace(
        healthy, control=Behaviour(errors=0.1, refusals=0.1, thumbs_down=0.05, median=2.0), canary=Behaviour()
    )
    assert _run(tmp_path, rollout, healthy).trips == ()
    assert _run(tmp_path, rollout, better).trips == ()


def test_a_rollout_stops_at_its_first_trip_unless_re_armed(tmp_path: Path, rollout: Rollout) -> None:
    """A rollout stops at its first trip, and goes on only if it is to be re-armed."""
    once = _run(tmp_path, rollout, REFUSING)
    again = _run(tmp_path, rollout, REFUSING, rearm_after=900.0)
    assert len(once.trips) == 1
    assert [trip.generation for trip in again.trips] == list(range(1, len(again.trips) + 1))
    assert len(again.trips) >= 2
    for before, after in zip(again.trips, again.trips[1:], strict=False):
        assert after.at > before.at + 900.0


def test_what_tripped_one_generation_does_not_trip_the_next(tmp_path: Path, rollout: Rollout) -> None:
    mended = replace(REFUSING, retirement=REFUSING.onset + 900)
    found = _run(tmp_path, rollout, mended, rearm_after=1200.0)
    assert len(found.trips) == 1


def test_it_is_armed_when_both_cohorts_have_requests_or_when_told(tmp_path: Path, rollout: Rollout) -> None:
    history = replace(REFUSING, arrival=HOUR)
    assert _run(tmp_path, rollout, history).armed_at == pytest.approx(MONDAY + HOUR, abs=90)
    late = REFUSING.onset_at + 1200
    found = _run(tmp_path, rollout, history, armed_at=late)
    assert found.armed_at == late
    assert found.trips[0].at > late


def test_control_without_a_canary_is_said_and_is_not_health(tmp_path: Path, rollout: Rollout) -> None:
    found = _run(tmp_path, rollout, replace(REFUSING, arrival=1e9))
    assert found.armed_at is None
    assert found.problem is not None
    assert "both cohorts" in found.problem
    assert {why.partition(": ")[0] for why in found.why} == {rule.name for rule in rollout.rules}
    assert all("canary" in why for why in found.why)


def test_a_rule_without_a_metric_is_named_as_never_judged(tmp_path: Path, rollout: Rollout) -> None:
    source = _recording(tmp_path, replace(REFUSING, canary=Behaviour()))
    text = (tmp_path / "history.om").read_text().splitlines()
    (tmp_path / "history.om").write_text("\n".join([line for line in text if "latency" not in line]) + "\n")
    source = Recording(tmp_path / "history.om", scrape_interval=30)
    (found,) = backtest(source, [rollout], _terms(source, REFUSING))
    assert [rule.name for rule in found.never_judged] == ["latency_p95"]
    assert set(found.never_judged[0].unknown) == {Reason.NO_DATA.value}


def test_gaps_and_missed_scrapes_trip_nothing(tmp_path: Path, rollout: Rollout) -> None:
    """Gaps and missed scrapes are counted by reason, and trip nothing."""
    history = History(seconds=3 * HOUR, gaps=((HOUR, 1.5 * HOUR),), missed=0.03, restarts=(2 * HOUR,))
    found = _run(tmp_path, rollout, history)
    assert found.trips == ()
    unknown = found.rules[0].unknown
    assert unknown[Reason.GAP.value] > 0
    assert 40 < unknown[Reason.NO_DATA.value] + unknown[Reason.STALE.value] < 80
    assert found.rules[0].ticks + sum(unknown.values()) == found.ticks


def test_a_dry_run_shows_the_trip_it_would_make(tmp_path: Path, rollout: Rollout) -> None:
    assert len(_run(tmp_path, replace(rollout, mode=Mode.DRY_RUN), REFUSING).trips) == 1


def test_rollouts_replayed_together_trip_as_they_do_alone(tmp_path: Path, rollout: Rollout) -> None:
    bare = replace(rollout, name="bare", decide=Decide.THRESHOLD)
    source = _recording(tmp_path, REFUSING)
    terms = _terms(source, REFUSING)
    together = backtest(source, [rollout, bare], terms)
    alone = [backtest(source, [each], terms)[0] for each in (rollout, bare)]
    assert [one.trips for one in together] == [one.trips for one in alone]
    assert together[1].trips


def test_the_bare_rule_beside_it_counts_its_trips_on_noise(tmp_path: Path, rollout: Rollout) -> None:
    source = _recording(tmp_path, History(seconds=6 * HOUR, rate=10, scrape_interval=30))
    terms = Terms(*source.span)
    found = backtest(source, [rollout], terms)
    bare = {rule.name: rule for rule in bare_comparison(source, found, terms)["copilot"]}
    assert found[0].trips == ()
    assert bare["thumbs_down_rate"].episodes > 3
    first = bare["thumbs_down_rate"].first
    assert first is not None
    assert found[0].armed_at is not None
    assert first > found[0].armed_at


class _Failing:
    """A source that answers every question with one problem."""

    def __init__(self, reason: Reason) -> None:
        self._problem = Unreadable(reason, "it said no")

    def now(self, deadline: Deadline) -> float:
        raise Unavailable("down")

    def read(self, wants: Sequence[Want], tick: float, deadline: Deadline) -> Readings:
        return answer_all(wants, self._problem)

    def read_back(self, wants: Sequence[Want], ticks: Sequence[float], deadline: Deadline) -> Mapping[float, Readings]:
        return {tick: answer_all(wants, self._problem) for tick in ticks}

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("reason", "error"), [(Reason.SOURCE_DOWN, Unavailable), (Reason.SOURCE_REFUSED, AccessDenied)]
)
def test_a_source_that_fails_ends_the_back_test(rollout: Rollout, reason: Reason, error: type[Exception]) -> None:
    with pytest.raises(error, match="it said no"):
        backtest(_Failing(reason), [rollout], Terms(MONDAY, MONDAY + HOUR))


def test_progress_runs_from_nothing_to_all(tmp_path: Path, rollout: Rollout) -> None:
    source = _recording(tmp_path, REFUSING)
    told: list[float] = []
    backtest(source, [rollout, replace(rollout, name="other")], _terms(source, REFUSING), told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0


@pytest.mark.parametrize("interval", [15.0, 20.0, 60.0])
def test_a_control_of_hours_is_warm_from_the_first_step(tmp_path: Path, rollout: Rollout, interval: float) -> None:
    """An hour is 120 steps of 30 s, but 60 of 60 s: such rollouts began cold, and took three times as long."""
    history = History(seconds=3.2 * HOUR, arrival=3 * HOUR, scrape_interval=interval, rate=20)
    source = _recording(tmp_path, history)
    terms = _terms(source, history)
    armed_at = math.ceil((MONDAY + 3 * HOUR) / terms.step) * terms.step + 2 * terms.step
    flag = flags.arm(
        None, rollout="copilot", control="a", canary="b", percent=5, stage="ramp_5", now=armed_at, by="test"
    )
    evaluator = Evaluator(interval=30.0, step=terms.step)
    armed = ArmedRollout(rollout, flag, armed_at)
    catch_up(source, evaluator.accumulator, [armed], armed_at + terms.step, Deadline(60))
    for rule in rollout.rules:
        view = evaluator.accumulator.view("copilot", rule.name)
        assert view is not None
        assert not view.warming_up, rule.name


def test_a_ramp_is_found_and_late_feedback_left_out(tmp_path: Path, rollout: Rollout) -> None:
    """Without it, what the users of 50 % said late was held against the few of 5 %."""
    ramp = ((1.5 * HOUR, 50.0), (2 * HOUR, 5.0))
    history = History(seconds=2.5 * HOUR, percent=5, ramp=ramp, arrival=HOUR, scrape_interval=30)
    found = _run(tmp_path, rollout, history)
    assert [stage.percent for stage in found.stages] == pytest.approx([5, 50, 5], rel=0.1)
    for (began, _), stage in zip(ramp, found.stages[1:], strict=True):
        assert stage.at == pytest.approx(MONDAY + began, abs=100)
    rules = {rule.name: rule for rule in found.rules}
    assert rules["thumbs_down_rate"].unknown[Reason.DRAINING.value] == pytest.approx(30, abs=1)
    assert rules["error_rate"].ticks > rules["thumbs_down_rate"].ticks


def test_a_ramp_is_read_off_the_same_wherever_blocks_end(
    tmp_path: Path, rollout: Rollout, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History(seconds=4 * HOUR, percent=1, ramp=((2.2 * HOUR, 25.0), (3 * HOUR, 5.0)), scrape_interval=30)
    whole = _run(tmp_path, rollout, history)
    monkeypatch.setattr("killswitch.preflight.backtest.reading.BLOCK_SECONDS", 97 * 30.0)
    monkeypatch.setattr("killswitch.preflight.backtest.reading._FEWEST_TICKS", 97)
    pieces = _run(tmp_path, rollout, history)
    assert [stage.at for stage in pieces.stages] == pytest.approx([stage.at for stage in whole.stages], abs=61)
    assert [stage.percent for stage in pieces.stages] == pytest.approx([1, 25, 5], rel=0.1)


def test_a_percent_that_was_given_has_no_ramp(tmp_path: Path, rollout: Rollout) -> None:
    history = History(seconds=1.5 * HOUR, percent=5, ramp=((HOUR, 50.0),), scrape_interval=30)
    found = _run(tmp_path, rollout, history, percent=5.0)
    assert [stage.percent for stage in found.stages] == [5.0]


def test_a_canary_that_fails_at_once_is_judged_at_once(tmp_path: Path, rollout: Rollout) -> None:
    """Its first two scrapes are a step; arming only after that step cost 30 s of every early trip.

    One step alone is capped below what a trip needs, and the second is enough.
    """
    failing = Behaviour(errors=1.0)
    history = History(seconds=1.2 * HOUR, arrival=HOUR, onset=HOUR, canary=failing, scrape_interval=15)
    source = _recording(tmp_path, history)
    (found,) = backtest(source, [rollout], _terms(source, history, tracks=True))
    assert found.armed_at is not None
    (errors,) = [rule for rule in found.rules if rule.name == "error_rate"]
    assert errors.needed is not None
    evidence = {
        at: value for times, values in errors.track for at, value in zip(times.tolist(), values.tolist(), strict=True)
    }
    assert errors.needed / 20 < evidence[found.armed_at + 30.0] < errors.needed
    assert found.trips[0].at == found.armed_at + 60.0


def test_controls_unlabelled_hour_warms_a_replay_up(tmp_path: Path, rollout: Rollout) -> None:
    """Cohort labels often ship with the canary; the daemon then knows control by its model."""
    history = History(seconds=1.5 * HOUR, arrival=HOUR, onset=HOUR, canary=Behaviour(errors=0.1), scrape_interval=30)
    _recording(tmp_path, history)
    path = tmp_path / "history.om"
    labelled = path.read_text().splitlines()
    delays = []
    for model in ("model-old", "a-model-before"):
        lines = [_before_labels(line, MONDAY + HOUR, model) for line in labelled]
        path.write_text("\n".join(lines) + "\n")
        source = Recording(path, scrape_interval=30)
        (trip,) = backtest(source, [rollout], _terms(source, history))[0].trips
        delays.append(trip.at - history.onset_at)
    known, unknown = delays
    assert known <= 180
    assert unknown > known


def _before_labels(line: str, until: float, model: str) -> str:
    if line.startswith("#") or float(line.rsplit(" ", 1)[1]) > until:
        return line
    return line.replace('cohort="control",', "").replace('model="model-old"', f'model="{model}"')


def test_events_without_the_canarys_label_are_not_health(tmp_path: Path, rollout: Rollout) -> None:
    """Twenty events in one step were never due at 1.5 requests/s: a canary that refused 40 % was healthy for ever."""
    history = replace(REFUSING, canary=Behaviour(refusals=0.4))
    _recording(tmp_path, history)
    path = tmp_path / "history.om"
    lost = 'llm_refusals_total{model="model-new",cohort="canary"'
    lines = [line.replace(lost, lost.replace(',cohort="canary"', "")) for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n")
    source = Recording(path, scrape_interval=30)
    (found,) = backtest(source, [rollout], _terms(source, history))
    (rule,) = [each for each in found.rules if each.name == "refusal_rate"]
    assert rule.unknown[Reason.NEVER_SEEN.value] > 0
    assert "labels" in rule.example


def test_no_control_at_100_percent_is_named(tmp_path: Path, rollout: Rollout) -> None:
    history = History(seconds=1.5 * HOUR, percent=100, scrape_interval=30)
    found = _run(tmp_path, rollout, history)
    assert found.problem is not None
    assert "baseline" in found.problem
    assert all("control: no requests" in why for why in found.why)


def test_an_arming_after_the_histories_end_is_named(tmp_path: Path, rollout: Rollout) -> None:
    found = _run(tmp_path, rollout, REFUSING, armed_at=MONDAY + 1000 * HOUR)
    assert (found.armed_at, found.problem) == (None, "it was armed after the last tick")


@pytest.mark.parametrize("decide", list(Decide))
def test_a_rule_that_never_had_an_event_may_count_none(tmp_path: Path, rollout: Rollout, decide: Decide) -> None:
    """An instrumentation that times successes alone looks like a service without failures."""
    _recording(tmp_path, replace(REFUSING, canary=Behaviour()))
    path = tmp_path / "history.om"
    lines = [line for line in path.read_text().splitlines() if 'outcome="error"' not in line]
    path.write_text("\n".join(lines) + "\n")
    source = Recording(path, scrape_interval=30)
    (found,) = backtest(source, [replace(rollout, decide=decide)], _terms(source, REFUSING))
    (doubt,) = found.doubts
    assert doubt.startswith("error_rate: never an event in ")
    assert "does the service count" in doubt


def test_a_limit_beyond_the_buckets_is_no_warm_up(tmp_path: Path, rollout: Rollout) -> None:
    slow = Behaviour(median=5.0)
    found = _run(tmp_path, rollout, History(seconds=1.5 * HOUR, control=slow, canary=slow, scrape_interval=30))
    (rule,) = found.never_judged
    assert rule.name == "latency_p95"
    assert rule.unknown[Reason.SATURATED.value] > 100
    assert rule.unknown[Reason.WARMING_UP.value] <= 1  # the very first step, before anything of control was known


@pytest.mark.parametrize("decide", list(Decide))
def test_ticks_over_the_limit_and_not_proven_are_counted(tmp_path: Path, rollout: Rollout, decide: Decide) -> None:
    """A canary a little over its limit for an hour and a half is SUSPECT at hundreds of ticks, a good one at few."""
    rollout = replace(rollout, decide=decide)
    rollout = replace(rollout, rules=tuple(replace(rule, for_ticks=500) for rule in rollout.rules))
    history = History(seconds=2 * HOUR, onset=HOUR, canary=Behaviour(errors=0.023), rate=200, scrape_interval=30)
    errors = _run(tmp_path, rollout, history).rules[0]
    good = _run(tmp_path, rollout, replace(history, canary=Behaviour())).rules[0]
    assert (errors.name, good.name) == ("error_rate", "error_rate")
    assert good.suspect <= 3
    assert 40 <= errors.suspect <= errors.ticks
