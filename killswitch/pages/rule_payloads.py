"""The rules in a page's payload: their numbers, and the reason of a trip in one line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from killswitch.documents import finite
from killswitch.flags.incident import excursion_to_json
from killswitch.model import Finding, Unit, Verdict
from killswitch.pages.page import MAX_NAME, MAX_ROWS
from killswitch.timestamps import to_iso
from killswitch.wording import plain, value_in_words


def rule_payloads(findings: Sequence[Finding], tripping: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "rule": plain(finding.rule, MAX_NAME),
            "verdict": finding.verdict.value,
            "reason": finding.reason.value if finding.reason is not None else None,
            "tripping": finding.rule in tripping,
            "unit": finding.unit.value,
            "canary": finite(finding.canary),
            "control": finite(finding.control),
            "limit": finite(finding.limit),
            "samples_new": whole(finding.samples_canary),
            "samples_old": whole(finding.samples_control),
            "since": None if finite(finding.since) is None else to_iso(math.floor(finding.since or 0.0)),
            "excursion": excursion_to_json(finding.excursion),
            "sentence": plain(finding.sentence, 400),
        }
        for finding in most_important(findings, tripping)
    ]


def most_important(findings: Sequence[Finding], tripping: Sequence[str]) -> Sequence[Finding]:
    """All findings in their order; of more than `MAX_ROWS`, the tripping ones first."""
    if len(findings) <= MAX_ROWS:
        return findings
    return sorted(findings, key=lambda finding: finding.rule not in tripping)[:MAX_ROWS]


def samples_of(findings: Sequence[Finding]) -> tuple[int | None, int | None]:
    """The requests of canary and control, of the first finding that knows both."""
    for finding in findings:
        excursion = finding.excursion if _is_proven(finding) else None
        pair = (
            (finding.samples_canary, finding.samples_control)
            if excursion is None
            else (excursion.trials_canary, excursion.trials_control)
        )
        new, old = whole(pair[0]), whole(pair[1])
        if new is not None and old is not None:
            return new, old
    return None, None


def _is_proven(finding: Finding) -> bool:
    """A breach by evidence: its numbers are counted since it began, not in the window."""
    return finding.verdict is Verdict.BREACH and finding.excursion is not None


def whole(samples: float | None) -> int | None:
    known = finite(samples)
    return None if known is None else round(known)


def compared_in_words(finding: Finding) -> str:
    excursion = finding.excursion
    if _is_proven(finding) and excursion is not None:
        share = "" if finding.unit is Unit.FRACTION else "share of requests over the limit of "
        rule = f"{share}{plain(finding.rule, MAX_NAME)}"
        control = _plain_number(excursion.control, Unit.FRACTION)
        return f"{rule}={_plain_number(excursion.canary, Unit.FRACTION)} vs baseline {control}"
    if finding.canary is None:  # a breach by evidence does not need this window's value
        return plain(finding.sentence)
    control = _plain_number(finding.control, finding.unit)
    return f"{plain(finding.rule, MAX_NAME)}={_plain_number(finding.canary, finding.unit)} vs baseline {control}"


def _plain_number(value: float | None, unit: Unit) -> str:
    """``0.0871`` -> ``0.087``; small rates keep two significant digits. Seconds and numbers: four."""
    if value is None:
        return "unknown"
    if not math.isfinite(value):
        return value_in_words(value, unit)
    if unit is Unit.FRACTION:
        return f"{value:.3f}" if value == 0.0 or abs(value) >= 0.01 else f"{value:.2g}"
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"
