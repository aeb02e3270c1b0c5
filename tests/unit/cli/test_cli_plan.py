"""`killswitch plan` and `killswitch ready`: from rule files, the store and a controller, and what is missing."""

from __future__ import annotations

import json
import math
import os
import pwd
import time
from typing import Any

import pytest

from killswitch.cli import status
from killswitch.cli.newest_status import unjudged
from killswitch.model import Counts
from killswitch.ramps.gate_inputs import Hold
from killswitch.ramps.records import hold_document
from killswitch.stores import Delete, Put, keys
from killswitch.stores.opening import open_store
from killswitch.timestamps import to_iso
from tests.doubles.pages import PLANNED
from tests.unit.cli.plans import DAY, FINDING, PLAN, documents, judging, put, watched_for
from tests.unit.cli.shell import RULES, Shell

TIMELINE = {"advance": "proposed", **PLANNED}
CSAT = {
    "signal": "csat", "verdict": "UNKNOWN", "sentence": "csat unknown (STALE): no rows of yesterday",
    "words": {"canary": "-", "control": "-", "worse": "-", "limit": "3", "age": "2h"},
}  # fmt: skip


APPROVED = PLAN.replace("{stage: ramp_1, for: 24h}", '{stage: ramp_1, for: 24h, approve: ["@llm-leads"]}')


