"""What a stage has been watched: only judged ticks count, each once, and never more than has passed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.errors import BadDocument
from killswitch.model import Counts, Verdict
from killswitch.ramps.progress import RuleTick, RuleWatch, StageProgress, from_document, observed, to_document
from tests.unit.ramps.ramped import NOW, flag_in, stepped

HEALTHY = RuleTick(Verdict.HEALTHY, Counts(1.0, 50.0), Counts(10.0, 950.0), 1.3)
BLIND = RuleTick(Verdict.UNKNOWN)
FLAG = flag_in("ramp_5")


def after(*ticks: tuple[float, RuleTick], progress: StageProgress | None = None) -> StageProgress:
    for tick, rule in ticks:
        progress = observed(progress, FLAG, NOW + tick, 30.0, {"error_rate": rule})
    assert progress is not None
    return progress


def test_a_judged_tick_counts_with_its_requests() -> None:
    found = after((30, HEALTHY), (60, HEALTHY))
    assert found.watched == 60.0
    assert found.requests == (100.0, 1900.0)
    assert found.rules["error_rate"] == RuleWatch(60.0, 60.0, Counts(2.0, 100.0), Counts(20.0, 1900.0), 1.3)


def test_a_blind_tick_and_a_gap_count_for_nothing() -> None:
    assert after((30, HEALTHY), (60, BLIND), (90, HEALTHY)).watched == 60.0
    assert after((30, HEALTHY), (3600, HEALTHY)).watched == 60.0


def test_a_tick_counts_once() -> None:
    once = after((30, HEALTHY))
    assert after((30, HEALTHY), (15, HEALTHY), progress=once) == once


def test_the_first_tick_counts_from_the_stages_beginning() -> None:
    assert after((10, HEALTHY)).watched == 10.0
    assert after((-20, HEALTHY)).watched == 0.0


def test_ticks_closer_than_the_interval_are_counted_in_part() -> None:
    found = after((30, HEALTHY), (40, HEALTHY))
    assert found.watched == 40.0
    assert found.requests[0] == pytest.approx(50.0 * 4 / 3)


def test_it_knows_when_each_cohort_last_had_requests() -> None:
    idle = RuleTick(Verdict.HEALTHY, Counts(0.0, 0.0), Counts(9.0, 900.0))
    assert observed(None, FLAG, NOW + 30, 30.0, {}).served == (None, None)
    assert after((30, HEALTHY), (60, idle)).served == (NOW + 30, NOW + 60)
    assert after((30, HEALTHY), (60, BLIND)).served == (NOW + 30, NOW + 30)


def test_a_suspect_or_breaching_rule_is_known_but_not_healthy() -> None:
    found = after((30, RuleTick(Verdict.SUSPECT)), (60, RuleTick(Verdict.BREACH)))
    assert (found.rules["error_rate"].known, found.rules["error_rate"].healthy) == (60.0, 0.0)


def test_a_rule_that_is_unknown_while_another_is_judged_adds_nothing_known() -> None:
    found = observed(None, FLAG, NOW + 30, 30.0, {"error_rate": HEALTHY, "latency_p95": BLIND})
    assert found.watched == 30.0
    assert found.rules["latency_p95"].known == 0.0


def test_another_stage_percent_or_generation_begins_again() -> None:
    before = after((30, HEALTHY))
    for flag in (
        stepped(FLAG, "ramp_25", 25.0, NOW + 60),
        stepped(FLAG, "ramp_5", 7.0, NOW + 60),
        stepped(FLAG, "ramp_5", 5.0, NOW + 60),
        flag_in("ramp_5", generation=2, at=NOW + 60),
    ):
        again = observed(before, flag, NOW + 90, 30.0, {"error_rate": HEALTHY})
        assert (again.watched, again.is_of(flag)) == (30.0, True)


def test_a_replica_with_an_older_flag_changes_nothing() -> None:
    newer = observed(None, stepped(FLAG, "ramp_25", 25.0, NOW + 60), NOW + 90, 30.0, {"error_rate": HEALTHY})
    assert observed(newer, FLAG, NOW + 120, 30.0, {"error_rate": HEALTHY}) == newer


def test_a_shadow_without_rules_is_watched_and_users_are_not() -> None:
    shadow = flag_in("shadow")
    assert observed(None, shadow, NOW + 30, 30.0, {}).watched == 30.0
    assert observed(None, shadow, NOW + 30, 30.0, {"error_rate": BLIND}).watched == 0.0
    assert observed(None, FLAG, NOW + 30, 30.0, {}).watched == 0.0


def test_the_document_reads_back_as_it_was() -> None:
    found = after((30, HEALTHY), (60, HEALTHY))
    assert from_document(to_document(found), rollout="copilot") == found


SPOILED = [
    {"format": 2}, {"rollout": "other"}, {"watched_seconds": -1}, {"watched_seconds": 61}, {"rules": []},
    {"rules": {"a": 5}}, {"tick": "noon"}, {"generation": "1"}, {"percent": None}, {"watched_seconds": 1e400},
]  # fmt: skip


@pytest.mark.parametrize("change", SPOILED, ids=str)
def test_a_document_that_cannot_be_is_refused(change: dict[str, object]) -> None:
    """No one can write more watched time into it than has passed."""
    document = {**json.loads(to_document(after((30, HEALTHY), (60, HEALTHY)))), **change}
    with pytest.raises(BadDocument):
        from_document(json.dumps(document).encode(), rollout="copilot")


VERDICTS = st.sampled_from(list(Verdict))


@given(st.lists(st.tuples(st.floats(-7200, 7200), VERDICTS), max_size=60))
def test_whatever_the_clock_does_it_never_falls_nor_runs_ahead(ticks: list[tuple[float, Verdict]]) -> None:
    progress: StageProgress | None = None
    for number, (tick, verdict) in enumerate(ticks, 1):
        before = 0.0 if progress is None else progress.watched
        progress = observed(progress, FLAG, NOW + tick, 30.0, {"error_rate": RuleTick(verdict)})
        progress = from_document(to_document(progress), rollout="copilot")
        assert before <= progress.watched + 0.001
        assert progress.watched <= 30.0 * number + 0.001 * number
        assert progress.watched <= max(progress.tick - progress.began_at, 0.0) + 0.01
        watch = progress.rules.get("error_rate", RuleWatch())
        assert watch.healthy <= watch.known <= progress.watched + 0.01
