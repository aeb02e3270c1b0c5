"""Every command's words, exit codes and JSON, on an embedded store: 0 done, 1 not wanted, 2 fix it, 3 try later."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from killswitch import __version__
from killswitch.cli import by_hand, trip
from killswitch.cli.app import app
from killswitch.cli.present import unjudged
from killswitch.cli.run import default_in_words
from killswitch.daemon import wiring as assembly
from killswitch.daemon.settings import Settings, load_settings
from killswitch.daemon.wiring import unreadable_secrets
from killswitch.errors import BadSettings, Refused, Unavailable
from killswitch.model import PageSettings
from killswitch.pages import events
from killswitch.rules.loading import located
from killswitch.stores import Put, keys
from killswitch.stores.opening import open_store
from killswitch.stores.sqlite.store import SqliteStore
from killswitch.trips.request import TripRequest, TripResult
from killswitch.trips.switch import Switch
from tests.doubles.http_double import Answer, HttpDouble
from tests.doubles.webhook import WebhookDouble

RULES = """\
rollout: copilot
control: model-old
canary: model-new
metrics: cohort-labels
page: {slack: "#llm-oncall", mention: "<!here>"}
"""


NOBODY = "http://127.0.0.1:9"


class Shell:
    """Commands as a person types them, in a folder with rule files and an embedded store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = f"sqlite://{folder}/flags.sqlite"
        self.rules = folder / "rules"
        self.rules.mkdir()
        (self.rules / "copilot.yaml").write_text(RULES)

    def __call__(self, *arguments: str, answer: str | None = None, **environment: str) -> Result:
        known = {
            "KILLSWITCH_STORE": self.store,
            "KILLSWITCH_RULES": str(self.rules),
            "KILLSWITCH_URL": NOBODY,  # whoever runs a controller on this machine is none of these tests' business
            "COLUMNS": "250",
        }
        return CliRunner().invoke(app, arguments, input=answer, env={**known, **environment})

    def json(self, *arguments: str) -> Any:
        done = self(*arguments, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    def armed(self) -> Shell:
        assert self("arm", "copilot", "--percent", "5", "--yes").exit_code == 0
        return self


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    for name in list(os.environ):
        if name.startswith("KILLSWITCH_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path)


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
    switch = Switch(store, wall=time.time, by="me")

    def meanwhile(*_: object) -> None:
        Switch(store, wall=time.time, by="she").set_stage("copilot", percent=1.0, stage="ramp_1")

    with pytest.raises(Refused, match="someone else"):
        switch.set_stage("copilot", percent=25.0, stage="ramp_25", agree=meanwhile)
    store.close()


def test_time_spent_thinking_it_over_takes_no_part_in_the_change(shell: Shell) -> None:
    """The data of the minutes at the prompt are not the re-armed canary's."""
    shell.armed()
    shell("trip", "copilot", "--reason", "bad", "--yes")
    store, clock = open_store(shell.store), [time.time() + 60]
    switch = Switch(store, wall=lambda: clock[0], by="me")

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


def test_a_store_or_source_that_does_not_answer_is_named(shell: Shell) -> None:
    """It is named, together with the option and the variable that name another."""
    done = shell("status", "--store", "etcd://127.0.0.1:9")
    assert "flag store etcd://127.0.0.1:9; name another with --store or KILLSWITCH_STORE" in done.stderr
    for command in (["power"], ["backtest"], ["doctor"]):
        for option in ("--source", "--prometheus"):
            done = shell(*command, option, NOBODY)
            said = " ".join((done.stdout + done.stderr).split())
            assert f"prometheus+{NOBODY}" in said
            assert "name another with --source or KILLSWITCH_SOURCE" in said
    for command in (["run"], ["baseline", "copilot"]):
        assert "--source" in shell(*command, "--help").stdout


def test_a_scrape_source_has_a_past_only_with_its_file(shell: Shell) -> None:
    """Without the daemon's samples every metric would look misspelled."""
    for command in ("doctor", "backtest", "power"):
        done = shell(command, "--source", "scrape+http://127.0.0.1:9/metrics")
        assert (done.exit_code, "KILLSWITCH_SCRAPE_FILE" in done.stderr) == (2, True), done.output


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

    def refuse(_: Settings) -> None:
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
    assert "1% of users will get the canary again (stage ramp_1), because: fixed" in done.stderr
    assert "copilot: armed again, generation 2, 1% canary" in done.stdout


def test_explain_shows_an_incident_without_any_controller(shell: Shell) -> None:
    shell.armed()
    shell("trip", "copilot", "--reason", "it swears", "--yes")
    document = shell.json("explain", "copilot")
    assert (document["id"], document["reason"], document["automatic"]) == ("copilot.1", "it swears", False)
    done = shell("explain", "copilot")
    assert "it swears" in done.stdout
    assert "5% model-new, stage ramp_5" in done.stdout


def test_explain_shows_the_state_and_older_incidents(shell: Shell) -> None:
    """A controller that still tells of the time before the re-arm or the end must not be believed."""
    shell.armed()
    shell("trip", "copilot", "--reason", "it swears", "--yes")
    shell("rearm", "copilot", "--reason", "fixed", "--yes")
    old = {**unjudged("copilot"), "state": "tripped", "generation": 1, "sentence": "tripped by a: it swears"}
    with HttpDouble(lambda _: Answer(200, json.dumps(old).encode())) as behind:
        done = shell("explain", "copilot", "--url", behind.url)
        assert done.exit_code == 0, done.output
        assert "copilot: armed, generation 2, stage ramp_1: 1% model-new, rest model-old" in done.stdout
        assert "not judged yet" in done.stdout
        assert re.search(r"copilot\.1  \S+ by \S+: it swears", done.stdout)
        assert "killswitch explain copilot --incident copilot.1" in done.stdout
        shell("end", "copilot", "--yes")
        done = shell("explain", "copilot", "--url", behind.url)
        assert "copilot: absent" in done.stdout
        assert "routers send everything to control" in done.stdout
        assert "copilot.1" in done.stdout


@pytest.mark.parametrize(
    "named", [("copilot", "--incident", "copilot.1"), ("copilot", "--incident", "1"), ("copilot.1",)]
)
def test_an_old_incident_is_shown_by_its_id(shell: Shell, named: tuple[str, ...]) -> None:
    """An old incident is shown by its id, with no controller alive."""
    shell.armed()
    for reason in ("first", "second"):
        shell("trip", "copilot", "--reason", reason, "--yes")
        shell("rearm", "copilot", "--reason", "fixed", "--yes")
    if len(named) == 1:
        shell("end", "copilot", "--yes")
    document = shell.json("explain", *named)
    assert (document["id"], document["reason"]) == ("copilot.1", "first")
    assert "tripped by" in shell("explain", *named).stdout


def test_explain_alone_shows_the_latest_incident_of_all(shell: Shell) -> None:
    done = shell("explain")
    assert (done.exit_code, "there is no incident yet" in done.stderr) == (2, True)
    shell.armed()
    for reason in ("first", "second"):
        shell("trip", "copilot", "--reason", reason, "--yes")
        shell("rearm", "copilot", "--reason", "fixed", "--yes")
    document = shell.json("explain")
    assert (document["id"], document["reason"]) == ("copilot.2", "second")
    assert shell.json("explain", "--incident", "copilot.1")["reason"] == "first"
    assert shell("explain", "--incident", "copilot.9").exit_code == 2


def test_an_incident_that_is_not_there_or_not_understood_is_named(shell: Shell) -> None:
    shell.armed()
    shell("trip", "copilot", "--reason", "first", "--yes")
    done = shell("explain", "copilot", "--incident", "9")
    assert (done.exit_code, "it has copilot.1" in done.stderr) == (2, True)
    store = open_store(shell.store)
    store.commit((), (Put(keys.incident("copilot", 0), b"{"),))
    store.close()
    assert "copilot.0  unreadable" in shell("explain", "copilot").stdout
    assert shell("explain", "copilot", "--incident", "0").exit_code == 2
    assert shell("explain", "nobody.3").exit_code == 2


def test_status_names_the_incident_and_the_next_command(shell: Shell) -> None:
    shell.armed()
    shell("trip", "copilot", "--reason", "it swears", "--yes")
    words = shell("status").stdout
    assert "incident copilot.1 of" in words
    assert "killswitch rearm copilot --reason" in words
    assert "[tripped" not in words


def test_an_absent_controller_may_pass(shell: Shell) -> None:
    """What only a controller knows is asked of it; that none answers may pass (exit code 3)."""
    shell.armed()
    done = shell("explain", "copilot", "--url", "http://127.0.0.1:9")
    assert done.exit_code == 3
    assert "no controller answers at http://127.0.0.1:9" in done.stderr
    done = shell("status", "--url", "http://127.0.0.1:9")
    assert done.exit_code == 0
    assert "no verdicts are shown" in done.stderr
    assert "5% model-new, rest model-old; stage ramp_5, generation 1" in done.stdout


def test_another_answer_on_the_controllers_port_is_refused(shell: Shell) -> None:
    shell.armed()
    with WebhookDouble() as other:
        done = shell("status", "--json", "--url", other.url)
    assert done.exit_code == 0
    assert "is not a controller" in json.loads(done.stdout)["problem"]


@pytest.mark.parametrize(
    "answer", [Answer(404, b"404 page not found"), Answer(404, b'{"error": "x"}'), Answer(200, b'{"ok": true}')]
)
def test_another_server_on_the_controllers_port_is_named(shell: Shell, answer: Answer) -> None:
    """A Prometheus answers 404, and its rollouts were "not judged yet"."""
    shell.armed()
    with HttpDouble(lambda _: answer) as other:
        assert "is not a controller" in json.loads(shell("status", "--json", "--url", other.url).stdout)["problem"]
        explained = shell("explain", "copilot", "--url", other.url)
    assert explained.exit_code == 3
    assert "is not a controller" in explained.stderr


def test_status_of_one_of_none_and_of_a_broken_flag(shell: Shell) -> None:
    assert "no rollout has a flag" in shell("status", "--url", "http://127.0.0.1:9").stdout
    shell.armed()
    done = shell("status", "nobody", "--url", "http://127.0.0.1:9")
    assert (done.exit_code, "known rollouts: copilot" in done.stderr) == (2, True)
    store = open_store(shell.store)
    store.commit((), (Put(keys.flag("broken"), b"{"),))
    store.close()
    broken = next(one for one in shell.json("status")["rollouts"] if one["rollout"] == "broken")
    assert "not JSON" in broken["sentence"]
    assert "routers send everything to control" in broken["sentence"]


def test_end_removes_the_flag_and_lists_the_known_rollouts(shell: Shell) -> None:
    """End removes the flag; for an unknown rollout it lists the known ones."""
    shell.armed()
    for command in (["end", "nobody"], ["trip", "nobody", "--reason", "r"], ["stage", "nobody", "--percent", "1"]):
        done = shell(*command, "--yes")
        assert (done.exit_code, "rollouts with a flag: copilot" in done.stderr) == (2, True)
    assert "copilot: ended" in shell("end", "copilot", "--yes").stdout
    assert shell.json("status")["rollouts"] == []


def test_exit_codes_tell_a_silent_store_from_a_wrong_one(shell: Shell) -> None:
    """A store that does not answer may be tried later (3); an address that is not a store must be fixed (2)."""
    done = shell("status", "--store", "etcd://127.0.0.1:9")
    assert done.exit_code == 3, done.output
    assert "Traceback" not in done.output
    done = shell("status", "--store", "ftp://x")
    assert done.exit_code == 2
    assert "etcd://" in done.stderr


def test_check_prints_every_problem_with_file_and_line(shell: Shell) -> None:
    assert shell.json("check", str(shell.rules))["rollouts"][0]["rollout"] == "copilot"
    (shell.rules / "bad.yaml").write_text(
        "rollout: x\ncontrol: a\ncanary: a\nmetrics: cohort-labels\nwindw: 1m\nwindow: 5\n"
    )
    done = shell("check", str(shell.rules))
    assert done.exit_code == 2
    assert "bad.yaml:5" in done.stderr
    assert "bad.yaml:6" in done.stderr
    as_json = shell("check", str(shell.rules), "--json")
    assert as_json.exit_code == 2
    document = json.loads(as_json.stdout)
    assert document["ok"] is False
    assert len(document["problems"]) >= 2
    unknown = next(one for one in document["problems"] if one["line"] == 5)
    assert unknown["file"] == str(shell.rules / "bad.yaml")
    assert (unknown["what"], unknown["fix"]) == ("unknown key windw", "did you mean window?")
    assert unknown["text"] == f"{unknown['file']}:5: unknown key windw; fix: did you mean window?"
    assert unknown["text"] in done.stderr


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            "a.yaml:3: 'x; fix: y' is not a quantity; fix: write 2%",
            ("a.yaml", 3, "'x; fix: y' is not a quantity", "write 2%"),
        ),
        ("rules: not a path; fix: name one", ("rules", None, "not a path", "name one")),
        ("… and 7 more", (None, None, "… and 7 more", None)),
    ],
)
def test_a_problem_has_its_parts(text: str, parts: tuple[object, ...]) -> None:
    one = located(text)
    assert (one.file, one.line, one.what, one.fix) == parts


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


