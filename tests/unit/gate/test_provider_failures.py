"""Storms, outages and other models' names: what a run may not say because of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from killswitch.gate.answers import Answer
from killswitch.gate.call_failures import CallFailure
from killswitch.gate.outages import Outages
from killswitch.gate.provider_failures import FailedCalls
from killswitch.gate.row_order import drawn_order
from killswitch.roles.gate_record import GateVerdict
from tests.doubles.clock import VirtualClock
from tests.doubles.said_models import SaidModel, golden_rows, label_of, said
from tests.unit.gate.gate_runs import CANDIDATE, PROD, ROLE, Trial


def failing(model: str, every: int, shift: int = 0) -> SaidModel:
    """Fails each ``every``-th row, whenever it is asked."""
    return SaidModel(model, lambda number, _: said(model, None if (number + shift) % every == 0 else label_of(number)))


def test_failures_of_the_candidate_alone_are_its_fault(tmp_path: Path) -> None:
    ended = Trial(golden_rows(200), tmp_path, candidate=failing(CANDIDATE, 5)).ended()
    assert ended.record.verdict is GateVerdict.FAIL


def test_a_candidate_that_never_answers_is_not_known(tmp_path: Path) -> None:
    """A proxy that answers each call with a page of HTML says nothing of the model behind it."""
    trial = Trial(golden_rows(200), tmp_path, candidate=failing(CANDIDATE, 1))
    ended = trial.ended()
    assert ended.record.verdict is GateVerdict.UNKNOWN
    assert ended.storm
    assert "no call of the candidate has ended well" in ended.record.why
    once = SaidModel(CANDIDATE, lambda number, _: said(CANDIDATE, label_of(number) if number == first else None))
    first = int(drawn_order(golden_rows(200))[0].id[1:])
    assert Trial(golden_rows(200), tmp_path / "once", candidate=once).ended().record.verdict is GateVerdict.FAIL


def test_a_storm_that_hits_both_is_no_verdict(tmp_path: Path) -> None:
    trial = Trial(golden_rows(200), tmp_path, prod=failing(PROD, 4), candidate=failing(CANDIDATE, 4, shift=1))
    ended = trial.ended()
    assert ended.record.verdict is GateVerdict.UNKNOWN
    assert ended.storm
    assert "calls of prod failed, too" in ended.record.why


def test_a_candidate_far_worse_than_the_storm_fails(tmp_path: Path) -> None:
    """Prod fails 2 % of its calls and the candidate 50 %."""
    trial = Trial(golden_rows(200), tmp_path, prod=failing(PROD, 50), candidate=failing(CANDIDATE, 2, shift=1))
    assert trial.ended().record.verdict is GateVerdict.FAIL


def test_wrong_answers_in_a_storm_are_still_wrong(tmp_path: Path) -> None:
    """A storm excuses failed calls alone."""
    candidate = SaidModel(CANDIDATE, lambda number, _: said(CANDIDATE, "other" if number % 2 else label_of(number)))
    trial = Trial(golden_rows(200), tmp_path, prod=failing(PROD, 10), candidate=candidate)
    assert trial.ended().record.verdict is GateVerdict.FAIL


def test_prods_failed_calls_do_not_raise_its_floor(tmp_path: Path) -> None:
    """A candidate that disagrees on a tenth does not pass because prod's calls failed on a tenth."""

    def disagreeing(number: int, _: int) -> Answer:
        return said(CANDIDATE, "other" if number % 10 == 3 else label_of(number))

    trial = Trial(golden_rows(800), tmp_path, prod=failing(PROD, 12), candidate=SaidModel(CANDIDATE, disagreeing))
    ended = trial.ended()
    assert ended.record.verdict is not GateVerdict.PASS
    assert ended.outcome is not None
    assert ended.outcome.floor.disagreement == 0.0


def test_how_many_failures_a_storm_excuses() -> None:
    assert FailedCalls(prod=300, prod_failed=0, candidate=200, candidate_failed=50).excused == 0
    assert FailedCalls(prod=300, prod_failed=3, candidate=200, candidate_failed=50).excused == 6
    assert FailedCalls(prod=300, prod_failed=90, candidate=200, candidate_failed=60).excused == 82


def test_a_long_outage_ends_the_run_and_is_no_evidence(tmp_path: Path) -> None:
    """The candidate fails for over ten minutes after 20 rows; the rows that it failed are asked again later."""
    clock = VirtualClock()
    golden = golden_rows(400)

    def answer(number: int, _: int) -> Answer:
        if len(candidate.asked) <= 20:
            return said(CANDIDATE, label_of(number))
        clock.advance(45.0)
        return said(CANDIDATE, None)

    candidate = SaidModel(CANDIDATE, answer)
    ended = Trial(golden, tmp_path, candidate=candidate, clock=clock, patience=600.0, concurrency=1).ended()
    assert ended.record.verdict is GateVerdict.UNKNOWN
    assert "model-new has given no answer for 10m" in ended.record.why
    assert "--patience" in ended.record.why
    assert not ended.complete
    again = Trial(golden, tmp_path, clock=clock)
    run = again.run()
    assert run.kept >= 40
    assert all(one.candidate.answer.text is not None for one in run.results)


