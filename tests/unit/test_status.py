"""The status as a document, a page and a table: what a cycle said, escaped and whole."""

from __future__ import annotations

import json
from dataclasses import replace

from rich.console import Console

from killswitch.findings_table import findings_table
from killswitch.incident import finding_to_json
from killswitch.reports import CycleReport, RolloutReport, idle
from killswitch.self_metrics import SelfMetrics
from killswitch.status import explain_document, status_document
from killswitch.status_page import status_page
from tests.doubles.pages import AT, BREACH, HEALTHY, UNKNOWN, armed
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


def test_the_document_holds_every_rollout_with_flag_sentence_and_findings() -> None:
    document = json.loads(json.dumps(status_document("a", report(), 4.04), allow_nan=False))
    assert (document["controller"], document["age_seconds"], document["cycle_seconds"]) == ("a", 4.0, 0.123)
    idle_one, one = document["rollouts"]
    assert (idle_one["state"], idle_one["canary_percent"], idle_one["findings"]) == ("absent", 0.0, [])
    assert (one["state"], one["generation"], one["last_good"]) == ("armed", 1, "2026-04-19T14:21:41Z")
    assert [finding["verdict"] for finding in one["findings"]] == ["BREACH", "HEALTHY", "UNKNOWN"]


def test_explain_adds_how_it_was_judged_and_the_queries() -> None:
    document = explain_document(report(), "support-copilot")
    assert document["judged"]["decide"] == "evidence"
    assert document["findings"][0]["queries"] == list(BREACH.queries)
    assert "judged" in explain_document(report(), "idle")


def test_the_page_shows_values_limits_and_evidence_and_escapes_everything() -> None:
    document = status_document(HOSTILE, replace(report(HOSTILE), store_problem=HOSTILE, source_problem=HOSTILE), 1.0)
    document["rollouts"][1]["findings"][0] |= {"rule": HOSTILE, "sentence": HOSTILE}
    document["rollouts"][1] |= {"rollout": HOSTILE, "canary": HOSTILE, "stage": HOSTILE}
    page = status_page(document)
    assert "<script" not in page
    for words in ("8.7%", "1.1%", "6.1%", "1,842 / 35,160", "1 in 410 of 1 in 400", "2.41 s"):
        assert words in page


def test_the_table_shows_the_same_in_a_terminal_and_takes_no_markup_from_data() -> None:
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
