"""Findings side by side in a terminal; four rules of a usual fleet fit into 80 columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from killswitch.model import Unit, Verdict
from killswitch.wording import count_in_words, reasons_in_words, value_in_words

_COLOURS = {
    Verdict.BREACH: "bold red",
    Verdict.SUSPECT: "bold yellow",
    Verdict.HEALTHY: "green",
    Verdict.UNKNOWN: "cyan",
}
_MOST_SHOWN = 999.0  # evidence beyond this, and beyond what is needed, is beyond all doubt


def findings_table(findings: Sequence[Mapping[str, Any]]) -> Table:
    """One row a rule, from the JSON form of findings.

    ``requests`` are the canary's and control's in the window; ``evidence`` of 30/400 says that luck alone
    does this once in 30 days, and that at 400 it is a breach. Reasons stand below, each once.
    """
    caption = Text(_reasons(findings), style="yellow")
    table = Table(
        box=None, padding=(0, 1), pad_edge=False, header_style="dim", caption=caption or None, caption_justify="left"
    )
    table.add_column("rule", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    numbers = ["canary", "control", "limit", "requests"]
    with_evidence = any(finding["needed"] is not None for finding in findings)
    for name in [*numbers, *(["evidence"] if with_evidence else [])]:
        table.add_column(name, justify="right", no_wrap=True)
    for finding in findings:
        unit = Unit(finding["unit"])
        verdict = Verdict(finding["verdict"])
        samples = f"{_count(finding['samples_canary'])}/{_count(finding['samples_control'])}"
        table.add_row(
            Text(finding["rule"]),
            Text(verdict.value, style=_COLOURS[verdict]),
            *(value_in_words(finding[key], unit) for key in ("canary", "control", "limit")),
            samples,
            *([_evidence(finding["evidence"], finding["needed"])] if with_evidence else []),
        )
    return table


def _reasons(findings: Sequence[Mapping[str, Any]]) -> str:
    """``too few requests: error_rate, refusal_rate``, a line a reason."""
    rules: dict[str, list[str]] = {}
    for finding in findings:
        if finding["reason"] is not None:
            rules.setdefault(reasons_in_words(str(finding["reason"])), []).append(str(finding["rule"]))
    return "\n".join(f"{reason}: {', '.join(names)}" for reason, names in rules.items())


def _count(count: float | None) -> str:
    """As everywhere, but ``135k`` and ``11.8k`` for what would need a wide terminal."""
    if count is None or not 10_000 <= count < 1e9:
        return count_in_words(count)
    return f"{count / 1000:.1f}k" if count < 100_000 else f"{count / 1000:,.0f}k"


def _evidence(evidence: float | None, needed: float | None) -> Text:
    """``30/400``, warmer the nearer it comes: half the way is the square root."""
    if needed is None:
        return Text("")
    value = max(evidence or 1.0, 1.0)
    style = "bold red" if value >= needed else "yellow" if value >= math.sqrt(needed) else "dim"
    most = max(_MOST_SHOWN, needed)
    shown = f">{most:,.0f}" if value > most else f"{math.floor(value):,}"
    return Text(f"{shown}/{needed:,.0f}", style=style)