def test_a_model_that_is_not_asked_is_not_silent() -> None:
    clock = VirtualClock()
    outages = Outages(("a", "b"), 100.0, clock.monotonic)
    outages.asked("a")
    outages.answered("a", "row", failure=None)
    clock.advance(500.0)
    assert outages.over_patience() is None
    outages.asked("b")
    clock.advance(99.0)
    assert outages.over_patience() is None
    clock.advance(1.0)
    assert outages.over_patience() is not None
    outages.answered("b", "row", failure=None)
    assert outages.over_patience() is None


def test_failures_before_a_good_answer_are_evidence() -> None:
    clock = VirtualClock()
    outages = Outages(("a",), 100.0, clock.monotonic)
    for row, failure in (("1", "500"), ("2", None), ("3", "503")):
        outages.asked("a")
        outages.answered("a", row, failure=failure)
    clock.advance(100.0)
    assert "(503)" in str(outages.over_patience())
    assert outages.rows_lost() == {"3"}


def named(model: str, other: str, rows: set[int]) -> SaidModel:
    return SaidModel(model, lambda number, _: said(model, label_of(number), by=other if number in rows else None))


def test_another_models_answers_never_pass(tmp_path: Path) -> None:
    golden = golden_rows(400)
    early = {int(row.id[1:]) for row in drawn_order(golden)[:3]}
    for prod, candidate in (
        (SaidModel(PROD), named(CANDIDATE, "model-cheap", early)),
        (named(PROD, "model-cheap", early), SaidModel(CANDIDATE)),
    ):
        trial = Trial(golden, tmp_path / prod.model / str(id(prod)), prod=prod, candidate=candidate)
        ended = trial.ended()
        assert ended.record.verdict is GateVerdict.UNKNOWN
        assert "model-cheap" in ended.record.why
        assert "answers_as" in ended.record.why
        assert ended.complete


def test_a_name_that_the_role_allows_may_pass(tmp_path: Path) -> None:
    golden = golden_rows(400)
    config = replace(ROLE, answers_as={CANDIDATE: ("model-new-2026",)})
    trial = Trial(golden, tmp_path, candidate=named(CANDIDATE, "model-new-2026", set(range(400))), config=config)
    assert trial.ended().record.verdict is GateVerdict.PASS


def test_another_models_failures_stay_failures(tmp_path: Path) -> None:
    candidate = SaidModel(CANDIDATE, lambda number, _: said(CANDIDATE, "other", by="model-cheap"))
    assert Trial(golden_rows(200), tmp_path, candidate=candidate).ended().record.verdict is GateVerdict.FAIL


def test_a_rate_limit_is_no_mismatch(tmp_path: Path) -> None:
    """Every third row is refused twice; both times it waits, and its answer counts in the end, with all attempts."""
    waits: list[float] = []

    def pause(seconds: float) -> bool:
        waits.append(seconds)
        return False

    def answer(number: int, times: int) -> Answer:
        if number % 3 == 0 and times < 2:
            return replace(said(CANDIDATE, None, cost=0), kind=CallFailure.RATE_LIMITED)
        return said(CANDIDATE, label_of(number))

    trial = Trial(golden_rows(60), tmp_path, candidate=SaidModel(CANDIDATE, answer), pause=pause)
    ended = trial.ended()
    assert ended.record.asked_rows == 60
    assert all(one.candidate.answer.text is not None for one in ended.results)
    assert waits == [5.0, 10.0] * 20 or sorted(waits) == [5.0] * 20 + [10.0] * 20
    assert {one.candidate.answer.attempts for one in ended.results} == {1, 9}


def test_a_rate_limit_for_ever_ends_without_a_verdict(tmp_path: Path) -> None:
    """The run gives up once its patience is over. What was answered before stays kept, and no failure is."""
    clock = VirtualClock()

    def pause(seconds: float) -> bool:
        clock.advance(seconds)
        return trial.over.wait(0.02)

    def answer(number: int, _: int) -> Answer:
        if len(candidate.asked) <= 20:
            return said(CANDIDATE, label_of(number))
        return replace(said(CANDIDATE, None, cost=0), kind=CallFailure.RATE_LIMITED, failure="429, try later")

    candidate = SaidModel(CANDIDATE, answer)
    trial = Trial(golden_rows(400), tmp_path, candidate=candidate, clock=clock, pause=pause)
    ended = trial.ended()
    assert ended.record.verdict is GateVerdict.UNKNOWN
    assert "model-new has given no answer for" in ended.record.why
    assert "429, try later" in ended.record.why
    assert not ended.complete
    again = Trial(golden_rows(400), tmp_path, clock=clock)
    run = again.run()
    assert run.kept >= 40
    assert all(one.candidate.answer.text is not None for one in run.results)
