"""Every command by which users could get the candidate of a role: none without evidence."""

from __future__ import annotations

import json

import pytest

from killswitch.roles.gate_record import GateVerdict
from tests.unit.cli.plans import judging
from tests.unit.cli.role_shell import candidate, passed, percent, rests_on, waived, with_role
from tests.unit.cli.shell import Shell

SHADOW_FIRST = "plan: {stages: [{stage: shadow, for: 1h}, {stage: ramp_1, for: 24h}]}\n"


@pytest.fixture
def role(shell: Shell) -> Shell:
    return with_role(shell)


def test_a_rollout_is_armed_with_the_pinned_models(role: Shell) -> None:
    passed(role)
    done = role("arm", "copilot", "--stage", "ramp_1", "--yes")
    assert done.exit_code == 0, done.output
    assert "model-new instead of model-old" in done.output
    pair = rests_on(role)
    assert pair is not None
    assert (pair.control, pair.canary, pair.number) == ("model-old", "model-new", 2)
    assert str(pair.gate_run).endswith("-a1")


def test_a_waiver_arms_as_well_and_is_said(role: Shell) -> None:
    waived(role)
    done = role("arm", "copilot", "--stage", "ramp_1", "--yes")
    assert done.exit_code == 0, done.output
    assert "the gate's provider is down" in " ".join(done.output.split())
    pair = rests_on(role)
    assert pair is not None
    assert pair.waiver is not None


@pytest.mark.parametrize("share", [("--stage", "ramp_1"), ("--percent", "0.5"), ("--stage", "full")])
def test_no_go_no_ramp(role: Shell, share: tuple[str, str]) -> None:
    refused = role("arm", "copilot", *share, "--yes")
    assert refused.exit_code == 2
    assert "killswitch gate run support" in refused.output
    assert percent(role) is None


@pytest.mark.parametrize("verdict", [GateVerdict.FAIL, GateVerdict.TOO_FEW_ROWS, GateVerdict.NEEDS_APPROVAL])
def test_a_run_that_did_not_pass_arms_nothing(role: Shell, verdict: GateVerdict) -> None:
    passed(role, verdict=verdict)
    assert role("arm", "copilot", "--stage", "ramp_1", "--yes").exit_code == 2
    assert percent(role) is None


def test_models_cannot_be_named_over_the_slots(role: Shell) -> None:
    refused = role("arm", "copilot", "--control", "a", "--canary", "b", "--stage", "ramp_1", "--yes")
    assert refused.exit_code == 2
    assert "role:support.candidate" in refused.output
    assert percent(role) is None


def test_stage_aa_and_shadow_need_no_gate(role: Shell) -> None:
    assert role("arm", "copilot", "--shadow", "5", "--yes").exit_code == 0
    assert role("stage", "copilot", "aa", "--percent", "5", "--yes").exit_code == 0
    assert percent(role) == 0.0


@pytest.mark.parametrize("rules", [True, False])
@pytest.mark.parametrize("first", [("--shadow", "5"), ("--stage", "aa", "--percent", "5")])
def test_stage_gives_users_nothing_without_evidence(role: Shell, first: tuple[str, ...], *, rules: bool) -> None:
    """Also on a machine that has no rule file of it."""
    assert role("arm", "copilot", *first, "--yes").exit_code == 0
    if not rules:
        (role.rules / "copilot.yaml").unlink()
    for share in (("ramp_1",), ("custom", "--percent", "0.01")):
        refused = role("stage", "copilot", *share, "--yes")
        assert refused.exit_code == 2, refused.output
        assert "gate run support" in refused.output
    assert percent(role) == 0.0
    passed(role)
    assert role("stage", "copilot", "ramp_1", "--yes").exit_code == 0
    assert percent(role) == 1.0


