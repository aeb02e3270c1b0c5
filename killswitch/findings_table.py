"""Findings side by side in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from killswitch.model import Unit, Verdict
from killswitch.status_page import evidence_in_words
from killswitch.wording import count_in_words, value_in_words

_COLOURS = {Verdict.BREACH: "bold red", Verdict.HEALTHY: "green", Verdict.UNKNOWN: "yellow"}


def findings_table(findings: Sequence[Mapping[str, Any]]) -> Table:
    """One row a rule, from the JSON form of findings."""
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for name in ("rule", "verdict"):
        table.add_column(name)
    numbers = ["canary", "control", "limit", "requests (canary/control)"]
    with_evidence = any(finding["needed"] is not None for finding in findings)
    for name in [*numbers, *(["evidence"] if with_evidence else [])]:
        table.add_column(name, justify="right")
    for finding in findings:
        unit = Unit(finding["unit"])
        verdict = Verdict(finding["verdict"])
        words = verdict.value if finding["reason"] is None else f"{verdict.value} ({finding['reason']})"
        samples = f"{count_in_words(finding['samples_canary'])} / {count_in_words(finding['samples_control'])}"
        evidence = "" if finding["needed"] is None else evidence_in_words(finding["evidence"], finding["needed"])
        table.add_row(
            Text(finding["rule"]),
            Text(words, style=_COLOURS[verdict]),
            *(value_in_words(finding[key], unit) for key in ("canary", "control", "limit")),
            samples,
            *([evidence] if with_evidence else []),
        )
    return table
