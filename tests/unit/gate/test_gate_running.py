"""A run of the gate: who is asked what, when it stops, and what it says of rows that it could not ask."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from killswitch.errors import AccessDenied
from killswitch.gate.answer_cache import open_answer_cache
from killswitch.gate.answers import Answer
from killswitch.gate.observations import observed
from killswitch.gate.row_order import drawn_order
from killswitch.gate.run_budget import RunBudget
from killswitch.roles.gate_record import GateVerdict
from killswitch.spend.prices import PriceList
from tests.doubles.said_models import SaidModel, golden_rows, label_of, said
from tests.unit.gate.gate_runs import CANDIDATE, PROD, Trial


def wrong_on(model: str, every: int) -> SaidModel:
    return SaidModel(model, lambda number, _: said(model, "other" if number % every == 0 else label_of(number)))


def test_a_candidate_like_prod_passes_before_all_rows(tmp_path: Path) -> None:
    trial = Trial(golden_rows(1600), tmp_path)
    ended = trial.ended()
    assert ended.record.verdict is GateVerdict.PASS
    assert ended.record.asked_rows < 1600
    assert ended.record.asked_rows == trial.told.looks[-1][0]
    assert [one.row for one in ended.results] == list(drawn_order(trial.golden)[: ended.record.asked_rows])


def test_a_bad_candidate_fails_at_the_first_look(tmp_path: Path) -> None:
    candidate = wrong_on(CANDIDATE, 2)
    trial = Trial(golden_rows(400), tmp_path, candidate=candidate)
    ended = trial.ended()
    assert ended.record.verdict is GateVerdict.FAIL
    assert trial.told.looks == [(50, "FAIL")]
    assert sum(candidate.asked.values()) <= 50 + 2 * trial.concurrency


def test_each_row_is_asked_of_both_and_prod_again(tmp_path: Path) -> None:
    prod, candidate = SaidModel(PROD), SaidModel(CANDIDATE)
    ended = Trial(golden_rows(60), tmp_path, prod=prod, candidate=candidate).ended()
    assert ended.record.asked_rows == 60
    assert set(candidate.asked.values()) == {1}
    twice = {int(one.row.id[1:]) for one in ended.results if one.prod_again is not None}
    assert {number for number, times in prod.asked.items() if times == 2} == twice
    assert len(twice) >= 50


def test_the_calls_of_a_row_follow_each_other(tmp_path: Path) -> None:
    """With one worker, no other row is asked between the calls of a row, and the first model changes."""
    order: list[tuple[str, int]] = []

    def listing(model: str) -> SaidModel:
        def answer(number: int, _: int) -> Answer:
            order.append((model, number))
            return said(model, label_of(number))

        return SaidModel(model, answer)

    Trial(golden_rows(60), tmp_path, prod=listing(PROD), candidate=listing(CANDIDATE), concurrency=1).run()
    rows = [number for _, number in order]
    begins = [at for at in range(len(rows)) if at == 0 or rows[at] != rows[at - 1]]
    assert len(begins) == 60
    assert min(Counter(order[at][0] for at in begins).values()) >= 12


def test_a_slow_row_delays_a_look_and_is_not_left_out(tmp_path: Path) -> None:
    """The first row is answered only after the workers have nothing else to do."""
    golden = golden_rows(400)
    slow = int(drawn_order(golden)[0].id[1:])
    prod, asked_before = SaidModel(PROD), []

    def answer(number: int, _: int) -> Answer:
        if number == slow:
            idle = 50 + 4 - 1  # rows before the first look and those ahead of it, without the slow one
            while len(prod.asked) < idle:
                threading.Event().wait(0.01)
            asked_before.append(len(trial.told.looks))
        return said(CANDIDATE, "other" if number == slow else label_of(number))

    trial = Trial(golden, tmp_path, prod=prod, candidate=SaidModel(CANDIDATE, answer))
    ended = trial.ended()
    assert asked_before == [0]
    assert ended.results[0].row.id == f"r{slow}"
    assert not ended.results[0].agrees


def test_a_second_run_pays_nothing_twice(tmp_path: Path) -> None:
    """Stopped three times and run to its end, each call was made once but for those under way at a stop."""
    golden = golden_rows(200)
    prod, candidate = wrong_on(PROD, 40), wrong_on(CANDIDATE, 30)
    for stop_at in (20, 60, 90):
        run = Trial(golden, tmp_path, prod=prod, candidate=candidate, stop_at=stop_at).run()
        assert run.broken_off == "it was stopped"
    last = Trial(golden, tmp_path, prod=prod, candidate=candidate).run()
    assert last.broken_off is None
    assert last.kept >= 160
    assert set(candidate.asked.values()) == {1}
    assert set(prod.asked.values()) <= {1, 2}
    whole = Trial(golden, tmp_path / "other", prod=wrong_on(PROD, 40), candidate=wrong_on(CANDIDATE, 30)).run()
    assert last.results == whole.results


def test_a_run_of_kept_answers_alone_calls_no_one(tmp_path: Path) -> None:
    first = Trial(golden_rows(200), tmp_path).run()
    again = Trial(golden_rows(200), tmp_path).run()
    assert again.results == first.results
    assert again.asked == 0


def test_a_changed_prompt_asks_again(tmp_path: Path) -> None:
    trial = Trial(golden_rows(50), tmp_path)
    trial.run()
    changed = Trial(golden_rows(50), tmp_path, config=replace(trial.config, system="Sort them well."))
    assert changed.run().kept == 0
    bars = Trial(golden_rows(50), tmp_path, config=replace(trial.config, label="$.other"))
    assert bars.run().asked == 0


def test_a_refused_key_ends_the_run_at_once(tmp_path: Path) -> None:
    def refused(number: int, _: int) -> Answer:
        raise AccessDenied("the provider refuses the key; write a valid one into key_file")

    trial = Trial(golden_rows(200), tmp_path, candidate=SaidModel(CANDIDATE, refused))
    ended = trial.ended()
    assert ended.record.verdict is GateVerdict.UNKNOWN
    assert not ended.complete
    assert "refuses the key" in ended.record.why
    assert ended.outcome is None
    again = Trial(golden_rows(200), tmp_path).run()
    assert again.kept <= 2 * trial.concurrency
    assert all(one.candidate.answer.text is not None for one in again.results)


def test_a_bug_in_a_client_is_raised(tmp_path: Path) -> None:
    def broken(number: int, _: int) -> Answer:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Trial(golden_rows(200), tmp_path, candidate=SaidModel(CANDIDATE, broken)).run()


def test_a_run_without_money_ends_with_the_reason(tmp_path: Path) -> None:
    """The failed call that follows from it is no answer of the model."""
    trial = Trial(golden_rows(200), tmp_path)
    budget = RunBudget(PriceList([]), most=None, ledger=None, wall=lambda: 1.0, stopped=trial.over.is_set)

    def answer(number: int, _: int) -> Answer:
        if len(candidate.asked) > 30:
            budget.reserve(CANDIDATE, 1, 1)
            return said(CANDIDATE, None)
        return said(CANDIDATE, label_of(number))

    candidate = trial.candidate = SaidModel(CANDIDATE, answer)
    run = trial.run(budget)
    assert run.broken_off is not None
    assert "no price of 'model-new' is known" in run.broken_off
    assert all(one.candidate.answer.text is not None for one in run.results)
    again = Trial(golden_rows(200), tmp_path, candidate=SaidModel(CANDIDATE)).run()
    assert all(one.candidate.answer.text is not None for one in again.results)


def test_stop_before_any_row_says_nothing_of_numbers(tmp_path: Path) -> None:
    ended = Trial(golden_rows(200), tmp_path, stop_at=0).ended()
    assert ended.record.verdict is GateVerdict.UNKNOWN
    assert ended.record.why == "it was stopped" or ended.record.why.startswith("not finished: it was stopped; ")
    assert not ended.complete


def test_workers_go_one_row_each_beyond_a_look(tmp_path: Path) -> None:
    """While the first look waits for a row, the others wait too: an early end wastes at most a row a worker."""
    golden = golden_rows(400)
    first = int(drawn_order(golden)[0].id[1:])
    gate = threading.Event()
    most: list[int] = []

    def answer(number: int, _: int) -> Answer:
        if number == first:
            while len(candidate.asked) < 54:
                threading.Event().wait(0.01)
            threading.Event().wait(0.3)
            most.append(len(candidate.asked))
            gate.set()
        return said(CANDIDATE, label_of(number))

    candidate = SaidModel(CANDIDATE, answer)
    Trial(golden, tmp_path, candidate=candidate).run()
    assert gate.is_set()
    assert most == [54]


def test_one_row_is_a_golden_set(tmp_path: Path) -> None:
    assert Trial(golden_rows(1), tmp_path).ended().record.verdict is GateVerdict.TOO_FEW_ROWS


def test_which_rows_are_asked_twice_depends_on_no_race(tmp_path: Path) -> None:
    """Rows that may be taken before the look at 50 is judged never use what it saw, however late they are taken."""
    trial = Trial(golden_rows(400), tmp_path)
    results = trial.run().results
    again = {index: one.prod_again is not None for index, one in enumerate(results)}
    assert [again[index] for index in range(48, 62)] == [index < 54 or index % 5 == 0 for index in range(48, 62)]
    with open_answer_cache(tmp_path, "triage", wall=trial.clock.wall) as answers:
        running = Trial(golden_rows(400), tmp_path).opened(answers)
        running._judged = [(50, [observed(one) for one in results[:50]])]
        assert [running._is_twice(index) for index in range(51, 56)] == [True, True, True, False, True]
