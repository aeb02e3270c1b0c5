"""The status as one HTML page: no script, no outside resource, refreshed by the browser itself."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from killswitch.model import Unit
from killswitch.wording import count_in_words, odds_in_words, value_in_words

_STYLE = """
:root { color-scheme: light dark; --bad: #c62828; --good: #2e7d32; --dim: #777; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .2rem; } p { margin: .2rem 0 .6rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .3rem .6rem; }
th { color: var(--dim); font-weight: 500; } td { border-top: 1px solid var(--line); vertical-align: top; }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; } th.n { text-align: right; }
.BREACH, .tripped, .problem { color: var(--bad); font-weight: 600; } .HEALTHY, .armed { color: var(--good); }
.UNKNOWN, .absent, .dim { color: var(--dim); }
"""


def status_page(status: Mapping[str, Any]) -> str:
    """The page for a document of `status_document`; every text in it is escaped."""
    body = [f"<h1>LLM canary kill switch</h1><p class=dim>{_heading(status)}</p>"]
    body += [
        f"<p class=problem>{label}: {escape(str(status[key]))}</p>"
        for key, label in (("store_problem", "flag store"), ("source_problem", "metric source"))
        if status.get(key)
    ]
    body += [_rollout(one) for one in status["rollouts"]]
    if not status["rollouts"]:
        body.append("<p>No cycle has finished yet.</p>")
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=10>"
        '<meta name=viewport content="width=device-width">'
        f"<title>Kill switch</title><style>{_STYLE}</style><body>{''.join(body)}</body></html>"
    )


def _heading(status: Mapping[str, Any]) -> str:
    age = status.get("age_seconds")
    when = "no cycle yet" if age is None else f"judged at {escape(str(status['tick']))}, {age:.0f} s ago"
    return f"controller {escape(str(status['controller']))}, {when}"


def _rollout(one: Mapping[str, Any]) -> str:
    state = escape(str(one["state"]))
    models = f"{escape(str(one['canary']))} against {escape(str(one['control']))}"
    head = (
        f"<h2>{escape(str(one['rollout']))} <span class={state}>{state}</span></h2>"
        f"<p class=dim>{models}; {one['canary_percent']:g}% canary, stage {escape(str(one['stage']))},"
        f" generation {escape(str(one['generation']))}</p><p>{escape(str(one['sentence']))}</p>"
    )
    if not one["findings"]:
        return head
    rows = "".join(_finding(finding) for finding in one["findings"])
    return (
        f"{head}<table><tr><th>rule<th>verdict<th class=n>canary<th class=n>control<th class=n>limit"
        f"<th class=n>requests<th class=n>evidence<th>why</tr>{rows}</table>"
    )


def _finding(finding: Mapping[str, Any]) -> str:
    unit = Unit(finding["unit"])
    numbers = "".join(f"<td class=n>{value_in_words(finding[key], unit)}" for key in ("canary", "control", "limit"))
    samples = f"{count_in_words(finding['samples_canary'])} / {count_in_words(finding['samples_control'])}"
    evidence = "" if finding["needed"] is None else evidence_in_words(finding["evidence"], finding["needed"])
    verdict = escape(str(finding["verdict"]))
    return (
        f"<tr><td>{escape(str(finding['rule']))}<td class={verdict}>{verdict}{numbers}"
        f"<td class=n>{samples}<td class=n>{evidence}<td>{escape(str(finding['sentence']))}</tr>"
    )


def evidence_in_words(evidence: float | None, needed: float) -> str:
    """``1 in 30 of 1 in 400``: how far the evidence has come, so that a person sees a trip coming."""
    if evidence is None or evidence <= 1.0:
        return f"none yet of {odds_in_words(needed)}"
    return f"{odds_in_words(evidence)} of {odds_in_words(needed)}"
