"""`killswitch slow`: the table, the picture, the document and the exit code, from a folder of Parquet files."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from killswitch.flags.document import to_document
from killswitch.flags.incident import IncidentDraft
from killswitch.flags.incident import to_document as incident_document
from killswitch.model import Finding, Unit, Verdict
from killswitch.stores import Put, keys
from killswitch.stores.opening import open_store
from tests.doubles.warehouses import ROLLOUT, People, at, write_parquet
from tests.unit.cli.shell import Shell

PEOPLE = People(users=1200)
NOW = str(at(PEOPLE.days, 7.0))
SECTION = """\
slow:
  source: duckdb:///{folder}
  users: {{query: "select user_id, day, csat from csat where day >= :since", user: user_id, day: day}}
  signals:
    csat: {{column: csat, range: [0, 100], max_drop: 3}}
"""


def put_flag(shell: Shell, people: People) -> None:
    store = open_store(shell.store)
    store.commit((), [Put(keys.flag(ROLLOUT), to_document(people.flag))])
    store.close()


def write(shell: Shell, folder: Path, people: People, section: str = SECTION) -> None:
    head = f"rollout: {ROLLOUT}\ncontrol: model-old\ncanary: model-new\n"
    (shell.rules / "copilot.yaml").write_text(head + section.format(folder=folder))
    write_parquet(folder / "csat.parquet", people.rows())
    put_flag(shell, people)


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def test_a_healthy_canary_is_shown_with_both_verdicts(shell: Shell, warehouse: Path) -> None:
    write(shell, warehouse, PEOPLE)
    shown = shell("slow", ROLLOUT, "--at", NOW, "--days", "3")
    assert shown.exit_code == 0
    lines = shown.output.splitlines()
    assert lines[0] == "evaluated for 2026-11-14 06:00:00 UTC"
    assert lines[1].split() == ["signal", "evidence", "literal", "rule", "difference", "99", "%", "interval", "limit"]
    assert lines[2].split()[:3] == ["csat", "HEALTHY", "HEALTHY"]
    assert [line[:10] for line in lines if line.startswith("2026-")] == ["2026-11-10", "2026-11-11", "2026-11-12"]
    assert "6 lower would be proven after" in shown.output
    assert "the literal rule pins a healthy canary within a week in" in shown.output
    assert "user-days on the day of a change of cohort" in shown.output


def test_a_breach_exits_with_1_and_draws(shell: Shell, warehouse: Path, tmp_path: Path) -> None:
    write(shell, warehouse, People(users=1200, drop=15.0))
    shown = shell("slow", ROLLOUT, "--at", NOW, "--svg", str(tmp_path / "slow.svg"))
    assert shown.exit_code == 1
    assert "csat    BREACH    BREACH" in shown.output
    assert ET.fromstring((tmp_path / "slow.svg").read_text()).tag.endswith("svg")


def test_the_document_has_both_verdicts_and_the_days(shell: Shell, warehouse: Path) -> None:
    write(shell, warehouse, PEOPLE)
    shown = shell("slow", ROLLOUT, "--at", NOW, "--json", "--explain", "--days", "2")
    (finding,) = json.loads(shown.stdout)["findings"]
    assert (finding["verdict"], finding["by_evidence"]["verdict"], finding["literal_rule"]["verdict"]) == (
        "HEALTHY",
    ) * 3
    assert [day["day"] for day in finding["days"]] == ["2026-11-11", "2026-11-12"]
    (split,) = finding["split"]
    assert split["share"] == pytest.approx(0.2)
    assert split["canary_users"] / (split["canary_users"] + split["control_users"]) == pytest.approx(0.2, abs=0.04)
    assert (
        "users in the canary, the flag's history says 20.00%" in shell("slow", ROLLOUT, "--at", NOW, "--explain").output
    )
    assert finding["statement"].startswith("select user_id")
    assert finding["interval"][0] < finding["worse_by"] < finding["interval"][1]


def test_an_unreadable_warehouse_exits_with_3(shell: Shell, warehouse: Path) -> None:
    write(shell, warehouse, PEOPLE)
    (warehouse / "csat.parquet").unlink()
    shown = shell("slow", ROLLOUT, "--at", NOW, "--explain")
    assert shown.exit_code == 3
    assert "csat unknown (SOURCE_REFUSED)" in shown.output
    assert "0 to 20 % of users are in the canary since 2026-11-02T10:00:00Z (generation 1)" in shown.output


def test_a_rule_file_without_the_section_says_what_to_add(shell: Shell, warehouse: Path) -> None:
    write(shell, warehouse, PEOPLE, "")
    shown = shell("slow", ROLLOUT)
    assert shown.exit_code == 2
    assert f"{ROLLOUT}: its rule file has no section `slow`; add one, see docs/rules.md" in shown.output


def test_before_anyone_is_exposed_it_says_what_could_be_seen(shell: Shell, warehouse: Path) -> None:
    """At this traffic: how often the literal rule pins a healthy canary, and from which percent on it works."""
    write(shell, warehouse, PEOPLE)
    (shell.folder / "flags.sqlite").unlink()
    shown = shell("slow", ROLLOUT, "--at", NOW)
    assert shown.exit_code == 3
    lines = shown.output.splitlines()
    assert lines[0].startswith("No user has been exposed to the canary yet")
    assert re.match(r"csat: [56]\d\d users a day with a value, standard deviation (19|20)\.\d\d", lines[2])
    assert [line.split()[:2] for line in lines[4:8]] == [["1", "%"], ["5", "%"], ["25", "%"], ["50", "%"]]
    assert lines[-1] == "the literal rule works from 33 % of users on"
    document = json.loads(shell("slow", ROLLOUT, "--at", NOW, "--json").stdout)
    (outlook,) = document["outlook"]
    chances = [row["literal_false_pins_a_week"] for row in outlook["at"]]
    assert sorted(chances, reverse=True) == chances
    assert chances[0] > 0.4


def test_without_a_warehouse_there_is_no_outlook(shell: Shell, warehouse: Path) -> None:
    write(shell, warehouse, PEOPLE)
    (shell.folder / "flags.sqlite").unlink()
    (warehouse / "csat.parquet").unlink()
    shown = shell("slow", ROLLOUT, "--at", NOW)
    assert shown.exit_code == 3
    assert "csat unknown (SOURCE_REFUSED)" in shown.output


def test_explain_says_that_a_slow_signal_pinned(shell: Shell, warehouse: Path) -> None:
    """It counts users and no requests, and hours between a day and its pin are no delay of a flip."""
    write(shell, warehouse, PEOPLE)
    finding = Finding(
        "slow.csat", Verdict.BREACH, None, "lower", Unit.NUMBER, canary=61.0, control=70.0, limit=67.0,
        samples_canary=880.0, samples_control=3304.0,
    )  # fmt: skip
    draft = IncidentDraft(
        rollout=ROLLOUT, automatic=True, by="a", reason="csat 61", rules=("slow.csat",), findings=(finding,),
        decided_at=at(12.0), tick=at(12.0, 6.0), latency=14_400.0,
    )  # fmt: skip
    store = open_store(shell.store)
    store.commit((), [Put(keys.incident(ROLLOUT, 1), incident_document(draft.on(PEOPLE.flag)))])
    store.close()
    shown = shell("explain", f"{ROLLOUT}.1").output
    assert f"{ROLLOUT}: pinned by itself at 2026-11-14T10:00:00Z" in shown
    assert "evaluated for" in shown
    assert "tick" not in shown
    assert "880/3,304 users" in shown


def test_after_an_unpin_it_says_which_day_counts_first(shell: Shell, warehouse: Path) -> None:
    """The warehouse has rows, but all of them are of before."""
    write(shell, warehouse, PEOPLE)
    store = open_store(shell.store)
    unpinned = replace(PEOPLE.flag, unpinned_at=at(12.0, 9.0))
    store.commit((), [Put(keys.flag(ROLLOUT), to_document(unpinned))])
    store.close()
    shown = shell("slow", ROLLOUT, "--at", str(at(12.0, 10.0)))
    assert shown.exit_code == 3
    assert "csat unknown (SETTLING)" in shown.output
    assert "2026-11-15 will be the first day to count" in shown.output
