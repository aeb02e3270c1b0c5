"""Where commands that name no percent begin: at the stages of the plan in the rule file."""

from __future__ import annotations

import pytest

from tests.unit.cli.shell import RULES, Shell

STAGES = (
    "plan: {stages: [{stage: aa, percent: 20%, for: 1h}, {stage: first, percent: 15%, for: 1h}, "
    "{stage: full, for: 1d}]}\n"
)
SHADOWED = "plan: {stages: [{stage: shadow, for: 1d}, {stage: ramp_1, for: 1d}]}\n"


@pytest.fixture
def own_stages(shell: Shell) -> Shell:
    (shell.rules / "copilot.yaml").write_text(RULES + STAGES)
    return shell


def test_arm_begins_at_the_first_stage_of_the_plan(own_stages: Shell) -> None:
    assert "armed, generation 1, 20% canary" in own_stages("arm", "copilot", "--yes").output
    assert "aa" in own_stages("status", "copilot").output


def test_a_plan_that_begins_in_shadow_asks_for_its_share(shell: Shell) -> None:
    (shell.rules / "copilot.yaml").write_text(RULES + SHADOWED)
    said = shell("arm", "copilot", "--yes")
    assert (said.exit_code, "begins in stage shadow" in said.output, "--shadow 5" in said.output) == (2, True, True)
    assert "5% of requests shadowed" in shell("arm", "copilot", "--shadow", "5", "--yes").output


def test_a_stage_of_the_plan_has_its_percent(own_stages: Shell) -> None:
    own_stages("arm", "copilot", "--yes")
    assert "stage first, 15% canary" in own_stages("stage", "copilot", "first", "--yes").output
    assert "add --percent" in own_stages("stage", "copilot", "second", "--yes").output


def test_a_rearm_begins_in_a_stage_of_the_plan(own_stages: Shell) -> None:
    """A plan without ramp_1 was held by each re-arm, and someone was paged for it."""
    own_stages("arm", "copilot", "--yes")
    own_stages("trip", "copilot", "--reason", "bad", "--yes")
    assert "a re-arm begins at first again" in own_stages("plan", "copilot").output
    assert "armed again, generation 2, 15% canary" in own_stages(
        "rearm", "copilot", "--reason", "fixed", "--yes"
    ).output  # fmt: skip


def test_a_pinned_rollout_is_not_sent_to_rearm(own_stages: Shell) -> None:
    own_stages("arm", "copilot", "--yes")
    own_stages("pin", "copilot", "--reason", "refunds", "--yes")
    said = own_stages("status", "copilot").output
    assert "once it is settled `killswitch unpin copilot" in said
    assert "killswitch rearm copilot" not in said
