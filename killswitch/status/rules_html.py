"""The rules of a rollout as a table, from the JSON form of findings; every text is escaped.

A rule's sentence is shown once: below its row, or in the rollout's sentence above. A healthy rule has numbers only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from killswitch.model import Verdict
from killswitch.pages.finding_rows import finding_rows
from killswitch.status.html_document import Cell, Row, table, text
from killswitch.wording import evidence_in_words, reasons_in_words

_NUMBERS = ("canary", "control", "limit", "requests", "counted", "evidence")


def rules_table(
    findings: Sequence[Mapping[str, Any]], said: str, caption: str, *, window: float | None, at: float | None
) -> str:
    """One row for each rule, two for a breach by evidence. ``said``: what the page says above it already.

    ``window`` in seconds, ``at`` in Unix seconds.
    """
    if not findings:
        return ""
    with_evidence = any(finding["needed"] is not None for finding in findings)
    heads = ["rule", "verdict", *(_NUMBERS if with_evidence else _NUMBERS[:-1])]
    rows = [row for one in findings for row in _rows(one, with_evidence=with_evidence, window=window, at=at)]
    return table(caption, heads, rows, right=_NUMBERS) + _whys(findings, said)


def _whys(findings: Sequence[Mapping[str, Any]], said: str) -> str:
    """One line below the table for each reason: several rules may have the same one."""
    rules: dict[str, list[str]] = {}
    for finding in findings:
        rules.setdefault(_why(finding, said), []).append(str(finding["rule"]))
    return "".join(
        f"<p class=why><b>{escape(', '.join(names))}</b>: {escape(why.removeprefix(f'{names[0]} '))}</p>"
        for why, names in rules.items()
        if why
    )


def _rows(finding: Mapping[str, Any], *, with_evidence: bool, window: float | None, at: float | None) -> list[Row]:
    """One row, and for a breach by evidence a second row for its window."""
    evidence = "" if finding["needed"] is None else evidence_in_words(finding["evidence"], finding["needed"])
    reason = "" if finding["reason"] is None else f", {reasons_in_words(str(finding['reason']))}"
    verdict = str(finding["verdict"])
    rows = []
    for number, line in enumerate(finding_rows(finding, window=window, at=at)):
        first = number == 0
        cells = [
            text(finding["rule"] if first else "the same, in the window"),
            Cell(escape(f"{verdict}{reason}"), escape(verdict)) if first else Cell(""),
            *map(text, (line.canary, line.control, line.limit, line.requests, line.counted)),
            *([text(evidence if first else "")] if with_evidence else []),
        ]
        rows.append(Row(cells, "" if first else "dim"))
    return rows


def _why(finding: Mapping[str, Any], said: str) -> str:
    """The rule's sentence, unless the row's numbers or the sentence above say it already."""
    if finding["verdict"] == Verdict.HEALTHY and finding["reason"] is None:
        return ""
    why = str(finding["sentence"]).removeprefix(f"{finding['rule']} unknown ({finding['reason']}): ")
    return "" if why in said else why
