"""Plans and slow signals in the status: in JSON, as tables, and on the page, escaped; nothing where there is none."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console

from killswitch.status.document import status_document, status_json
from killswitch.status.plan_table import slow_table, timeline_table
from killswitch.status.reports import CycleReport, RolloutReport
from killswitch.status.web_page import status_page
from tests.doubles.html_reader import row_of
from tests.doubles.pages import AT, PLANNED, armed
from tests.doubles.scripted_source import rollout

HOSTILE = "<script>alert(1)</script>"
PLAN = {"advance": "proposed", **PLANNED}
CSAT: dict[str, Any] = {
    "signal": "csat", "verdict": "UNKNOWN", "reason": "STALE", "sentence": f"csat unknown (STALE): no row {HOSTILE}",
    "canary": None, "control": None, "worse": None, "limit": 3.0, "evaluated_at": None, "age_seconds": 7200,
    "unknown_since": None,
    "words": {"canary": "-", "control": "-", "worse": "-", "limit": "3", "age": "2h"},
}  # fmt: skip


@dataclass(frozen=True)
class Shown:
    """Something that the cycle has left for the status."""

    said: dict[str, Any]

    def document(self) -> dict[str, Any]:
        return self.said


def report(plan: dict[str, Any] | None = PLAN, *slow: dict[str, Any]) -> CycleReport:
    one = RolloutReport(
        "support-copilot", "fine", "hold", armed(), rollout("support-copilot"),
        plan=None if plan is None else Shown(plan), slow=tuple(map(Shown, slow)),
    )  # fmt: skip
    return CycleReport(AT, 1000.0, 0.1, {"support-copilot": one})


def test_the_json_has_the_timeline_and_the_signals() -> None:
    document = status_document("a", report(PLAN, CSAT), 4.0)
    (one,) = document["rollouts"]
    assert (one["plan"], one["slow"]) == (PLAN, [CSAT])
    assert json.loads(status_json("a", report(PLAN, CSAT), 4.0)) == json.loads(json.dumps(document))


def test_without_a_plan_and_slow_signals_nothing_is_shown() -> None:
    document = status_document("a", report(None), 4.0)
    assert (document["rollouts"][0]["plan"], document["rollouts"][0]["slow"]) == (None, [])
    page = status_page(document)
    assert "the plan" not in page
    assert "days later" not in page


def test_the_page_has_the_stages_with_dates_and_why() -> None:
    page = status_page(status_document("a", report(PLAN, CSAT), 4.0))
    assert row_of(page, "ramp_5") == ["ramp_5", "5%", "1d", "now", "2026-04-19 14:22", "2026-04-20 14:22"]
    assert '<tr role=row class="now"><th role=rowheader scope=row data-label="stage"><span>ramp_5' in page
    assert "<b>plan</b>: watched: judged for 12h of 1d; 12h are missing" in page
    assert row_of(page, "csat")[:2] == ["csat", "UNKNOWN"]
    assert "<b>csat</b>: unknown (stale): no row" in page


def test_no_text_of_a_plan_or_a_signal_becomes_markup() -> None:
    evil = {**PLAN, "why": f"`{HOSTILE}`", "advance": HOSTILE}
    evil["stages"] = [{**PLANNED["stages"][0], "stage": HOSTILE, "standing": HOSTILE, "begins": HOSTILE}]
    page = status_page(status_document("a", report(evil, {**CSAT, "signal": HOSTILE}), 4.0))
    assert "<script" not in page
    assert "<code>&lt;script&gt;alert(1)&lt;/script&gt;</code>" in page


def test_the_tables_fit_into_80_columns() -> None:
    console = Console(width=80, no_color=True)
    with console.capture() as captured:
        console.print(timeline_table(PLAN))
        console.print(slow_table([CSAT, {**CSAT, "verdict": "HEALTHY"}]))
    lines = captured.get().splitlines()
    assert lines[2].split() == ["ramp_5", "5%", "1d", "now", "2026-04-19", "14:22", "2026-04-20", "14:22"]
    assert lines[5].split() == ["csat", "UNKNOWN", "-", "-", "-", "3", "2h"]


def test_a_plan_of_a_thousand_stages_is_cut() -> None:
    long = {**PLAN, "stages": PLANNED["stages"] * 400}
    page = status_page(status_document("a", replace(report(), reports=report(long).reports), 4.0))
    assert page.count("<tr class=") < 40