@pytest.mark.parametrize("rules", [True, False])
def test_a_rearm_needs_evidence_that_holds_now(role: Shell, *, rules: bool) -> None:
    passed(role)
    assert role("arm", "copilot", "--stage", "ramp_1", "--yes").exit_code == 0
    assert role("trip", "copilot", "--reason", "bad", "--yes").exit_code == 0
    passed(role, verdict=GateVerdict.FAIL, age=0.0, run="b2")
    if not rules:
        (role.rules / "copilot.yaml").unlink()
    refused = role("rearm", "copilot", "--reason", "fixed", "--stage", "ramp_1", "--yes")
    assert refused.exit_code == 2, refused.output
    assert percent(role) == 0.0
    waived(role)
    assert role("rearm", "copilot", "--reason", "fixed", "--stage", "ramp_1", "--yes").exit_code == 0


def test_another_candidate_ends_what_an_arming_rests_on(role: Shell) -> None:
    passed(role)
    assert role("arm", "copilot", "--stage", "ramp_1", "--yes").exit_code == 0
    candidate(role, "model-newer")
    refused = role("stage", "copilot", "ramp_5", "--yes")
    assert refused.exit_code == 2
    assert "has changed since: prod model-old, candidate model-newer" in " ".join(refused.output.split())
    assert role("stage", "copilot", "shadow", "--yes").exit_code == 0  # lowering asks for nothing


@pytest.mark.parametrize("despite", [(), ("--despite", "we must")])
def test_advance_gives_users_nothing_without_evidence(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, despite: tuple[str, ...]
) -> None:
    role = with_role(shell, plan=SHADOW_FIRST)
    judging(monkeypatch, stage="shadow")
    assert role("arm", "copilot", "--shadow", "5", "--yes").exit_code == 0
    refused = role("advance", "copilot", *despite, "--yes")
    assert refused.exit_code == 2, refused.output
    assert "gate run support" in refused.output or not despite
    assert percent(role) == 0.0


def test_the_gate_of_a_plan_waits_for_the_promotion_gate(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    role = with_role(shell, plan=SHADOW_FIRST)
    judging(monkeypatch, stage="shadow")
    assert role("arm", "copilot", "--shadow", "5", "--yes").exit_code == 0

    def check() -> tuple[str, str]:
        shown = role("ready", "copilot", "--json")
        checks = {one["check"]: one for one in json.loads(shown.stdout)["checks"]}
        return checks["promotion gate"]["outcome"], checks["promotion gate"]["sentence"]

    outcome, said = check()
    assert outcome == "NOT_YET"
    assert "killswitch gate run support" in said
    passed(role)
    assert check()[0] == "PASS"


@pytest.mark.parametrize("more", [(), ("--without-role", "we must")])
def test_completing_from_shadow_gives_no_one_the_candidate(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    role = with_role(shell, plan=SHADOW_FIRST)
    judging(monkeypatch, stage="shadow")
    assert role("arm", "copilot", "--shadow", "5", "--yes").exit_code == 0
    refused = role("complete", "copilot", "--despite", "we must", *more, "--yes")
    assert refused.exit_code == 2, refused.output
    assert percent(role) == 0.0


def test_an_empty_slot_is_named(role: Shell) -> None:
    candidate(role, None)
    for rollout, slot in (("copilot", "candidate"), ("watch", "previous")):
        refused = role("arm", rollout, "--stage", "ramp_1", "--yes")
        assert refused.exit_code == 2
        assert f"role:support.{slot} is empty" in refused.output


@pytest.mark.parametrize("rules", [True, False])
@pytest.mark.parametrize("since", ["a failed run", "a rollback"])
def test_no_step_up_on_a_run_that_is_used_up(role: Shell, since: str, *, rules: bool) -> None:
    passed(role)
    assert role("arm", "copilot", "--stage", "ramp_1", "--yes").exit_code == 0
    if since == "a failed run":
        passed(role, verdict=GateVerdict.FAIL, age=0.0, run="b2")
    else:
        assert role("role", "promote", "support", "--reason", "now", "--yes").exit_code == 0
        assert role("role", "rollback", "support", "--reason", "bad", "--yes").exit_code == 0
        candidate(role, "model-new")
    if not rules:
        (role.rules / "copilot.yaml").unlink()
    refused = role("stage", "copilot", "ramp_5", "--yes")
    assert refused.exit_code == 2, refused.output
    assert percent(role) == 1.0
    assert role("stage", "copilot", "shadow", "--yes").exit_code == 0  # lowering asks for nothing
