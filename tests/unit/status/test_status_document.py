"""The status as a document, a page and a table: what a cycle said, escaped and whole."""

from __future__ import annotations

import json
from dataclasses import replace

from rich.console import Console

from killswitch.flags.flag import trip
from killswitch.flags.incident import finding_to_json
from killswitch.flags.transitions import Actor
from killswitch.model import Reason, Verdict
from killswitch.spend.books import Book
from killswitch.spend.caps import Cap, Period
from killswitch.spend.standing import CapStanding, Standing
from killswitch.status.document import explain_document, status_document, status_json
from killswitch.status.reports import CycleReport, RolloutReport, idle
from killswitch.status.self_metrics import SelfMetrics
from killswitch.status.table import findings_table
from killswitch.status.web_page import status_page
from killswitch.timestamps import to_iso
from killswitch.wording import reasons_in_words
from tests.doubles.pages import AT, BREACH, HEALTHY, UNKNOWN, armed, incident
from tests.doubles.scripted_source import rollout

HOSTILE = "<script>alert(1)</script>\x1b[31m"


def report(sentence: str = "4 of 4 rules healthy") -> CycleReport:
    one = RolloutReport(
        "support-copilot", sentence, "hold", armed(), rollout("support-copilot"), (BREACH, HEALTHY, UNKNOWN), AT - 30
    )
    return CycleReport(AT, 1000.0, 0.1234, {"support-copilot": one, "idle": idle("idle", None, rollout("idle"))})


def test_before_the_first_cycle_there_is_a_document_too() -> None:
    document = status_document("a", None, None)
    assert document["rollouts"] == []
    assert "No cycle has finished yet." in status_page(document)


def test_the_json_is_the_document() -> None:
    for one, age in ((report(), 4.04), (replace(report(HOSTILE), reports={}), None), (None, None)):
        assert json.loads(status_json("a", one, age)) == json.loads(json.dumps(status_document("a", one, age)))


def test_the_document_has_every_rollout() -> None:
    """The document holds every rollout with flag sentence and findings."""
    document = json.loads(json.dumps(status_document("a", report(), 4.04), allow_nan=False))
    assert (document["controller"], document["age_seconds"], document["cycle_seconds"]) == ("a", 4.0, 0.123)
    idle_one, one = document["rollouts"]
    assert (idle_one["state"], idle_one["canary_percent"], idle_one["findings"]) == ("absent", 0.0, [])
    assert (one["state"], one["generation"], one["last_good"]) == ("armed", 1, "2026-04-19T14:21:41Z")
    assert [finding["verdict"] for finding in one["findings"]] == ["BREACH", "HEALTHY", "UNKNOWN"]


def test_caps_are_in_the_document_and_on_the_page() -> None:
    """What is not known of a cap is said plainly, and escaped."""
    book = Book.begin(Cap("rollout:support-copilot", Period.DAY, hard=50_000_000), AT)
    caps = (
        CapStanding("rollout:support-copilot", "day", Standing(book, AT), f"no price of {HOSTILE}"),
        CapStanding("shadow:support-copilot", "day", Standing(replace(book, scope="shadow:support-copilot"), AT)),
    )
    one = report()
    capped = replace(one.reports["support-copilot"], caps=caps)
    document = status_document("a", replace(one, reports={"support-copilot": capped}), 4.0)
    live, shadow = document["rollouts"][0]["spend"]
    assert (live["used_micros"], live["hard_micros"], shadow["unknown"]) == (0, 50_000_000, None)
    assert live["line"].startswith(
        "rollout:support-copilot per day: UNKNOWN, at least $0.00 used, hard $50.00: no price"
    )
    page = status_page(document)
    assert "shadow:support-copilot per day: $0.00 used, hard $50.00; cap not reached before" in page
    assert HOSTILE not in page


