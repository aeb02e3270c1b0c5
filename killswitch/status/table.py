"""Findings as a table in a terminal; four rules of a usual fleet fit into 80 columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from killswitch.model import Verdict
from killswitch.pages.finding_rows import finding_rows, is_slow
from killswitch.wording import count_in_words, reasons_in_words

COLOURS = {
    Verdict.BREACH: "bold red",
    Verdict.SUSPECT: "bold yellow",
    Verdict.HEALTHY: "green",
    Verdict.UNKNOWN: "cyan",
}
_MOST_SHOWN = 999.0  # more evidence than this, and than what is needed, is shown as ``>999``


def findings_table(
    findings: Sequence[Mapping[str, Any]],
    *,
    window: float | None = None,
    at: float | None = None,
    since_below: bool = True,
) -> Table:
    """One row for each rule, from the JSON form of findings. A breach by evidence has a second row for its window.

    ``requests``: of canary and control in the window, or the canary's events and requests since the breach began.
    ``evidence`` of 30/400: chance alone would show this once in 30 days, and 400 is a breach. Below the table: the
    reasons, and with ``since_below`` since when a breach was counted. ``window`` in seconds, ``at`` in Unix seconds.
    """
    rows = {str(finding["rule"]): finding_rows(finding, window=window, at=at) for finding in findings}
    since = [
        f"{rule}: counted {lines[0].counted}, UTC" for rule, lines in rows.items() if since_below and len(lines) > 1
    ]
    caption = Text("\n".join([*since, *([_reasons(findings)] if _reasons(findings) else [])]), style="yellow")
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
        verdict = Verdict(finding["verdict"])
        evidence = [_evidence(finding["evidence"], finding["needed"])] if with_evidence else []
        samples = f"{_count(finding['samples_canary'])}/{_count(finding['samples_control'])}"
        if is_slow(finding["rule"]):
            samples = f"{samples} users"
        for number, row in enumerate(rows[str(finding["rule"])]):
            first = number == 0
            table.add_row(
                Text(finding["rule"] if first else f"  {row.counted}"),
                Text(verdict.value if first else "", style=COLOURS[verdict]),
                # a latency rule's "50.5% slow": said for the canary only, or 80 columns would cut the evidence
                *(row.canary, row.control.removesuffix(" slow"), row.limit),
                samples if row.of_window else row.requests,
                *(evidence if first else [Text("")] * len(evidence)),
                style="" if first else "dim",
            )
    return table


def _reasons(findings: Sequence[Mapping[str, Any]]) -> str:
    """``too few requests: error_rate, refusal_rate``, one line for each reason."""
    rules: dict[str, list[str]] = {}
    for finding in findings:
        if finding["reason"] is not None:
            rules.setdefault(reasons_in_words(str(finding["reason"])), []).append(str(finding["rule"]))
    return "\n".join(f"{reason}: {', '.join(names)}" for reason, names in rules.items())


def _count(count: float | None) -> str:
    """As `count_in_words`, but ``135k`` and ``11.8k`` for numbers that would need a wide terminal."""
    if count is None or not 10_000 <= count < 1e9:
        return count_in_words(count)
    return f"{count / 1000:.1f}k" if count < 100_000 else f"{count / 1000:,.0f}k"


def _evidence(evidence: float | None, needed: float | None) -> Text:
    """``30/400``, in yellow from the square root of what is needed, in red from all of it."""
    if needed is None:
        return Text("")
    value = max(evidence or 1.0, 1.0)
    if value == 1.0:
        return Text(f"none/{needed:,.0f}", style="dim")
    style = "bold red" if value >= needed else "yellow" if value >= math.sqrt(needed) else "dim"
    most = max(_MOST_SHOWN, needed)
    shown = f">{most:,.0f}" if value > most else f"{math.floor(value):,}"
    return Text(f"{shown}/{needed:,.0f}", style=style)
