"""`killswitch role promote` and `role watch`: the new prod is watched, and an earlier watch makes way."""

from __future__ import annotations

import pytest

from killswitch.stores import keys
from tests.unit.cli.plans import documents
from tests.unit.cli.role_shell import ROLE, candidate, passed, the_role, waived, with_role
from tests.unit.cli.shell import Shell

PROMOTE = ("role", "promote", ROLE, "--reason", "it passed", "--yes")


@pytest.fixture
def role(shell: Shell) -> Shell:
    role = with_role(shell)
    passed(role)
    return role


def _flag(shell: Shell, rollout: str) -> dict[str, object]:
    return next(flag for flag in documents(shell, keys.FLAGS) if flag["rollout"] == rollout)


def test_a_promotion_arms_its_watch(role: Shell) -> None:
    done = role(*PROMOTE)
    assert done.exit_code == 0, done.output
    watch = _flag(role, "watch")
    assert (watch["control"], watch["canary"], watch["stage"]) == ("model-old", "model-new", "full")


@pytest.mark.parametrize("earlier", ["armed", "tripped"])
def test_the_next_promotion_is_watched_as_well(role: Shell, earlier: str) -> None:
    assert role(*PROMOTE).exit_code == 0
    if earlier == "tripped":
        assert role("trip", "watch", "--reason", "bad", "--yes").exit_code == 0
    candidate(role, "model-newest")
    waived(role)
    assert role(*PROMOTE).exit_code == 0
    watch = _flag(role, "watch")
    assert (watch["control"], watch["canary"], watch["generation"]) == ("model-new", "model-newest", 2)
    assert watch["state"] == "armed"


def test_a_pinned_watch_is_left_alone_and_said(role: Shell) -> None:
    assert role(*PROMOTE).exit_code == 0
    assert role("pin", "watch", "--reason", "bad", "--yes").exit_code == 0
    candidate(role, "model-newest")
    waived(role)
    done = role(*PROMOTE)
    assert done.exit_code == 0
    assert the_role(role).prod == "model-newest"
    assert "watch is NOT armed" in done.output
    assert role("role", "watch", ROLE, "--yes").exit_code == 1


def test_a_watch_is_armed_by_hand_as_well(role: Shell) -> None:
    refused = role("role", "watch", ROLE, "--yes")
    assert refused.exit_code == 2
    assert "no previous model" in refused.output
    moved = role.rules / "watch.yaml"
    text = moved.read_text()
    moved.unlink()
    assert role(*PROMOTE).exit_code == 0
    moved.write_text(text)
    assert role("role", "watch", ROLE, "--yes").exit_code == 0
    assert _flag(role, "watch")["state"] == "armed"


def test_a_role_file_without_a_watch_arms_none(role: Shell) -> None:
    (role.folder / "roles" / "support.yaml").write_text("role: support\nprovider: openai\nlabel: $\n")
    assert role(*PROMOTE).exit_code == 0
    assert documents(role, keys.FLAGS) == []
    assert "names no rollout to watch it" in role("role", "watch", ROLE, "--yes").output


def test_the_status_shows_roles_and_what_rollouts_rest_on(role: Shell) -> None:
    assert role("arm", "copilot", "--stage", "ramp_1", "--yes").exit_code == 0
    shown = role("status")
    assert shown.exit_code == 0, shown.output
    assert "role support, upgrade: gate run" in shown.output
    assert "support  model-old  model-new" in shown.output
    document = role.json("status")
    assert document["roles"]["rows"][0]["candidate"] == "model-new"
    assert "gate run" in document["rollouts"][0]["rests_on"]


def test_ending_a_tripped_watch_says_that_its_rollback_is_lost(role: Shell) -> None:
    assert role(*PROMOTE).exit_code == 0
    assert "not rolled back yet" not in role("end", "watch", answer="n\n").output
    assert role("trip", "watch", "--reason", "bad", "--yes").exit_code == 0
    assert "role support is not rolled back yet" in role("end", "watch", answer="n\n").output


def test_a_rollback_names_the_watch_that_still_serves_the_model(role: Shell) -> None:
    """A service that asks only the router of the watch follows its flag, not the role."""
    assert role(*PROMOTE).exit_code == 0
    back = ("role", "rollback", ROLE, "--reason", "bad", "--yes")
    done = role(*back)
    assert done.exit_code == 0
    assert "watch is armed: routers without role_route still give 99% model-new" in done.stderr
    assert 'killswitch trip watch --reason "rolled back"' in done.stderr
    assert role("trip", "watch", "--reason", "rolled back", "--yes").exit_code == 0
    done = role(*back, "--to", "model-new")
    assert "is armed" not in done.stderr