def test_a_rollout_that_may_go_on_is_ready(planned: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    watched_for(planned, 2 * DAY)
    judging(monkeypatch)
    document = planned.json("ready", "copilot")
    assert {check["outcome"] for check in document["checks"]} == {"PASS"}
    assert (document["ready"], document["next"]) == (True, "ramp_5")
    assert "control served 14,850 requests in 5m" in planned("ready", "copilot").output


def test_one_that_may_not_exits_with_1_and_says_when(planned: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    watched_for(planned, DAY / 2)
    judging(monkeypatch)
    said = planned("ready", "copilot")
    assert said.exit_code == 1
    assert "NOT_YET  12h" in said.output
    assert "judged for 12h of 1d; 12h are missing, in about 12h at today's traffic" in said.output


def test_ready_says_what_a_day_of_little_traffic_could_show(planned: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day of 1 % at 0.2 requests/s: `for` is over, and every rule is HEALTHY."""
    watched_for(planned, DAY + 60.0, canary=Counts(2.0, 173.0))
    judging(monkeypatch)
    said = planned("ready", "copilot").output
    assert "its requests would have shown, of control's value: error_rate from 10x" in said
    document = planned.json("ready", "copilot")
    assert "error_rate from 10x; next is ramp_5 with 5%" in document["why"]


def test_without_a_controller_nothing_is_ready(planned: Shell) -> None:
    watched_for(planned, 2 * DAY)
    said = planned("ready", "copilot")
    assert said.exit_code == 1
    assert "no controller answers" in said.output


@pytest.mark.parametrize("changes", [{"generation": 2}, {"stage": "ramp_5"}, {"state": "tripped"}], ids=str)
def test_verdicts_about_another_stage_are_none(
    planned: Shell, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    watched_for(planned, 2 * DAY)
    judging(monkeypatch, **changes)
    said = planned("ready", "copilot")
    assert said.exit_code == 1
    assert "the controller has not judged this stage yet" in said.output


def test_a_controller_of_another_store_is_no_proof(planned: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that leads to staging, where a rollout of this name is in the same stage and well."""
    watched_for(planned, 2 * DAY)
    judging(monkeypatch)
    assert planned("ready", "copilot").exit_code == 0
    store = open_store(planned.store)
    store.commit((), (Delete(keys.controller("r0")), Put(keys.controller("r7"), b"{}")))
    store.close()
    said = planned("advance", "copilot", "--yes")
    assert said.exit_code == 2
    assert "is r0, which is not alive in this flag store (there: r7)" in said.output


@pytest.mark.parametrize("findings", [None, [{}], [{"rule": "a", "verdict": "FINE"}], "x"], ids=str)
def test_a_controller_that_answers_nonsense_is_no_proof(
    planned: Shell, monkeypatch: pytest.MonkeyPatch, findings: object
) -> None:
    watched_for(planned, 2 * DAY)
    judging(monkeypatch, findings=findings)
    said = planned("ready", "copilot")
    assert said.exit_code == 1
    assert "is not a controller of this version" in said.output


def test_a_hold_and_a_spoiled_record_are_shown(planned: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    watched_for(planned, 2 * DAY)
    judging(monkeypatch)
    hold = hold_document(Hold("wait for \x1b[2Jlegal", "ann@laptop"), rollout="copilot", at=time.time())
    put(planned, Put(keys.hold("copilot"), hold))
    said = planned("ready", "copilot")
    assert said.exit_code == 1
    assert "ann@laptop holds it" in said.output
    assert "\x1b[2J" not in said.output
    put(planned, Put(keys.hold("copilot"), b"{}"))
    assert "whether someone holds it is not known" in planned("ready", "copilot").output


def test_the_timeline_shows_stages_dates_and_why(planned: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    watched_for(planned, DAY / 2)
    judging(monkeypatch)
    document = planned.json("plan", "copilot")
    assert [row["standing"] for row in document["stages"]] == ["now", "to come", "to come"]
    assert document["why"].startswith("watched: judged for 12h of 1d")
    said = planned("plan", "copilot")
    assert said.exit_code == 0
    assert "the next step is proposed" in said.output


def test_the_status_shows_the_plan_of_the_stage_that_the_flag_is_in(
    planned: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A controller's timeline is about the stage that it has judged, and the flag in the store is newer."""
    watched_for(planned, DAY / 2)
    one = {
        **unjudged("copilot"),
        "state": "armed",
        "generation": 1,
        "stage": "ramp_1",
        "plan": TIMELINE,
        "slow": [CSAT],
    }
    document = {"tick": to_iso(math.ceil(time.time())), "age_seconds": 3.0, "rollouts": [one]}
    monkeypatch.setattr(status, "ask", lambda _url, _path: document)
    assert planned.json("status")["rollouts"][0]["plan"] == TIMELINE
    said = planned("status").output
    assert ["ramp_5", "5%", "1d", "now", "2026-04-19", "14:22", "2026-04-20", "14:22"] in map(
        str.split, said.splitlines()
    )
    assert "plan: watched: judged for 12h of 1d" in said
    assert "csat: unknown (stale): no rows of yesterday" in said
    assert planned("stage", "copilot", "--percent", "3", "--yes").exit_code == 0
    shown = planned.json("status")["rollouts"][0]
    assert (shown["plan"], shown["slow"]) == (None, [CSAT])


def test_a_simulated_stage_that_is_never_judged_says_so(planned: Shell) -> None:
    said = planned("plan", "copilot", "--simulate", "--rate", "5/s").output
    assert "ramp_1: judged for 0% of the time, since a cohort often has fewer than 100 requests in 5m" in said
    assert "in 5m; write `window: 1h`" in said
    assert "never ends" in said
    assert "full: waits until someone says that control can take all traffic at once; write `control_capacity" in said
    text = (planned.rules / "copilot.yaml").read_text().replace("plan:\n", "plan:\n  control_capacity: 80/s\n")
    (planned.rules / "copilot.yaml").write_text(text)
    assert "waits until someone" not in planned("plan", "copilot", "--simulate", "--rate", "5/s").output


def test_a_plan_is_simulated_before_anything_is_armed(planned: Shell) -> None:
    (planned.rules / "copilot.yaml").write_text(f"window: 1d\n{RULES}{PLAN}")
    document = planned.json("plan", "copilot", "--simulate", "--rate", "0.2/s", "--users", "1000")
    assert document["rate"] == 0.2
    first, second, last = document["stages"]
    assert (first["canary_users"], first["takes_seconds"]) == (10, DAY)
    assert second["takes_seconds"] > 2 * DAY
    assert last["begins"] == second["ends"]
    said = planned("plan", "copilot", "--simulate", "--rate", "0.2/s").output
    assert "ramp_5: error_rate 2x shows after 2d8h, longer than `for` (1d)" in said


def test_what_cannot_be_shown_says_what_to_do(planned: Shell) -> None:
    assert "--simulate needs the traffic: add --rate 50/s" in planned("plan", "copilot", "--simulate").output
    assert "--rate: '5' is not a rate" in planned("plan", "copilot", "--simulate", "--rate", "5").output
    assert "need --simulate" in planned("plan", "copilot", "--rate", "5/s").output
    assert "need --simulate" in planned("plan", "copilot", "--prometheus", "http://127.0.0.1:1").output
    both = planned("plan", "copilot", "--simulate", "--rate", "5/s", "--prometheus", "http://127.0.0.1:1")
    assert "and so does a history; give one" in both.output
    assert "killswitch arm copilot" in planned("plan", "copilot").output
    (planned.rules / "copilot.yaml").write_text(RULES)
    for command in ("plan", "ready"):
        said = planned(command, "copilot")
        assert said.exit_code == 2
        assert "copilot has no plan; add `plan: default` to" in said.output


# --- what people do -----------------------------------------------------------------------------


def test_a_step_whose_gate_passes_is_taken_and_recorded(planned: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    watched_for(planned, 2 * DAY)
    judging(monkeypatch)
    said = planned("advance", "copilot", "--yes")
    assert said.exit_code == 0, said.output
    assert "copilot: stage ramp_5, 5% canary" in said.output
    (record,) = documents(planned, keys.advances("copilot", 1))
    assert (record["from_stage"], record["to_stage"], record["automatic"]) == ("ramp_1", "ramp_5", False)
    assert {check["outcome"] for check in record["checks"]} == {"PASS"}
    (entry,) = documents(planned, keys.OUTBOX)
    assert "went from ramp_1 to ramp_5, 5%" in json.dumps(entry)
    assert "every check of ramp_1 passes; its requests would have shown" in json.dumps(entry)
    assert "killswitch advance" not in json.dumps(entry)  # it is taken
    again = planned("advance", "copilot", "--yes")
    assert again.exit_code == 2
    assert "copilot may not go on" in again.output


def test_a_canary_that_is_bad_by_the_answer_is_not_raised(planned: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The question may wait for hours; a dry run, a blind controller or one that has ended trips nothing meanwhile."""
    watched_for(planned, 2 * DAY)
    bad = {"verdict": "BREACH", "sentence": "40 % errors"}
    judging(monkeypatch, at_first=1, findings=[{**FINDING, **bad}])
    said = planned("advance", "copilot", answer="y\n")
    assert (said.exit_code, "copilot may not go on: breach: 40 % errors" in said.output) == (2, True), said.output
    assert documents(planned, keys.ADVANCES) == []


def test_a_person_goes_on_only_with_a_reason(planned: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    watched_for(planned, DAY / 2)
    judging(monkeypatch)
    refused = planned("advance", "copilot", "--yes")
    assert refused.exit_code == 2
    assert "12h are missing" in refused.output
    assert planned("advance", "copilot", "--yes", "--despite", " ").exit_code == 2
    assert documents(planned, keys.advances("copilot", 1)) == []
    taken = planned("advance", "copilot", "--to", "full", "--yes", "--despite", "the old model is retired today")
    assert taken.exit_code == 0, taken.output
    (record,) = documents(planned, keys.advances("copilot", 1))
    assert (record["to_stage"], record["despite"]) == ("full", "the old model is retired today")
    assert "NOT_YET" in {check["outcome"] for check in record["checks"]}
    assert "despite its gate, because the old model is retired today" in json.dumps(documents(planned, keys.OUTBOX))


def test_a_step_against_the_gate_is_paged_if_no_controller_lives(planned: Shell) -> None:
    """Its page would wait in the outbox for the next controller, and its canary is watched by no one."""
    watched_for(planned, DAY / 2)
    store = open_store(planned.store)
    store.commit((), (Delete(keys.controller("r0")),))
    store.close()
    done = planned("advance", "copilot", "--despite", "all are ill", "--yes")
    assert done.exit_code == 0, done.output
    assert "no controller is alive: without `killswitch run`, no one notices a bad canary" in done.stderr
    assert "so this command paged" in done.stdout
    assert "despite its gate, because all are ill" in done.output


def test_a_stage_is_skipped_only_with_a_reason(planned: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    watched_for(planned, 2 * DAY)
    judging(monkeypatch)
    said = planned("advance", "copilot", "--to", "full", "--yes")
    assert (said.exit_code, "to skip ahead add --despite" in said.output) == (2, True)
    assert "ramp_9 is no stage of the plan" in planned("advance", "copilot", "--to", "ramp_9", "--yes").output
    back = planned("advance", "copilot", "--to", "ramp_1", "--yes", "--despite", "x")
    assert "to go down use `killswitch stage copilot ramp_1`" in back.output


def test_a_held_plan_goes_on_once_someone_resumes_it(planned: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    watched_for(planned, 2 * DAY)
    judging(monkeypatch)
    assert planned("hold", "copilot", "--reason", "the database moves", "--yes").exit_code == 0
    assert "is held already" in planned("hold", "copilot", "--reason", "me too", "--yes").output
    refused = planned("advance", "copilot", "--yes")
    assert (refused.exit_code, "holds it: the database moves" in refused.output) == (2, True)
    assert "the database moves" in planned("resume", "copilot", "--yes").output
    assert "copilot is not held" in planned("resume", "copilot", "--yes").output
    assert planned("advance", "copilot", "--yes").exit_code == 0


def test_a_spoiled_hold_can_be_resumed(planned: Shell) -> None:
    watched_for(planned, 2 * DAY)
    put(planned, Put(keys.hold("copilot"), b"\xff"))
    said = planned("resume", "copilot", "--yes")
    assert (said.exit_code, "cannot be read" in said.output) == (0, True)
    assert documents(planned, keys.HOLDS) == []


def test_an_approval_is_of_the_plans_names_alone(planned: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    (planned.rules / "copilot.yaml").write_text(RULES + APPROVED)
    watched_for(planned, 2 * DAY)
    judging(monkeypatch)
    assert planned("ready", "copilot").exit_code == 1
    wrong = planned("approve", "copilot", "--as", "@others", "--yes")
    assert (wrong.exit_code, "asks for the approval of @llm-leads" in wrong.output) == (2, True)
    (planned.rules / "copilot.yaml").write_text(
        RULES + PLAN.replace("{stage: ramp_5, for: 24h", '{stage: ramp_5, for: 24h, approve: ["@llm-leads"]')
    )
    early = planned("approve", "copilot", "--as", "@llm-leads", "--yes").output
    assert "of no one, not of @llm-leads; ramp_5 asks for it: repeat this once the rollout is there" in early
    (planned.rules / "copilot.yaml").write_text(RULES + APPROVED)
    assert planned("approve", "copilot", "--as", "@llm-leads", "--yes").exit_code == 0
    assert planned("ready", "copilot").exit_code == 0
    (document,) = documents(planned, keys.APPROVALS)
    assert document["approvals"][0]["stage"] == "ramp_1"


def test_an_approval_names_the_account_not_a_variable(planned: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anyone can set LOGNAME, and could so approve in the name of another."""
    (planned.rules / "copilot.yaml").write_text(RULES + APPROVED)
    watched_for(planned, 2 * DAY)
    judging(monkeypatch)
    done = planned("approve", "copilot", "--as", "@llm-leads", "--yes", LOGNAME="ceo", USER="ceo")
    assert done.exit_code == 0, done.output
    (document,) = documents(planned, keys.APPROVALS)
    assert document["approvals"][0]["by"].partition("@")[0] == pwd.getpwuid(os.getuid()).pw_name


def test_no_is_no(planned: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    watched_for(planned, 2 * DAY)
    judging(monkeypatch)
    for command in (("advance",), ("hold", "--reason", "r")):
        assert planned(command[0], "copilot", *command[1:], answer="n\n").exit_code == 1
    assert documents(planned, keys.HOLDS) == documents(planned, keys.ADVANCES) == []