def test_defaults_in_the_help_of_run_are_accepted_as_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, field in Settings.model_fields.items():
        if field.default not in (None, ""):
            monkeypatch.setenv(f"KILLSWITCH_{name.upper()}", default_in_words(name))
    assert load_settings() == Settings()


def test_check_without_a_folder_checks_the_daemons(shell: Shell) -> None:
    """The page of refused rules says `killswitch check`, whatever folder one stands in."""
    assert shell("check", KILLSWITCH_RULES=str(shell.rules)).exit_code == 0
    assert "elsewhere" in shell("check", KILLSWITCH_RULES="elsewhere").stderr


def test_check_of_a_folder_that_is_not_there_says_so(shell: Shell) -> None:
    done = shell("check", "nowhere")
    assert (done.exit_code, "nowhere" in done.stderr) == (2, True)


def test_bad_settings_end_every_command_with_all_their_problems(shell: Shell) -> None:
    done = shell("status", KILLSWITCH_INTERVAL="5", KILLSWITCH_LISTN="x")
    assert done.exit_code == 2
    assert "interval" in done.stderr
    assert "KILLSWITCH_LISTN is not a setting" in done.stderr


def test_help_and_version(shell: Shell) -> None:
    assert shell("--version").stdout.strip() == __version__
    for command in ("run", "check", "status", "explain", "arm", "stage", "trip", "rearm", "end", "demo"):
        done = shell(command, "--help")
        assert done.exit_code == 0
        assert command in done.stdout


