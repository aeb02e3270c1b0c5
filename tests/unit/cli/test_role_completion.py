"""`killswitch complete` of a rollout of a role's prod and candidate: it promotes, or says loudly that it does not."""

from __future__ import annotations

import json
import time

import pytest

from killswitch.roles.gate_record import GateVerdict
from killswitch.roles.role import RoleChange
from killswitch.stores import Put, keys
from tests.unit.cli.plans import documents, judging, put
from tests.unit.cli.role_shell import ROLE, candidate, passed, percent, rests_on, the_role, waived, with_role
from tests.unit.cli.shell import Shell

DONE = ("complete", "copilot", "--despite", "csat is fine", "--yes")


@pytest.fixture
def ramped(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Armed at 1 % on a run of the gate that passed."""
    role = with_role(shell)
    passed(role)
    judging(monkeypatch)
    assert role("arm", "copilot", "--stage", "ramp_1", "--yes").exit_code == 0
    return role


def _kinds(shell: Shell) -> set[str]:
    return {entry["page"]["kind"] for entry in documents(shell, keys.OUTBOX)}


def test_completing_promotes_in_the_same_transaction(ramped: Shell) -> None:
    done = ramped(*DONE)
    assert done.exit_code == 0, done.output
    role = the_role(ramped)
    assert (role.prod, role.candidate, role.previous, role.change) == (
        "model-new",
        None,
        "model-old",
        RoleChange.PROMOTED,
    )
    assert "role support is promoted with it: prod is model-new" in " ".join(done.output.split())
    pages = {entry["page"]["kind"]: entry["page"]["why"] for entry in documents(ramped, keys.OUTBOX)}
    assert {"ROLLED_OUT", "PROMOTED"} <= pages.keys()
    assert "role support is promoted with it" in pages["ROLLED_OUT"]
    history = documents(ramped, keys.role_changes(ROLE))
    assert history[-1]["gate_run"] is not None


def test_completing_arms_the_watches_of_the_new_prod(ramped: Shell) -> None:
    assert ramped(*DONE).exit_code == 0
    flags = {flag["rollout"]: flag for flag in documents(ramped, keys.FLAGS)}
    watch, unseen = flags["watch"], flags["previous-unseen"]
    assert (watch["control"], watch["canary"], watch["canary_percent"]) == ("model-old", "model-new", 99.0)
    assert (unseen["control"], unseen["canary"], unseen["stage"]) == ("model-new", "model-old", "shadow")
    assert unseen["shadow_percent"] == 5.0
    pair = rests_on(ramped, "watch")
    assert pair is not None
    assert (pair.kind, pair.number) == ("WATCH", 3)


def test_another_candidate_keeps_it_from_completing(ramped: Shell) -> None:
    candidate(ramped, "model-newer")
    refused = ramped(*DONE)
    assert refused.exit_code == 2
    assert "the role has changed since: prod model-old, candidate model-newer" in " ".join(refused.output.split())
    assert (percent(ramped), the_role(ramped).prod) == (1.0, "model-old")


def test_a_person_completes_without_the_role_and_hears_it(ramped: Shell) -> None:
    candidate(ramped, "model-newer")
    done = ramped(*DONE, "--without-role", "another team owns it")
    assert done.exit_code == 0, done.output
    assert "role support is NOT promoted, because another team owns it" in " ".join(done.output.split())
    assert the_role(ramped).prod == "model-old"
    (page,) = [e["page"] for e in documents(ramped, keys.OUTBOX) if e["page"]["kind"] == "ROLLED_OUT"]
    assert "NOT promoted" in page["why"]
    assert "watch" not in {flag["rollout"] for flag in documents(ramped, keys.FLAGS)}


@pytest.mark.parametrize("key", [keys.role(ROLE), keys.gate_evidence("copilot", 1)])
def test_a_damaged_registry_does_not_hold_a_person(ramped: Shell, key: str) -> None:
    put(ramped, Put(key, b"damaged"))
    refused = ramped(*DONE)
    assert refused.exit_code == 2
    assert "--without-role" in refused.output
    assert ramped(*DONE, "--without-role", "the registry is damaged").exit_code == 0


def test_a_newer_failed_run_keeps_it_from_promoting(ramped: Shell) -> None:
    passed(ramped, verdict=GateVerdict.FAIL, age=0.0, run="b2")
    assert ramped(*DONE).exit_code == 2
    assert the_role(ramped).prod == "model-old"


def test_a_long_plan_rests_on_the_run_it_was_armed_with(ramped: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan of two weeks is longer than a run stays fresh for a promotion by hand."""
    record = documents(ramped, keys.gate_runs(ROLE))[0]
    old = {**record, "started_at": "2026-01-01T00:00:00Z", "ended_at": "2026-01-01T01:00:00Z"}
    put(ramped, Put(keys.gate_run(ROLE, record["run"]), json.dumps(old).encode()))
    assert ramped(*DONE).exit_code == 2  # it was old when this was armed
    armed = {**documents(ramped, keys.gate_evidences("copilot"))[0], "at": "2026-01-02T00:00:00Z"}
    put(ramped, Put(keys.gate_evidence("copilot", 1), json.dumps(armed).encode()))
    done = ramped(*DONE)
    assert done.exit_code == 0, done.output
    assert the_role(ramped).prod == "model-new"


def test_a_waiver_promotes_while_it_lasts(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    role = with_role(shell)
    waived(role)
    judging(monkeypatch)
    assert role("arm", "copilot", "--stage", "ramp_1", "--yes").exit_code == 0
    assert role(*DONE).exit_code == 0
    assert the_role(role).prod == "model-new"


def test_completing_a_watch_promotes_no_one(ramped: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ramped(*DONE).exit_code == 0
    (ramped.rules / "watch.yaml").write_text((ramped.rules / "watch.yaml").read_text() + "plan: default\n")
    judging(monkeypatch, rollout="watch", stage="full")
    before = the_role(ramped)
    done = ramped("complete", "watch", "--despite", "quiet hours", "--yes")
    assert done.exit_code == 0, done.output
    assert the_role(ramped) == before


@pytest.mark.parametrize("how", ["trip", "end"])
def test_a_trip_or_an_end_leaves_prod_as_it_is(ramped: Shell, how: str) -> None:
    more = ("--reason", "bad") if how == "trip" else ()
    assert ramped(how, "copilot", *more, "--yes").exit_code == 0
    assert (the_role(ramped).prod, the_role(ramped).candidate) == ("model-old", "model-new")


def test_a_watch_that_cannot_be_armed_is_said_loudly(ramped: Shell) -> None:
    (ramped.rules / "watch.yaml").unlink()
    done = ramped(*DONE)
    assert done.exit_code == 0
    assert the_role(ramped).prod == "model-new"
    said = " ".join(done.output.split())
    assert "watch is NOT armed" in said
    assert "killswitch role watch support" in said


def test_a_model_that_was_taken_back_is_not_promoted(ramped: Shell) -> None:
    """Prod, taken back, and candidate again: the run that it was armed with is used up."""
    _taken_back(ramped)
    refused = ramped(*DONE)
    assert refused.exit_code == 2, refused.output
    assert "was taken back" in " ".join(refused.output.split())
    assert the_role(ramped).prod == "model-old"


@pytest.mark.parametrize("hides", ["a lucky run", "a run of another candidate"])
def test_a_failed_run_is_not_hidden_by_a_later_one(ramped: Shell, hides: str) -> None:
    passed(ramped, verdict=GateVerdict.FAIL, age=60.0, run="b2")
    if hides == "a lucky run":
        passed(ramped, age=0.0, run="c3")
    else:
        candidate(ramped, "model-newer")
        passed(ramped, age=0.0, run="c3", candidate="model-newer")
        candidate(ramped, "model-new")
    refused = ramped(*DONE)
    assert refused.exit_code == 2, refused.output
    assert the_role(ramped).prod == "model-old"


@pytest.mark.parametrize("since", ["a failed run", "a rollback", "a waiver that has ended"])
def test_no_one_is_given_a_used_up_candidate_either(shell: Shell, monkeypatch: pytest.MonkeyPatch, since: str) -> None:
    """`--without-role` completes: it would give everyone what no step up gives anyone."""
    role = with_role(shell)
    if since == "a waiver that has ended":
        waived(role, seconds=2.0)
    else:
        passed(role)
    judging(monkeypatch)
    assert role("arm", "copilot", "--stage", "ramp_1", "--yes").exit_code == 0
    if since == "a failed run":
        passed(role, verdict=GateVerdict.FAIL, age=0.0, run="b2")
        candidate(role, "model-newer")  # that it is not the candidate any more changes nothing
    elif since == "a rollback":
        _taken_back(role)
    else:
        time.sleep(2.0)
    refused = role(*DONE, "--without-role", "another team owns it")
    assert refused.exit_code == 2, refused.output
    assert percent(role) == 1.0


def _taken_back(shell: Shell) -> None:
    """Promoted by hand, rolled back, and named as the candidate again."""
    assert shell("role", "promote", ROLE, "--reason", "now", "--yes").exit_code == 0
    assert shell("role", "rollback", ROLE, "--reason", "bad", "--yes").exit_code == 0
    candidate(shell, "model-new")
