"""Stage shadow by hand: arming into it, turning the shadow, leaving it, and where it is shown."""

from __future__ import annotations

import pytest

from tests.unit.cli.shell import Shell


@pytest.fixture
def shadowing(shell: Shell) -> Shell:
    assert shell("arm", "copilot", "--shadow", "20", "--shadow-class", "billing=100", "--yes").exit_code == 0
    return shell


def test_arm_with_a_shadow_serves_nobody_the_canary(shell: Shell) -> None:
    """The stage is shadow, the canary's share 0 %, and that is what is asked."""
    done = shell("arm", "copilot", "--shadow", "20", "--shadow-class", "billing=100", answer="y\n")
    assert done.exit_code == 0, done.output
    assert (
        "copilot: every user gets model-old; 20% (billing 100%) of requests are also sent to model-new, unseen "
        "(stage shadow)." in done.stderr
    )
    assert "copilot: armed, generation 1, 0% canary, 20% (billing 100%) of requests shadowed" in done.stdout
    one = shell.json("status")["rollouts"][0]
    assert (one["stage"], one["canary_percent"]) == ("shadow", 0.0)
    assert (one["shadow_percent"], one["shadow_classes"]) == (20.0, {"billing": 100.0})


def test_the_shadow_is_raised_and_lowered_in_its_stage(shadowing: Shell) -> None:
    """What is given replaces all that was shadowed; no new stage and no new generation begin."""
    done = shadowing("stage", "copilot", "--shadow", "25", answer="y\n")
    assert (
        "copilot: the canary's share stays 0%, and the shadow's goes from 20% (billing 100%) to 25% of requests "
        "(stage shadow)." in done.stderr
    )
    assert "copilot: stage shadow, 0% canary, 25% of requests shadowed" in done.stdout
    document = shadowing.json("stage", "copilot", "--shadow", "0", "--yes")
    assert (document["stage"], document["generation"], len(document["stages"])) == ("shadow", 1, 1)
    assert "shadow_percent" not in document


def test_leaving_the_stage_ends_the_shadow(shadowing: Shell) -> None:
    assert "shadow_percent" not in shadowing.json("stage", "copilot", "--percent", "1", "--yes")
    assert shadowing.json("status")["rollouts"][0]["shadow_percent"] == 0.0


def test_a_tripped_shadow_is_armed_again_only_when_asked(shadowing: Shell) -> None:
    assert shadowing("trip", "copilot", "--reason", "odd", "--yes").exit_code == 0
    tripped = shadowing.json("status")["rollouts"][0]
    assert (tripped["shadow_percent"], tripped["shadow_classes"]) == (0.0, {})
    assert shadowing("rearm", "copilot", "--reason", "fixed", "--shadow", "5", "--yes").exit_code == 0
    again = shadowing.json("status")["rollouts"][0]
    assert (again["stage"], again["canary_percent"], again["shadow_percent"]) == ("shadow", 0.0, 5.0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--shadow-class", "billing=100"], "--shadow-class needs --shadow, the percent of all other classes"),
        (["--shadow", "5", "--shadow-class", "billing"], "--shadow-class 'billing': write CLASS=PERCENT"),
        (["--shadow", "5", "--shadow-class", "billing=all"], "--shadow-class 'billing=all': write CLASS=PERCENT"),
        (["--shadow", "5", "--shadow-class", "=5"], "--shadow-class: '' is no class name"),
        (["--shadow", "101"], "--shadow must be from 0 to 100, got 101.0"),
        (["--shadow", "nan"], "--shadow must be from 0 to 100, got nan"),
        (["--shadow", "5", "--stage", "ramp_5"], "only stage shadow shadows requests, and the stage is ramp_5"),
        (["--shadow", "5", "--stage", "shadow", "--percent", "5"], "canary_percent is 5; it must be 0 in stage shadow"),
    ],
)
def test_a_senseless_shadow_is_refused(shell: Shell, arguments: list[str], says: str) -> None:
    done = shell("arm", "copilot", *arguments, "--yes")
    assert done.exit_code == 2, done.output
    assert says in done.stderr
    assert shell.json("status")["rollouts"] == []


def test_no_shadow_does_not_take_users_away(shell: Shell) -> None:
    """``--shadow 0`` in another stage is a slip: it would send all users back to control."""
    shell.armed()
    done = shell("stage", "copilot", "--shadow", "0", "--yes")
    assert done.exit_code == 2
    assert "copilot is in stage ramp_5, so nothing is shadowed" in done.stderr
    assert shell.json("status")["rollouts"][0]["canary_percent"] == 5.0


def test_status_and_explain_show_what_is_shadowed(shadowing: Shell) -> None:
    shown = "20% (billing 100%) of requests shadowed"
    assert f"stage shadow, {shown}, generation 1" in shadowing("status").stdout
    assert f"0% model-new, rest model-old; {shown}" in shadowing("explain", "copilot").stdout


def test_the_doctor_looks_for_routers_and_at_the_spool(shadowing: Shell) -> None:
    """Also while the metric source is down; without the variable there is no spool to look at."""
    spool = shadowing.folder / "spool"
    spool.mkdir(mode=0o755)
    done = shadowing("doctor", "--source", "http://127.0.0.1:9", KILLSWITCH_SHADOW_SPOOL=str(spool))
    assert "20% (billing 100%) of requests are to be shadowed, and no router follows the flag" in done.stdout
    assert f"chmod 700 {spool}" in done.stdout
    assert "shadow spool" not in shadowing("doctor", "--source", "http://127.0.0.1:9").stdout
