"""`killswitch status`: what it names, and what else may answer on the controller's port."""

from __future__ import annotations

import json
import re
from contextlib import closing

import pytest

from killswitch.cli.console import Terminal
from killswitch.model import PageSettings
from killswitch.stores import Put, keys
from killswitch.stores.opening import open_store
from killswitch.trips.acknowledging import acknowledge
from tests.doubles.http_double import Answer, HttpDouble
from tests.doubles.webhook import WebhookDouble
from tests.unit.cli.shell import Shell


def test_status_names_the_incident_and_the_next_command(shell: Shell) -> None:
    shell.armed()
    shell("trip", "copilot", "--reason", "it swears", "--yes")
    words = shell("status").stdout
    assert "incident copilot.1 of" in words
    assert "killswitch rearm copilot --reason" in words
    assert "[tripped" not in words


def test_status_and_explain_name_who_looks_after_it(shell: Shell) -> None:
    """The next person who is paged sees that someone is at it."""
    shell.armed()
    shell("trip", "copilot", "--reason", "it swears", "--yes")
    assert "look" not in shell("status").stdout + shell("explain", "copilot").stdout
    with closing(open_store(shell.store)) as store:
        acknowledge(store, "copilot", 1, by="Ann Lee", origin="Slack", at=1_776_608_600.0, settings=PageSettings())
    assert "  Ann Lee looks after it since 2026-04-19T14:23:20" in shell("status").stdout
    assert re.search(r"looked after +by Ann Lee since 2026-04-19T14:23:20", shell("explain", "copilot.1").stdout)


def test_an_absent_controller_may_pass(shell: Shell) -> None:
    """What only a controller knows is asked of it; that none answers may pass (exit code 3)."""
    shell.armed()
    done = shell("explain", "copilot", "--url", "http://127.0.0.1:9")
    assert done.exit_code == 3
    assert "no controller answers at http://127.0.0.1:9" in done.stderr
    done = shell("status", "--url", "http://127.0.0.1:9")
    assert done.exit_code == 0
    assert "no verdicts are shown" in done.stderr
    assert "--url or KILLSWITCH_URL" in done.stderr
    assert "verdicts UNKNOWN: no controller was reached" in done.stdout
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


def test_status_shows_what_a_controller_says_of_caps(shell: Shell) -> None:
    """Also one of an older release, which says nothing of them."""
    shell.armed()
    one = shell.json("status", "--url", "http://127.0.0.1:9")["rollouts"][0]
    lines: dict[str, str | None] = {
        "copilot per day: $45.00 used, soft $40.00, hard $50.00; soft cap reached": None,
        "copilot per month: UNKNOWN: not read yet": "not read yet",
    }
    micros = {"used_micros": 45_000_000, "soft_micros": 40_000_000, "hard_micros": 50_000_000}
    spend = [{"line": line, **micros, "unknown": unknown} for line, unknown in lines.items()]
    for said in (spend, None):
        answered = {key: value for key, value in {**one, "spend": said}.items() if value is not None}
        body = json.dumps({"controller": "a", "tick": None, "age_seconds": 1.0, "rollouts": [answered]}).encode()
        with HttpDouble(lambda _, body=body: Answer(200, body)) as controller:  # type: ignore[misc]  # bound in the loop
            shown = shell("status", "--url", controller.url).stdout
        assert [f"  spend: {line}" in shown for line in lines] == [said is not None] * 2


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


@pytest.mark.parametrize("columns", [60, 200])
def test_a_terminal_has_whole_ids_of_models(shell: Shell, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """Where the table of roles does not fit, a role is a line of text: a cut id of a model is none."""
    terminal = Terminal(width=columns, force_terminal=True, color_system=None, highlight=False)
    monkeypatch.setattr("killswitch.cli.console.out", terminal)
    monkeypatch.setattr("killswitch.cli.status.out", terminal)
    for command in (("create", "triage", "--prod"), ("set-candidate", "triage")):
        model = "gpt-4.1-2025-04-14" if command[0] == "create" else "gpt-5-mini-2025-08-07"
        assert shell("role", *command, model, "--yes").exit_code == 0
    words = shell("status").stdout
    assert "gpt-4.1-2025-04-14" in words
    assert "gpt-5-mini-2025-08-07" in words
    assert ("triage: prod gpt-4.1-2025-04-14, candidate " in words) == (columns == 60)
