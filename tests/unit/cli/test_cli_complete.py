"""`killswitch complete`: a plan that is over, one that is not, what is missing, and what has changed by the answer."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest

from killswitch.controller import plan_steps
from killswitch.controller.plan_steps import Proof, TooOld, commit_completion
from killswitch.errors import Unavailable
from killswitch.flags.document import to_document
from killswitch.model import PageSettings
from killswitch.plan import Advance, Plan, PlanStage
from killswitch.ramps.gate import Gate
from killswitch.stores import Put, keys
from killswitch.trips.switch import Switch
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import Call, MemoryServer, MemoryStore
from tests.doubles.pages import AT, armed
from tests.unit.cli.plans import DAY, changed_while_asked, documents, judging, watched_for
from tests.unit.cli.shell import RULES, Shell

OVER = "rules: {error_rate: {max: 2%}}\nplan: {stages: [{stage: ramp_1, for: 24h}]}\n"
OLDEST = 60.0  # seconds


@pytest.fixture
def over(planned: Shell) -> Shell:
    """Its plan has one stage."""
    (planned.rules / "copilot.yaml").write_text(RULES + OVER)
    return planned


def test_a_rollout_whose_plan_is_over_is_completed(over: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    watched_for(over, 2 * DAY)
    judging(monkeypatch)
    said = over("complete", "copilot", "--reason", "csat is fine", "--yes")
    assert said.exit_code == 0, said.output
    assert "copilot: complete, everyone gets model-new" in said.output
    (flag,) = documents(over, keys.FLAGS)
    assert (flag["state"], flag["control"], flag["canary_percent"]) == ("complete", "model-new", 0.0)
    (record,) = documents(over, keys.advances("copilot", 1))
    assert (record["to_stage"], record["percent"], record["reason"]) == ("complete", 100.0, "csat is fine")
    assert {check["outcome"] for check in record["checks"]} == {"PASS"}
    (entry,) = documents(over, keys.OUTBOX)
    assert (entry["page"]["kind"], entry["page"]["why"]) == ("ROLLED_OUT", "csat is fine")
    shown = over("status").output
    assert "copilot  complete  everyone gets model-new" in shown
    assert "to send users back to model-old use `killswitch trip copilot" in " ".join(shown.split())


def test_a_plan_that_is_not_over_is_completed_only_with_a_reason(
    planned: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched_for(planned, 2 * DAY)
    judging(monkeypatch)
    refused = planned("complete", "copilot", "--yes")
    assert (refused.exit_code, "copilot is not over: every check of ramp_1 passes" in refused.output) == (2, True)
    assert planned("complete", "copilot", "--yes", "--despite", "\u200b").exit_code == 2
    assert documents(planned, keys.advances("copilot", 1)) == []
    taken = planned("complete", "copilot", "--yes", "--despite", "the old model is gone today")
    assert taken.exit_code == 0, taken.output
    (record,) = documents(planned, keys.advances("copilot", 1))
    assert (record["from_stage"], record["despite"]) == ("ramp_1", "the old model is gone today")
    assert "the old model is gone today" in json.dumps(documents(planned, keys.OUTBOX))


def test_without_proof_nothing_is_completed(over: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """No controller, a hold, time that is missing, a pin and a trip: each is refused with what to do."""
    watched_for(over, DAY / 2)
    assert "no controller answers" in over("complete", "copilot", "--yes").output
    judging(monkeypatch)
    assert "12h are missing" in over("complete", "copilot", "--yes").output
    over("hold", "copilot", "--reason", "wait", "--yes")
    assert "holds it: wait" in over("complete", "copilot", "--yes").output
    assert over("complete", "copilot", answer="n\n").exit_code == 2
    assert over("pin", "copilot", "--reason", "csat", "--yes").exit_code == 0
    assert "it is pinned at 0 %" in over("complete", "copilot", "--yes", "--despite", "x").output
    over("unpin", "copilot", "--reason", "r", "--yes")
    assert "it is tripped" in over("complete", "copilot", "--yes", "--despite", "x").output
    assert documents(over, keys.advances("copilot", 1)) == []


def test_a_complete_rollout_can_be_tripped_and_ended(over: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    watched_for(over, 2 * DAY)
    judging(monkeypatch)
    over("complete", "copilot", "--yes")
    asked = over("end", "copilot", answer="n\n").output
    assert "see first that no service names model-old" in " ".join(asked.split())
    for command in (("arm", "--stage", "ramp_1"), ("stage", "full"), ("rearm", "--reason", "r"), ("complete",)):
        said = over(command[0], "copilot", *command[1:], "--yes")
        assert (said.exit_code, "it is complete" in said.output) == (2, True)
    assert over("trip", "copilot", "--reason", "it lies", "--yes").exit_code == 0
    (flag,) = documents(over, keys.FLAGS)
    assert (flag["state"], flag["control"], flag["canary"]) == ("tripped", "model-old", "model-new")
    assert flag["trip"]["percent_before"] == 100.0
    assert over("explain", "copilot").exit_code == 0


@pytest.mark.parametrize("what", ["trip", "hold", "age", "tick"])
def test_it_is_looked_at_again_after_the_question(over: Shell, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """An hour after the question it is completed on the verdicts of then, or not at all."""
    watched_for(over, 2 * DAY)
    judging(monkeypatch)

    changed_while_asked(over, monkeypatch, what)
    said = over("complete", "copilot")
    assert said.exit_code == 2, said.output
    assert ("is not over" in said.output) == (what != "tick")
    assert documents(over, keys.advances("copilot", 1)) == []
    assert over.json("status")["rollouts"][0]["stage"] == "ramp_1"


def test_the_command_hands_on_how_old_its_verdicts_are(over: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only --despite completes a rollout without that."""
    watched_for(over, 2 * DAY)
    judging(monkeypatch, age=3.0)
    ages: list[float] = []
    sound = plan_steps._while_young

    def seen(store: Any, proof: Proof, rollout: str) -> Any:
        ages.append(proof.age())
        return sound(store, proof, rollout)

    monkeypatch.setattr(plan_steps, "_while_young", seen)
    assert over("complete", "copilot", "--yes").exit_code == 0
    assert len(ages) == 1
    assert ages[0] >= 3.0


