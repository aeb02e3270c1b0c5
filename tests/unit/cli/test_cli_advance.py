"""`killswitch advance` and time: what has changed by the answer, two who type at once, and a hold's life."""

from __future__ import annotations

import pytest

from killswitch.cli.by_hand import Hand
from killswitch.stores import keys
from tests.unit.cli.plans import DAY, changed_while_asked, documents, judging, watched_for
from tests.unit.cli.shell import Shell


@pytest.mark.parametrize("what", ["trip", "hold", "age", "tick"])
def test_the_gate_is_asked_again_after_the_question(planned: Shell, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """A person who answers after lunch goes on by the gate of now, not by the one that the question was about."""
    watched_for(planned, 2 * DAY)
    judging(monkeypatch)

    changed_while_asked(planned, monkeypatch, what)
    said = planned("advance", "copilot")
    assert said.exit_code == 2, said.output
    assert ("may not go on" in said.output) == (what != "tick")
    assert documents(planned, keys.advances("copilot", 1)) == []
    assert planned.json("status")["rollouts"][0]["stage"] == "ramp_1"


def test_two_who_type_advance_at_once_make_one_step(planned: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one types, and is done, while the first is being asked."""
    watched_for(planned, 2 * DAY)
    judging(monkeypatch)
    answers: list[int] = []

    def other(_hand: Hand, _question: str) -> None:
        monkeypatch.setattr(Hand, "confirm", lambda *_: None)
        answers.append(planned("advance", "copilot").exit_code)

    monkeypatch.setattr(Hand, "confirm", other)
    said = planned("advance", "copilot")
    assert (answers, said.exit_code) == ([0], 2)
    assert "changed by someone else just now" in said.output
    (record,) = documents(planned, keys.advances("copilot", 1))
    assert (record["from_stage"], record["to_stage"]) == ("ramp_1", "ramp_5")


def test_a_hold_outlives_a_rearm_which_says_so_and_no_end(planned: Shell) -> None:
    watched_for(planned, 2 * DAY)
    assert planned("hold", "copilot", "--reason", "the database moves", "--yes").exit_code == 0
    assert planned("trip", "copilot", "--reason", "r", "--yes").exit_code == 0
    said = planned("rearm", "copilot", "--reason", "fixed", "--yes")
    assert "someone holds its plan, and it stays held; `killswitch resume copilot` ends that" in said.stderr
    assert len(documents(planned, keys.HOLDS)) == 1
    assert planned("end", "copilot", "--yes").exit_code == 0
    assert documents(planned, keys.HOLDS) == []
