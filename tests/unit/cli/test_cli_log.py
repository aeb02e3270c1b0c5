"""`killswitch log`: who did what to a flag, from where and why, the newest last; hostile texts stay on their line."""

from __future__ import annotations

from killswitch.stores import Put, keys
from killswitch.stores.opening import open_store
from tests.unit.cli.shell import Shell


def told(shell: Shell) -> None:
    """A short life: armed, raised, tripped, re-armed and ended."""
    shell.armed()
    shell("stage", "copilot", "--percent", "10", "--yes")
    shell("trip", "copilot", "--reason", "wrong language", "--yes")
    shell("rearm", "copilot", "--reason", "prompt fixed", "--yes")
    shell("hold", "copilot", "--reason", "wait for legal", "--yes")
    shell("end", "copilot", "--yes")


def test_a_whole_life_is_told_in_order(shell: Shell) -> None:
    told(shell)
    done = shell("log", "copilot")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    deeds = [line.split("  ")[1].split(" by ")[0] for line in lines if not line.startswith("    ")]
    assert deeds == ["arm", "raise", "trip", "rearm", "hold", "end"]
    assert all("(command line" in line for line in lines if not line.startswith("    "))
    for words in (
        "    no flag -> g1 armed, ramp_5, 5% model-new",
        "    g1 armed, ramp_5, 5% model-new -> g1 armed, custom, 10% model-new",
        "    g1 armed, custom, 10% model-new -> g1 tripped, all model-old",
        "    because: wrong language",
        "    because: prompt fixed",
        "    g2 armed, ramp_1, 1% model-new, unchanged",
        "    g2 armed, ramp_1, 1% model-new -> no flag",
    ):
        assert words in lines


def test_in_stage_aa_no_user_got_the_canarys_model(shell: Shell) -> None:
    assert shell("arm", "copilot", "--stage", "aa", "--percent", "5", "--yes").exit_code == 0
    assert "    no flag -> g1 armed, aa, 5% still model-old" in shell("log", "copilot").stdout.splitlines()


def test_as_json_each_line_is_a_document(shell: Shell) -> None:
    told(shell)
    document = shell.json("log", "copilot")
    assert [one["deed"] for one in document] == ["arm", "raise", "trip", "rearm", "hold", "end"]
    assert document[2]["before"]["percent"] == 10.0
    assert document[2]["after"]["state"] == "tripped"
    assert document[5]["after"] is None


def test_since_an_age_or_a_moment(shell: Shell) -> None:
    told(shell)
    assert len(shell.json("log", "copilot", "--since", "1h")) == 6
    assert shell.json("log", "copilot", "--since", "2999-01-01T00:00:00Z") == []
    assert "no change in this time" in shell("log", "copilot", "--since", "2999-01-01T00:00:00Z").stdout
    for wrong in ("7", "yesterday", "2026-04-19", "-1h"):
        done = shell("log", "copilot", f"--since={wrong}")
        assert done.exit_code == 2
        assert "write an age such as 7d" in done.output


def test_a_name_that_never_was_is_said(shell: Shell) -> None:
    done = shell("log", "typo")
    assert done.exit_code == 2
    assert "no history of 'typo' is kept" in done.output
    assert shell("log", "../x").exit_code == 2


def test_a_line_that_cannot_be_read_hides_no_other(shell: Shell) -> None:
    shell.armed()
    store = open_store(shell.store)
    store.commit((), (Put(keys.flag_change("copilot", 1e9, 1, 1, "trip"), b"garbage"),))
    store.close()
    done = shell("log", "copilot")
    assert done.exit_code == 0
    assert "cannot be read" in done.stderr
    assert "arm by" in done.stdout


def test_hostile_texts_stay_on_their_line(shell: Shell) -> None:
    shell.armed()
    shell("trip", "copilot", "--reason", "x\x1b[2J\n2026-01-01 00:00:00 UTC  rearm by root\u202e", "--yes")
    done = shell("log", "copilot")
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    assert not any(line.startswith("2026-01-01 00:00:00") for line in done.stdout.splitlines())