def test_a_base_install_says_what_to_install() -> None:
    """The SDK alone has none of the daemon's libraries; hiding them is what a base install looks like."""
    script = (
        "import sys, importlib.util\n"
        "honest = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name in ('typer', 'rich', 'numpy') else honest(name, *a)\n"
        "from killswitch.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "pip install '.[daemon]'" in done.stderr
    assert "missing: typer, rich, numpy" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_flag_commands_say_how_to_arm(shell: Shell) -> None:
    """A rule file alone makes no flag: "no rollout is called copilot" was wrong."""
    for command in (
        ["trip", "copilot", "--reason", "r", "--yes"],
        ["rearm", "copilot", "--reason", "r", "--yes"],
        ["stage", "copilot", "ramp_5", "--yes"],
        ["end", "copilot", "--yes"],
        ["explain", "copilot"],
    ):
        done = shell(*command)
        assert done.exit_code == 2, command
        assert "copilot has no flag, so routers send everyone to control" in done.stderr, command
        assert "`killswitch arm copilot --stage ramp_1`" in done.stderr, command


def test_receivers_whose_secret_cannot_be_read_are_named(shell: Shell) -> None:
    (shell.folder / "token").write_text("xoxb-1")
    settings = load_settings(slack_token_file=shell.folder / "token", webhook_url_file=shell.folder / "nowhere")
    (problem,) = unreadable_secrets(settings)
    assert problem.startswith("webhook_url: cannot read the secret in ")


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