def test_explain_adds_how_it_was_judged_and_the_queries() -> None:
    document = explain_document(report(), "support-copilot")
    assert document["judged"]["decide"] == "evidence"
    assert document["findings"][0]["queries"] == list(BREACH.queries)
    assert "judged" in explain_document(report(), "idle")


def test_the_page_shows_the_rules_and_escapes_everything() -> None:
    """The page shows values limits and evidence and escapes everything."""
    document = status_document(HOSTILE, replace(report(HOSTILE), store_problem=HOSTILE, source_problem=HOSTILE), 1.0)
    document["rollouts"][1]["findings"][0] |= {"rule": HOSTILE, "sentence": HOSTILE}
    document["rollouts"][1] |= {"rollout": HOSTILE, "canary": HOSTILE, "stage": HOSTILE}
    page = status_page(document)
    assert "<script" not in page
    for words in ("8.7%", "1.1%", "6.1%", "1,842 / 35,160", "1 in 410 (trips at 1 in 400)", "2.41 s"):
        assert words in page


def tripped_report() -> CycleReport:
    was = armed()
    flag = trip(
        was, rollout=was.rollout, reason=BREACH.sentence, rules=("refusal_rate",), incident="support-copilot.1",
        now=AT, by="controller-a", actor=Actor.CONTROLLER,
    )  # fmt: skip
    one = idle(was.rollout, flag, rollout(was.rollout))
    return CycleReport(AT, 1000.0, 0.1, {was.rollout: one, "idle": idle("idle", None, rollout("idle"))})


def test_a_tripped_rollout_shows_its_rules_as_of_the_trip() -> None:
    """A tripped rollout shows its rules as of the trip its incident and what to type next."""
    page = status_page(status_document("a", tripped_report(), 1.0, {"support-copilot": incident(generation=1)}))
    for words in (
        "the rules as of the trip", "last 5m", "8.7%", "1,842 / 35,160", "2.41 s", "support-copilot.1",
        "by itself, controller controller-a, at 2026-04-19 14:22:11 UTC", "before, 5% went to model-new",
        "<code>killswitch explain support-copilot</code>", "<code>killswitch rearm support-copilot --reason",
        "rollouts: 1 tripped, 1 without a flag",
    ):  # fmt: skip
        assert words in page
    assert page.index("support-copilot") < page.index("idle")


def test_a_trip_is_at_the_time_that_its_page_and_incident_say() -> None:
    """The flag has the tick, some seconds before the decision: two pages of one trip gave two times."""
    decided = incident(generation=1, decided_at=AT + 5)
    said = status_document("a", tripped_report(), 1.0, {"support-copilot": decided})["rollouts"]
    assert [one["trip"]["at"] for one in said if one["trip"]] == [to_iso(AT + 5)]


def test_a_trip_without_its_incident_is_shown_without_numbers() -> None:
    """A trip whose incident cannot be read is shown without its numbers."""
    page = status_page(status_document("a", tripped_report(), 1.0))
    assert "refusal_rate 8.7%" in page
    assert "killswitch rearm support-copilot" in page
    assert "<table" not in page


def test_the_page_says_nothing_twice_and_reasons_in_words() -> None:
    few = replace(
        UNKNOWN, reason=Reason.TOO_FEW_REQUESTS, sentence="thumbs_down_rate unknown (TOO_FEW_REQUESTS): canary has 3"
    )
    not_yet = replace(BREACH, verdict=Verdict.SUSPECT, sentence="refusal_rate 7% over 6%; may be luck")
    said = f"[armed g1 ramp_5 5%]: 2 of 3 rules healthy; {not_yet.sentence}; {few.sentence}"
    one = RolloutReport(
        "support-copilot", said, "hold", armed(), rollout("support-copilot"), (not_yet, HEALTHY, few), AT, 300.0
    )
    page = status_page(status_document("a", CycleReport(AT, 1000.0, 0.1, {"support-copilot": one}), 1.0))
    assert "<p>2 of 3 rules healthy</p>" in page
    assert page.count("<b>refusal_rate</b>: 7% over 6%; may be luck") == 1
    assert page.count("canary has 3") == 1
    assert HEALTHY.sentence not in page  # its numbers stand in its row
    assert "UNKNOWN, too few requests" in page
    assert '<td role=cell class="SUSPECT" data-label="verdict"><span>SUSPECT' in page
    assert ".SUSPECT, .watch { color: var(--warn)" in page
    assert "TOO_FEW" not in page
    assert "the last 5m" in page


