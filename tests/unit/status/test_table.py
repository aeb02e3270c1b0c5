"""Findings in a terminal: nothing is cut at 80 columns, whatever the verdict."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from killswitch.model import Reason, Verdict
from killswitch.status.table import COLOURS, findings_table
from killswitch.status.web_page import status_page


def finding(rule: str = "thumbs_down_rate", **changes: object) -> dict[str, Any]:
    return {
        "rule": rule,
        "unit": "fraction",
        "verdict": "HEALTHY",
        "reason": None,
        "canary": 0.00088,
        "control": 0.00471,
        "limit": 0.00942,
        "samples_canary": 11_842.4,
        "samples_control": 1_135_160.0,
        "evidence": 30.9,
        "needed": 400.0,
        **changes,
    }


def drawn(*findings: dict[str, Any], width: int = 80) -> str:
    canvas = Console(file=io.StringIO(), width=width)
    canvas.print(findings_table(findings))
    assert isinstance(canvas.file, io.StringIO)
    return canvas.file.getvalue()


@pytest.mark.parametrize("reason", list(Reason))
def test_no_reason_cuts_anything_in_80_columns(reason: Reason) -> None:
    """No reason for unknown cuts anything in a panel of 80 columns."""
    latency = finding("latency_p95", unit="seconds", canary=0.82, control=0.81, limit=1.2)
    text = drawn(finding(verdict="UNKNOWN", reason=reason.value), latency, width=76)
    assert "…" not in text
    for word in ("thumbs_down_rate", "UNKNOWN", "820 ms", "11.8k/1,135k", "30/400", *reason.value.lower().split("_")):
        assert word in text


@pytest.mark.parametrize(
    ("evidence", "needed", "words"),
    [
        (None, 400.0, "none/400"),
        (0.2, 400.0, "none/400"),
        (399.9, 400.0, "399/400"),  # never rounded up into a breach
        (400.0, 400.0, "400/400"),
        (1e13, 400.0, ">999/400"),
        (3000.0, 4000.0, "3,000/4,000"),
        (1e13, 4000.0, ">4,000/4,000"),
    ],
)
def test_evidence_is_said_as_far_as_it_matters(evidence: float | None, needed: float, words: str) -> None:
    assert f" {words}\n" in drawn(finding(evidence=evidence, needed=needed), width=100)


def test_rules_without_evidence_have_no_such_column() -> None:
    assert "evidence" not in drawn(finding(evidence=None, needed=None))


def test_four_unknown_rules_stay_four_lines() -> None:
    """Four unknown rules stay four lines and their reason stands once below."""
    names = ("error_rate", "latency_p95", "refusal_rate", "thumbs_down_rate")
    lines = drawn(*(finding(name, verdict="UNKNOWN", reason="TOO_FEW_REQUESTS") for name in names)).splitlines()
    assert [line.split()[:2] for line in lines[1:5]] == [[name, "UNKNOWN"] for name in names]
    assert " ".join(" ".join(lines[5:]).split()) == f"too few requests: {', '.join(names)}"


def test_a_breach_shows_what_was_counted_and_its_window_below() -> None:
    """As a page does: the row of a breach said "5.4 % of 6.2 %" while the sentence said 28 %."""
    excursion = {
        "since": "2026-04-19T14:20:30.000Z", "canary": 0.2804, "control": 0.012, "limit": 0.062,
        "events_canary": 53.0, "trials_canary": 189.0, "events_control": 41.0, "trials_control": 3410.0,
    }  # fmt: skip
    breach = finding("refusal_rate", verdict="BREACH", canary=0.054, control=0.012, limit=0.062, excursion=excursion)
    canvas = Console(file=io.StringIO(), width=80)
    canvas.print(findings_table([breach, finding()], window=300.0, at=1_776_608_531.0))
    assert isinstance(canvas.file, io.StringIO)
    lines = canvas.file.getvalue().splitlines()
    assert lines[1].split() == ["refusal_rate", "BREACH", "28.0%", "1.2%", "6.2%", "53", "of", "189", "30/400"]
    assert lines[2].split() == ["last", "5m", "5.4%", "1.2%", "6.2%", "11.8k/1,135k"]
    assert lines[-1].strip() == "refusal_rate: counted since 14:20:30 (1m41s), UTC"


def test_a_latency_breach_fits_into_80_columns() -> None:
    excursion = {
        "since": "2026-04-19T14:20:30.000Z", "canary": 0.5051, "control": 0.0069, "limit": None,
        "events_canary": 989.0, "trials_canary": 1958.0, "events_control": 20.0, "trials_control": 2894.0,
    }  # fmt: skip
    breach = finding(
        "latency_p95", verdict="BREACH", unit="seconds", canary=0.485, control=0.195, limit=0.293,
        excursion=excursion, evidence=1e6,
    )  # fmt: skip
    text = drawn(breach, finding("thumbs_down_rate", evidence=None))
    assert "…" not in text
    for words in ("50.5% slow", "0.69%", "989 of 1,958", ">999/400", "none/400"):
        assert words in text


def test_each_verdict_has_a_colour_of_its_own_on_every_page() -> None:
    style = status_page({"controller": "c", "rollouts": [], "age_seconds": None})
    for verdict in Verdict:
        assert re.search(rf"\.{verdict.value}\b[^}}]*\{{[^}}]*color", style)
    assert set(COLOURS) == set(Verdict)
    assert len(set(COLOURS.values())) == len(Verdict)
