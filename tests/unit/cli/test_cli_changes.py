"""Commands that change a flag: what is asked before, what is refused, and what is said and paged after."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from killswitch.cli import by_hand, trip
from killswitch.daemon import wiring as assembly
from killswitch.daemon.secrets_of_settings import unreadable_secrets
from killswitch.daemon.settings import Settings, load_settings
from killswitch.errors import BadSettings, Refused, Unavailable
from killswitch.model import PageSettings
from killswitch.pages import events
from killswitch.stores import Put, keys
from killswitch.stores.opening import open_store
from killswitch.stores.sqlite.store import SqliteStore
from killswitch.trips.request import TripRequest, TripResult
from killswitch.trips.switch import Switch
from tests.doubles.webhook import WebhookDouble
from tests.unit.cli.shell import Shell


def test_arm_takes_the_models_from_the_rule_file(shell: Shell) -> None:
    """Arm takes the models from the rule file, and says what will change."""
    done = shell("arm", "copilot", "--percent", "5", answer="y\n")
    assert done.exit_code == 0
    assert "copilot: 5% of users will get model-new instead of model-old (stage ramp_5)." in done.stderr
    assert "copilot: armed, generation 1, 5% canary" in done.stdout


def test_no_change_of_traffic_without_a_yes(shell: Shell) -> None:
    assert shell("arm", "copilot", "--percent", "5", answer="n\n").exit_code == 1
    assert shell.json("status")["rollouts"] == []
    shell.armed()
    for command in (["stage", "copilot", "--percent", "25"], ["trip", "copilot", "--reason", "r"], ["end", "copilot"]):
        assert shell(*command, answer="n\n").exit_code == 1
        assert shell(*command, answer="").exit_code == 1  # nobody there to answer
    assert shell.json("status")["rollouts"][0]["canary_percent"] == 5.0


def test_nothing_is_announced_that_is_not_allowed(shell: Shell) -> None:
    """First it is found out whether it may be done; then the person is told what will change, and asked."""
    refused = (
        ["arm", "copilot", "--percent", "101"],
        ["stage", "copilot", "--percent", "5"],
        ["rearm", "copilot", "--reason", "r"],
        ["trip", "copilot", "--reason", "r"],
        ["end", "copilot"],
        ["baseline", "copilot"],
    )
    for command in refused:
        done = shell(*command, answer="y\n")
        assert done.exit_code == 2, done.output
        for announced in ("will get", "goes from", "from now on", "is removed", "becomes", "Go on?"):
            assert announced not in done.stderr
    shell.armed()
    assert "Go on?" not in shell("rearm", "copilot", "--reason", "r", answer="y\n").stderr
    shell("trip", "copilot", "--reason", "bad", "--yes")
    done = shell("trip", "copilot", "--reason", "again", answer="")
    assert (done.exit_code, "nothing was changed" in done.stdout) == (0, True)


def test_a_flag_that_changed_during_the_question_is_left_alone(shell: Shell) -> None:
    """What was agreed to is not done to a flag that has changed meanwhile."""
    shell.armed()
    store = open_store(shell.store)
    switch = Switch(store, wall=time.time, by="me", origin="test")

    def meanwhile(*_: object) -> None:
        Switch(store, wall=time.time, by="she", origin="test").set_stage("copilot", percent=1.0, stage="ramp_1")

    with pytest.raises(Refused, match="someone else"):
        switch.set_stage("copilot", percent=25.0, stage="ramp_25", agree=meanwhile)
    store.close()


def test_time_spent_thinking_it_over_takes_no_part_in_the_change(shell: Shell) -> None:
    """The data of the minutes at the prompt are not the re-armed canary's."""
    shell.armed()
    shell("trip", "copilot", "--reason", "bad", "--yes")
    store, clock = open_store(shell.store), [time.time() + 60]
    switch = Switch(store, wall=lambda: clock[0], by="me", origin="test")

    def thinks_it_over(*_: object) -> None:
        clock[0] += 600

    armed = switch.rearm(
        "copilot", reason="r", percent=1.0, stage="ramp_1", agree=thinks_it_over,
        page=lambda flag: events.re_armed(flag, reason="r", by="me", settings=PageSettings()),
    )  # fmt: skip
    assert armed.armed_at == clock[0]
    store.close()


def test_nobody_to_ask_is_said_with_the_way_round(shell: Shell) -> None:
    done = shell("arm", "copilot", "--percent", "5", answer="")
    assert done.exit_code == 1
    assert "no terminal to answer; use --yes" in done.stderr
    assert "nothing was changed" in shell("arm", "copilot", "--percent", "5", answer="n\n").stderr


