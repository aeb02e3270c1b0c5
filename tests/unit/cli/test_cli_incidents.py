"""`killswitch incidents` and `incident show` on a real embedded store, without a daemon."""

from __future__ import annotations

import json

from killswitch.flags.incident import to_document
from killswitch.stores import Put, keys
from killswitch.stores.opening import open_store
from tests.doubles.pages import proven_incident
from tests.doubles.stories import ALERT
from tests.unit.cli.shell import RULES, Shell


def put(shell: Shell, *puts: Put) -> None:
    store = open_store(shell.store)
    store.commit((), puts)
    store.close()


def lived(shell: Shell) -> Shell:
    """Tripped and re-armed by hand, and an incident of another rollout by evidence."""
    shell.armed()
    shell("trip", "copilot", "--reason", "wrong language", "--yes")
    shell("rearm", "copilot", "--reason", "prompt fixed", "--yes")
    put(shell, Put(keys.incident("support-copilot", 7), to_document(proven_incident())))
    return shell


def test_all_incidents_are_listed_the_newest_first(shell: Shell) -> None:
    done = lived(shell)("incidents")
    assert done.exit_code == 0, done.output
    lines = [line for line in done.stdout.splitlines() if not line.startswith("    ")]
    assert [line.split("  ")[0] for line in lines[:2]] == ["copilot.1", "support-copilot.7"]
    assert "not acknowledged" in lines[0]
    assert lines[-1] == "All of one: killswitch incident show copilot.1"


def test_a_rollout_and_a_time_can_be_chosen(shell: Shell) -> None:
    lived(shell)
    assert [one["id"] for one in shell.json("incidents", "--rollout", "support-copilot")] == ["support-copilot.7"]
    assert [one["id"] for one in shell.json("incidents", "--since", "1h")] == ["copilot.1"]


def test_one_is_told_from_arming_to_re_arming(shell: Shell) -> None:
    done = lived(shell)("incident", "show", "copilot.1")
    assert done.exit_code == 0, done.output
    told = [line.split("UTC  ")[1] for line in done.stdout.splitlines() if "UTC  " in line]
    assert told[0] == "armed to ramp_5: 5% of users get model-new"
    assert told[1].startswith("tripped by ")
    assert told[-1].endswith("(command line): prompt fixed")
    assert "not known:" in done.stdout


def test_the_alert_that_tripped_is_shown_with_its_labels(shell: Shell) -> None:
    document = to_document(proven_incident(alert=ALERT, rules=(), automatic=True))
    put(shell, Put(keys.incident("support-copilot", 7), document))
    for command in (["incident", "show", "support-copilot.7"], ["explain", "support-copilot", "--incident", "7"]):
        done = shell(*command)
        assert done.exit_code == 0, done.output
        for words in ("CopilotErrors", "severity", "critical", "8%", "http://prometheus:9090/graph"):
            assert words in done.stdout
    for command in (["incidents"], ["explain", "support-copilot.7"], ["explain", "support-copilot"]):
        said = shell(*command).stdout
        assert "by alert CopilotErrors" in said
        assert "by itself" not in said


def test_a_name_that_is_no_rollout_is_refused(shell: Shell) -> None:
    """A rollout without an incident is told from a name that nothing has."""
    lived(shell)
    (shell.rules / "new.yaml").write_text(RULES.replace("rollout: copilot", "rollout: not-armed-yet"))
    shell("end", "copilot", "--yes")
    for command in (["incidents", "--rollout", "typo"], ["drill", "typo", "--last"], ["drill", "typo", "--list"]):
        for form in ([], ["--json"]):
            done = shell(*command, *form)
            assert (done.exit_code, done.stdout) == (2, "")
            assert "no rollout is called 'typo'; known rollouts: copilot, not-armed-yet" in done.stderr
    assert "no incident" in shell("incidents", "--rollout", "not-armed-yet").stdout
    assert shell.json("drill", "copilot", "--list") == {"drills": []}


def test_the_id_of_a_drill_says_how_to_see_it(shell: Shell) -> None:
    lived(shell)
    drill = "copilot.drill-3"
    for command in (
        ["explain", drill], ["explain", "--incident", drill], ["explain", "copilot", "--incident", drill],
        ["explain", "copilot", "--incident", "drill-3"], ["incident", "show", drill],
    ):  # fmt: skip
        done = shell(*command)
        assert done.exit_code == 2
        assert f"'{drill}' is the id of a drill" in done.stderr
        assert "`killswitch drill copilot --last`" in done.stderr


def test_each_form_is_printed_alone(shell: Shell) -> None:
    lived(shell)
    assert shell("incident", "show", "copilot.1", "--md").stdout.startswith("# Incident copilot.1: ")
    assert shell("incident", "show", "copilot.1", "--html").stdout.startswith("<!doctype html>")
    assert shell.json("incident", "show", "support-copilot.7")["took_seconds"]["first_bad_request_to_trip"] > 100
    both = shell("incident", "show", "copilot.1", "--md", "--html")
    assert both.exit_code == 2
    assert "give only one of --md, --html and --json" in both.output


def test_an_unknown_incident_names_those_there_are(shell: Shell) -> None:
    lived(shell)
    for name in ("copilot.9", "copilot", "../../x.1"):
        done = shell("incident", "show", name)
        assert done.exit_code == 2
        assert "`killswitch incidents` lists all" in done.output
    assert "those of this rollout: copilot.1" in shell("incident", "show", "copilot.9").output


def test_documents_that_cannot_be_read_cost_no_other(shell: Shell) -> None:
    lived(shell)
    broken = (keys.incident("copilot", 2), keys.incident_trend("copilot", 1), keys.outbox("copilot.1"))
    put(shell, *(Put(key, b"garbage") for key in broken), Put(keys.flag("copilot"), b"garbage"))
    listed = shell("incidents")
    assert "copilot.2 cannot be read" in listed.stderr
    assert "copilot.1  " in listed.stdout
    done = shell("incident", "show", "copilot.1")
    assert done.exit_code == 0, done.output
    for what in ("both cohorts around the trip: ", "the page's deliveries: ", "the flag as it is now: "):
        assert what in done.stdout
    assert shell("incident", "show", "copilot.2").exit_code == 2


def test_a_terminal_does_not_obey_an_incident(shell: Shell) -> None:
    evil = "x\x1b[2J\u202e\r\nfake line"
    put(shell, Put(keys.incident("support-copilot", 7), to_document(proven_incident(reason=evil, by=evil))))
    for form in ([], ["--md"], ["--html"], ["--json"]):
        done = shell("incident", "show", "support-copilot.7", *form)
        assert done.exit_code == 0
        assert "\x1b" not in done.stdout
        assert "\u202e" not in done.stdout
    assert json.loads(shell("incident", "show", "support-copilot.7", "--json").stdout)
