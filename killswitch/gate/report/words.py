"""A gate run in words, the same in every form of its report: the verdict, the numbers, and what to do next."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from typing import Any, Final

from killswitch.gate.golden import Label, Message
from killswitch.gate.judging import GateOutcome
from killswitch.gate.report.differences import candidate_of, prod_of, right
from killswitch.gate.report.document import GateReport
from killswitch.roles.gate_record import GateNumber, GateRecord, GateVerdict
from killswitch.wording import counted, date_and_time, money_in_words, span_in_words

_SHARES: Final = frozenset({"schema", "agreement"})
_LONGEST_LABEL = 60
VERDICT_WORDS: Final = {
    GateVerdict.PASS: "PASS",
    GateVerdict.FAIL: "FAIL",
    GateVerdict.TOO_FEW_ROWS: "TOO FEW ROWS",
    GateVerdict.NEEDS_APPROVAL: "NEEDS APPROVAL",
    GateVerdict.UNKNOWN: "UNKNOWN",
}
UNFINISHED: Final = "not recorded, because it is not finished"
POINT_ESTIMATES: Final = (
    "This verdict rests on point estimates (--accept-point-estimates): plain shares and ratios, without intervals."
    " On few rows a candidate that is too bad passes often."
)


def headline(record: GateRecord) -> str:
    """The verdict in one sentence."""
    why = record.why.strip() or "the run gives no reason"
    verdict = VERDICT_WORDS[record.verdict]
    return why if why.startswith(verdict) else f"{verdict}: {why}"


def compared(record: GateRecord) -> str:
    return f"{record.candidate} (candidate) against {record.prod} (prod)"


def asked(record: GateRecord) -> str:
    """How many rows were asked of how many, of which golden set, and what the run has cost."""
    cost = "what it cost is not known" if record.cost is None else f"its calls cost {money_in_words(record.cost)}"
    took = span_in_words(max(record.ended_at - record.started_at, 0.0))
    return f"{record.asked_rows:,} of {counted(record.golden_rows, 'row')} asked of both models, {cost} and took {took}"


def floor(outcome: GateOutcome | None) -> str:
    """How often prod disagrees with itself, which agreement is judged against."""
    if outcome is None or not outcome.floor.rows:
        return "prod was not asked twice, so how often it disagrees with itself is not known"
    return outcome.floor.sentence


def made_of(record: GateRecord) -> Iterator[tuple[str, str]]:
    """What the run rests on: a name and a text each."""
    yield "run", record.run
    yield "role", record.role
    yield "prod", record.prod
    yield "candidate", record.candidate
    yield "golden set", f"version {record.golden}, {counted(record.golden_rows, 'row')}"
    yield "setup", f"{record.setup} (prompt, schema, parameters, bars)"
    yield "started", f"{date_and_time(record.started_at)} by {record.by or 'a person without a name'}"
    approval = record.approval
    if approval is not None:
        yield "approved", f"{date_and_time(approval.at)} by {approval.by}: {approval.reason}"


def number_cells(one: GateNumber) -> tuple[str, str, str]:
    """Value, interval and bar: ``96.0%``, ``91.1% to 98.6%``, ``at least 95%``."""
    most = "at least" if one.name in _SHARES else "at most"
    ends = "-" if one.low is None and one.high is None else f"{_value(one, one.low)} to {_value(one, one.high)}"
    return _value(one, one.value), ends, f"{most} {_bar(one)}"


def _value(one: GateNumber, value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value * 100:.1f}%" if one.name in _SHARES else f"{value:.2f}x"


def _bar(one: GateNumber) -> str:
    return f"{one.bar * 100:g}%" if one.name in _SHARES else f"{one.bar:g}x prod's"


def accuracy(report: GateReport) -> str:
    """How often each model says the label that is expected."""
    rows = len(report.results)
    if not rows:
        return "no rows"
    prod, candidate = (right(report.results, side) for side in (prod_of, candidate_of))
    said = (
        f"as expected: prod {prod / rows * 100:.1f}% ({prod:,} of {rows:,}),"
        f" candidate {candidate / rows * 100:.1f}% ({candidate:,} of {rows:,})"
    )
    own = report.labels_of_prod
    if own:
        said += f"; {'all' if own == rows else f'{own:,}'} of the expected labels are prod's own, which is no truth"
    return said


def said_besides(report: GateReport) -> Iterator[str]:
    """Parameters that were not sent, and models that answered under other names: one sentence each."""
    for model, names in report.left_out.items():
        yield f"{model} refuses {', '.join(names)}: left out of its requests"
    for model, others in report.other_names.items():
        listed = ", ".join(f"{name} ({counted(answers, 'answer')})" for name, answers in list(others.items())[:5])
        more = f" and {len(others) - 5:,} more" if len(others) > 5 else ""
        yield f"{model} was asked for, and the answers name {listed}{more}"


def next_steps(record: GateRecord, unrecorded: str = "") -> list[str]:
    """What to do next, one sentence or command each. ``unrecorded``: see `GateReport`."""
    role, run = shlex.quote(record.role), shlex.quote(record.run)
    # short enough not to be broken in two, which would be pasted as two lines; the promotion names its run by itself
    promote = f'killswitch role promote {role} --reason "why"'
    waive = f'to go on without: killswitch role waive {role} --owner WHO --reason "why" --until 7d'
    if unrecorded and record.verdict in (GateVerdict.PASS, GateVerdict.NEEDS_APPROVAL):
        return [f"{unrecorded}: no promotion can rest on this run; run the gate of the role's own slots, and record it"]
    if record.allows_promotion:
        return [promote]
    if record.verdict is GateVerdict.NEEDS_APPROVAL:
        return [
            f'a person decides: killswitch role approve {role} {run} --reason "why"',
            f"then: {promote}",
        ]
    if record.verdict is GateVerdict.TOO_FEW_ROWS:
        return [*_more_rows(record), waive]
    if record.verdict is GateVerdict.FAIL:
        return [
            "read the rows below; set another candidate, or change prompt and schema, and run the gate again",
            waive,
        ]
    paid = "rows that were answered are not paid for twice"
    goes_on = [f"run the same command again: it goes on, and {paid}"]
    return goes_on if unrecorded == UNFINISHED else [f"fix what the reason names and run the gate again: {paid}", waive]


def _more_rows(record: GateRecord) -> list[str]:
    missing = max((one.rows_missing or 0 for one in record.numbers), default=0)
    left = record.golden_rows - record.asked_rows
    again = "run the gate again: rows that were answered are not paid for twice"
    if not missing:
        return [f"add rows to the golden set and {again}"]
    if left >= missing:
        return [f"about {missing:,} more rows would decide it, and {left:,} of the golden set were not asked: {again}"]
    more = f"about {counted(missing, 'more row')} would probably decide it"
    return [f"{more}: add {missing - left:,} to the golden set (killswitch gate sample draws rows) and {again}"]


def label_in_words(label: Label | None) -> str:
    """``bug`` for ``"bug"``; quoted where the text alone would be read as something else. At most 60 characters."""
    if label is None:
        return "-"
    try:
        value = json.loads(label)
    except (ValueError, RecursionError):
        return cut(label, _LONGEST_LABEL)  # one of the matrix's own words
    if isinstance(value, str) and value and value == value.strip() and not _is_json(value) and value != "-":
        return cut(value, _LONGEST_LABEL)
    return cut(label, _LONGEST_LABEL)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def input_text(messages: Sequence[Message], most: int) -> str:
    """The input as one text of at most ``most`` characters: each message under its role, a single one without."""
    parts = [(str(one.get("role", "")), _content(one.get("content"), most)) for one in messages[:50]]
    if len(parts) == 1 and parts[0][0] == "user":
        return cut(parts[0][1], most)
    return cut("\n".join(f"{role}: {content}" for role, content in parts), most)


def _content(content: Any, most: int) -> str:
    return content[: most + 1] if isinstance(content, str) else json.dumps(content, ensure_ascii=False)[: most + 1]


def cut(text: str, most: int) -> str:
    """At most ``most`` characters of the text; a longer one ends in ``…``."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