def test_arm_explains_every_refusal(shell: Shell) -> None:
    for arguments, word in (
        (["arm", "copilot", "--yes"], "--stage ramp_5 or --percent 5"),
        (["arm", "copilot", "--stage", "mine", "--yes"], "add --percent"),
        (["arm", "copilot", "--stage", "12.5%", "--yes"], "for a percent write --percent 12.5"),
        (["arm", "copilot", "--percent", "100", "--yes"], "no control cohort is left"),
        (["arm", "copilot", "--percent", "101", "--yes"], "from 0 to 100"),
        (["arm", "nobody", "--percent", "5", "--yes"], "known rollouts: copilot"),
        (["arm", "Bad/Name", "--percent", "5", "--control", "a", "--canary", "b", "--yes"], "1 to 63"),
    ):
        done = shell(*arguments)
        assert (done.exit_code, word in done.stderr) == (2, True), done.stderr
    shell.armed()
    done = shell("arm", "copilot", "--percent", "5", "--yes")
    assert (done.exit_code, "killswitch stage copilot" in done.stderr) == (2, True)


def test_stage_moves_the_share_and_full_is_a_hold_back(shell: Shell) -> None:
    shell.armed()
    done = shell("stage", "copilot", "--stage", "full", "--yes")
    assert "from 5% to 99% (stage full)" in done.stderr
    assert "copilot: stage full, 99% canary" in done.stdout
    assert shell.json("stage", "copilot", "--percent", "1", "--yes")["canary_percent"] == 1.0


def test_a_trip_with_the_daemon_down_delivers_its_page_itself(shell: Shell) -> None:
    shell.armed()
    with WebhookDouble() as hook:
        (shell.folder / "hook").write_text(hook.url)
        done = shell(
            "trip", "copilot", "--reason", "it swears", "--yes", KILLSWITCH_WEBHOOK_URL_FILE=str(shell.folder / "hook")
        )
        assert done.exit_code == 0, done.output
        assert "tripped, all traffic to control; no controller is alive, so this command paged" in done.stdout
        assert "webhook" in done.stdout
        assert [page["alert"] for page in hook.pages] == ["canary kill-switch tripped"]
        assert hook.pages[0]["reason"] == "it swears"
        assert hook.pages[0]["automatic"] is False
    assert shell.json("status")["rollouts"][0]["canary_percent"] == 0.0


def test_a_printed_page_leaves_stdout_to_the_json(shell: Shell) -> None:
    """With no receiver the command prints the page itself. With --json it does so on standard error."""
    shell.armed()
    for command, state in (("trip", "tripped"), ("rearm", "armed")):
        done = shell(command, "copilot", "--reason", "drill", "--yes", "--json")
        assert json.loads(done.stdout)["state"] == state
        assert "--- PAGE " in done.stderr
    assert "--- PAGE TRIPPED" in shell("trip", "copilot", "--reason", "drill", "--yes").stdout


@pytest.mark.parametrize("command", ["trip", "rearm"])
@pytest.mark.parametrize("reason", ["", " \t\n", "\u200b\u00a0"])
def test_a_reason_that_says_nothing_is_refused(shell: Shell, command: str, reason: str) -> None:
    """An empty or blank reason is refused before anything is asked or changed; so is one of unseen characters."""
    shell.armed()
    if command == "rearm":
        shell("trip", "copilot", "--reason", "bad", "--yes")
    before = shell.json("status")["rollouts"][0]["state"]
    done = shell(command, "copilot", "--reason", reason, "--yes")
    assert (done.exit_code, "'--reason': is empty; write why" in done.stderr) == (2, True), done.output
    assert shell.json("status")["rollouts"][0]["state"] == before


def test_a_trip_with_a_daemon_alive_leaves_the_page_to_it(shell: Shell) -> None:
    shell.armed()
    store = open_store(shell.store)
    store.commit((), (Put(keys.controller("a"), b"{}"),))
    store.close()
    done = shell("trip", "copilot", "--reason", "r", "--yes")
    assert "a controller delivers the page" in done.stdout


