"""`killswitch explain`: incidents of now and of earlier, with and without a controller."""

from __future__ import annotations

import json
import re

import pytest

from killswitch.cli.newest_status import unjudged
from killswitch.stores import Put, keys
from killswitch.stores.opening import open_store
from tests.doubles.http_double import Answer, HttpDouble
from tests.unit.cli.shell import Shell


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
    missing = shell("explain", "copilot.9")
    assert (missing.exit_code, "has no incident 'copilot.9'; it has copilot.2" in missing.stderr) == (2, True)
    assert "no flag" not in missing.stderr


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