@pytest.mark.parametrize("call", ["list", "grant", "commit"])
@pytest.mark.parametrize("slow_for", [20.0, 70.0])
def test_a_slow_store_completes_nothing_on_old_verdicts(call: str, slow_for: float) -> None:
    """The store has the completion within two intervals of the tick it rests on, or never."""
    server = MemoryServer(VirtualClock())
    store = MemoryStore(server, "a")
    flag = armed()
    store.commit((), (Put(keys.flag(flag.rollout), to_document(flag)),))
    stored = Switch(store, wall=lambda: AT, by="ann", origin="test").required(flag.rollout)
    began = server.clock.monotonic()

    def slow(one: Call) -> None:
        if one.name == call:
            server.clock.advance(slow_for)

    store.fault = slow
    commit = partial(
        commit_completion, store, stored, Plan(Advance.PROPOSED, (PlanStage(flag.stage, 5.0, 60.0),)),
        Gate(flag.generation, flag.stage, flag.stages[-1].at, ()), reason="it is well", by="ann", origin="test", now=AT,
        settings=PageSettings(), proof=Proof(lambda: server.clock.monotonic() - began, OLDEST),
    )  # fmt: skip
    if slow_for < OLDEST:
        assert commit() is not None
    else:
        with pytest.raises(Unavailable if call == "commit" else TooOld):
            commit()
    after = server.value(keys.flag(flag.rollout)) or b""
    assert json.loads(after)["state"] == ("complete" if slow_for < OLDEST else "armed")