@pytest.mark.parametrize("as_json", [False, True])
def test_a_store_lost_after_the_flip_is_no_doubt_of_it(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    """The commands for a store that took no trip would have a person delete the flag of one that it took."""
    shell.armed()
    flip = Switch.trip

    def gone(*_: object, **__: object) -> None:
        raise Unavailable("the store is gone")

    def flip_and_lose(switch: Switch, request: TripRequest) -> TripResult:
        result = flip(switch, request)
        for method in ("get", "list", "commit", "grant"):
            monkeypatch.setattr(SqliteStore, method, gone)
        return result

    monkeypatch.setattr(Switch, "trip", flip_and_lose)
    monkeypatch.setattr(trip, "DELIVER_WITHIN", 0.1)
    done = shell("trip", "copilot", "--reason", "bad", "--yes", *(["--json"] if as_json else []))
    assert done.exit_code == 0
    assert "by hand" not in done.stderr
    said = "copilot: tripped, all traffic to control; whether a controller is alive is UNKNOWN"
    assert json.loads(done.stdout)["state"] == "tripped" if as_json else done.stdout.startswith(said)


@pytest.mark.parametrize("before", [("trip",), ("rearm", "trip")])
def test_receivers_that_cannot_be_built_do_not_hide_a_change(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, before: tuple[str, ...]
) -> None:
    shell.armed()

    def refuse(_: Settings, **__: object) -> None:
        raise BadSettings(["the only receiver of pages is the fallback slack; name another one"])

    monkeypatch.setattr(assembly, "build_pagers", refuse)
    command, *earlier = before
    for one in earlier:
        shell(one, "copilot", "--reason", "r", "--yes")
    done = shell(command, "copilot", "--reason", "r", "--yes")
    assert done.exit_code == 0
    assert "this command cannot page: the only receiver of pages is the fallback slack" in done.stdout


def test_a_second_trip_changes_nothing_and_names_the_first(shell: Shell) -> None:
    shell.armed()
    shell("trip", "copilot", "--reason", "first", "--yes")
    done = shell("trip", "copilot", "--reason", "second", "--yes")
    assert done.exit_code == 0
    assert "already tripped (incident copilot.1); nothing was changed" in done.stdout


def test_rearm_is_the_one_way_out_and_needs_a_reason(shell: Shell) -> None:
    shell.armed()
    assert shell("rearm", "copilot", "--reason", "r", "--yes").exit_code == 2
    shell("trip", "copilot", "--reason", "bad", "--yes")
    assert shell("rearm", "copilot", "--yes").exit_code == 2
    assert shell("rearm", "copilot", "--reason", " ", "--yes").exit_code == 2
    done = shell("rearm", "copilot", "--reason", "fixed", "--yes")
    assert done.exit_code == 0, done.output
    assert "1% of users will get the canary again (stage ramp_1; the same users as before), because" in done.stderr
    assert "copilot: armed again, generation 2, 1% canary" in done.stdout


def test_a_pin_stands_in_the_way_of_every_re_arm(shell: Shell) -> None:
    shell.armed()
    assert shell("pin", "copilot", "--yes").exit_code == 2
    assert shell("unpin", "copilot", "--reason", "r", "--yes").exit_code == 2
    done = shell("pin", "copilot", "--reason", "csat fell", "--yes")
    assert (done.exit_code, "copilot: pinned at 0%; no controller is alive" in done.stdout) == (0, True), done.output
    assert "pinned already" in shell("pin", "copilot", "--reason", "again", "--yes").stdout
    for command in ("rearm", "pin"):
        refused = shell(command, "copilot", "--reason", "r", "--yes")
        assert refused.exit_code == 2, refused.output
    assert "killswitch unpin copilot" in shell("rearm", "copilot", "--reason", "r", "--yes").stderr
    assert "pinned by" in shell("status").stdout
    done = shell("unpin", "copilot", "--reason", "looked", "--yes")
    assert (done.exit_code, "unpinned, still 0% canary" in done.stdout) == (0, True), done.output
    done = shell("rearm", "copilot", "--reason", "fixed", "--new-users", "--yes")
    assert "generation 2, 1% canary, other users than before" in done.stdout, done.output


def test_a_reason_of_someone_else_adds_no_line_to_a_question(shell: Shell) -> None:
    """Else it could say what the question does not ask."""
    shell.armed()
    shell("pin", "copilot", "--reason", "csat fell\nnothing will change", "--yes")
    asked = shell("unpin", "copilot", "--reason", "looked", answer="n\n").stderr
    assert "csat fell nothing will change" in asked


def test_a_pin_that_meets_a_trip_of_a_controller_pins(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trip between the pin's reading and its writing: the person has asked for more than a trip."""
    shell.armed()
    commit = SqliteStore.commit
    tripped: list[SqliteStore] = []

    def trip_first(store: SqliteStore, compares: Any, writes: Any) -> Any:
        if not tripped:
            tripped.append(store)
            assert shell("trip", "copilot", "--reason", "errors", "--yes").exit_code == 0
        return commit(store, compares, writes)

    monkeypatch.setattr(SqliteStore, "commit", trip_first)
    done = shell("pin", "copilot", "--reason", "csat fell", "--yes")
    assert (done.exit_code, "pinned at 0%" in done.stdout) == (0, True), done.output
    assert shell.json("status")["rollouts"][0]["state"] == "pinned"


def test_a_pin_of_a_tripped_canary_pages_once_more(shell: Shell) -> None:
    shell.armed()
    shell("trip", "copilot", "--reason", "bad", "--yes")
    done = shell("pin", "copilot", "--reason", "refunds", "--yes")
    assert (done.exit_code, "pinned at 0%" in done.stdout) == (0, True), done.output
    assert shell.json("status")["rollouts"][0]["state"] == "pinned"


def test_end_removes_the_flag_and_lists_the_known_rollouts(shell: Shell) -> None:
    shell.armed()
    for command in (["end", "nobody"], ["trip", "nobody", "--reason", "r"], ["stage", "nobody", "--percent", "1"]):
        done = shell(*command, "--yes")
        assert (done.exit_code, "rollouts with a flag: copilot" in done.stderr) == (2, True)
    assert "copilot: ended" in shell("end", "copilot", "--yes").stdout
    assert shell.json("status")["rollouts"] == []


def test_a_stage_is_an_argument(shell: Shell) -> None:
    shell("arm", "copilot", "--stage", "ramp_1", "--yes")
    assert shell.json("stage", "copilot", "ramp_5", "--yes")["canary_percent"] == 5.0
    assert shell("stage", "copilot", "mine", "--percent", "7", "--yes").exit_code == 0
    twice = shell("stage", "copilot", "ramp_5", "--stage", "ramp_25", "--yes")
    assert (twice.exit_code, "ramp_5 and ramp_25" in twice.stderr) == (2, True)


@pytest.mark.parametrize(
    ("store", "command"),
    [
        ("etcd://127.0.0.1:1", "etcdctl --endpoints=http://127.0.0.1:1 del /killswitch/v1/flags/copilot"),
        ("etcds://127.0.0.1:1,b:2", "etcdctl --endpoints=https://127.0.0.1:1,https://b:2 del "),
    ],
)
def test_a_trip_that_finds_no_store_says_what_to_do_by_hand(shell: Shell, store: str, command: str) -> None:
    done = shell("trip", "copilot", "--reason", "bad", "--yes", "--store", store)
    assert done.exit_code == 3
    assert command in done.stderr
    assert "go to control by then" in done.stderr
    assert "killswitch status copilot" in done.stderr


def test_receivers_whose_secret_cannot_be_read_are_named(shell: Shell) -> None:
    (shell.folder / "token").write_text("xoxb-1")
    settings = load_settings(slack_token_file=shell.folder / "token", webhook_url_file=shell.folder / "nowhere")
    (problem,) = unreadable_secrets(settings)
    assert problem.startswith("KILLSWITCH_WEBHOOK_URL_FILE: cannot read the secret in ")


def test_an_unwatched_canary_is_warned_of_before_the_question(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before users get a canary that no controller watches, the command warns, and then asks."""
    warning = "no controller is alive: without `killswitch run`, no one notices a bad canary"
    done = shell("arm", "copilot", "--percent", "5", answer="n\n")
    assert 0 <= done.stderr.find(warning) < done.stderr.find("Go on?")
    shell.armed()
    assert warning in shell("stage", "copilot", "ramp_25", "--yes").stderr
    assert "no controller" not in shell("stage", "copilot", "ramp_5", "--yes").stderr
    shell("trip", "copilot", "--reason", "r", "--yes")
    assert warning in shell("rearm", "copilot", "--reason", "r", "--yes").stderr
    store = open_store(shell.store)
    store.commit((), (Put(keys.CONTROLLERS + "a", b"{}"),))
    store.close()
    assert "no controller" not in shell("stage", "copilot", "ramp_25", "--yes").stderr
    monkeypatch.setattr(by_hand, "living_controllers", lambda _store: None)
    assert "whether a controller is alive is UNKNOWN" in shell("stage", "copilot", "full", "--yes").stderr