def test_a_shared_reason_is_shown_once_below_the_table() -> None:
    """A reason that several rules share stands once below the table."""
    waiting = [
        replace(UNKNOWN, rule=name, reason=Reason.WARMING_UP, sentence=f"{name} unknown (WARMING_UP): wait an hour")
        for name in ("a", "b")
    ]
    one = RolloutReport("x", "[armed g1 ramp_5 5%]: TRIP: c", "trip", armed(), rollout("x"), tuple(waiting), AT, 300.0)
    page = status_page(status_document("a", CycleReport(AT, 1000.0, 0.1, {"x": one}), 1.0))
    assert "<p class=why><b>a, b</b>: wait an hour</p>" in page
    assert page.count("wait an hour") == 1


def test_a_reason_in_words_leaves_a_model_of_that_name_alone() -> None:
    assert reasons_in_words("GAP answers for STALE; x unknown (STALE): y; 4 rules GAP: z") == (
        "GAP answers for STALE; x unknown (stale): y; 4 rules gap: z"
    )


def test_the_table_takes_no_markup_from_data() -> None:
    """The table shows the same in a terminal and takes no markup from data."""
    findings = [finding_to_json(replace(BREACH, rule="[red]x[/red]")), finding_to_json(UNKNOWN)]
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123  the console's own
    console.print(findings_table(findings))
    text = console.export_text()
    assert "[red]x[/red]" in text
    assert "8.7%" in text
    assert "412/400" in text


def test_a_rollout_that_is_gone_leaves_no_series_behind() -> None:
    metrics = SelfMetrics("1")
    metrics.findings("copilot", (BREACH, HEALTHY))
    metrics.armed.labels("copilot").set(1)
    labels = {"rollout": "copilot", "rule": "refusal_rate", "verdict": "BREACH"}
    assert metrics.registry.get_sample_value("killswitch_rule_verdict", labels) == 1
    metrics.forget("copilot")
    assert metrics.registry.get_sample_value("killswitch_rule_verdict", labels) is None


def test_a_rule_that_is_gone_leaves_no_verdict_behind() -> None:
    """An alert on a verdict must not fire for ever for a rule that nobody judges any more."""
    metrics = SelfMetrics("1")
    metrics.findings("copilot", (BREACH, HEALTHY))
    metrics.findings("copilot", (HEALTHY,))
    labels = {"rollout": "copilot", "rule": "refusal_rate", "verdict": "BREACH"}
    assert metrics.registry.get_sample_value("killswitch_rule_verdict", labels) is None


def test_what_is_shadowed_is_in_the_document_and_on_the_page() -> None:
    """A class may have any name: it is escaped, and the tag of the sentence has no class's name."""
    flag = replace(armed(), stage="shadow", canary_percent=0.0, shadow_percent=20.0, shadow_classes={"<b>]: x": 100.0})
    one = idle("support-copilot", flag, rollout("support-copilot"))
    document = status_document("a", CycleReport(AT, 1000.0, 0.1, {"support-copilot": one}), 1.0)
    found = document["rollouts"][0]
    assert (found["shadow_percent"], found["shadow_classes"]) == (20.0, {"<b>]: x": 100.0})
    assert one.sentence.startswith("[armed g1 shadow 0%, 20% (other in 1 classes) shadowed]: not judged yet")
    assert "stage shadow, 20% (&lt;b&gt;]: x 100%) of requests shadowed, generation 1" in status_page(document)
