"""The report of a gate run as JSON, for pipelines and for `killswitch gate show --report`: every row, texts cut."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from killswitch import __version__
from killswitch.documents import Fields, finite, parse_object
from killswitch.errors import BadDocument
from killswitch.gate.answers import Answer, RowResult, ScoredAnswer
from killswitch.gate.golden import GoldenRow
from killswitch.gate.judging import Floor, GateOutcome
from killswitch.gate.report.differences import (
    RowDifference,
    candidate_of,
    confusion,
    difference,
    groups,
    harmless,
    prod_of,
    right,
)
from killswitch.gate.report.document import GateReport
from killswitch.gate.report.words import cut, input_text
from killswitch.roles import gate_record
from killswitch.token_usage import KINDS, Usage

FORMAT: Final = 1
MAX_BYTES: Final = 256 << 20
TEXT: Final = 4_000  # characters of an input or an answer
MOST_TEXTS: Final = 1_000  # rows that differ and have their texts in the report
_FLOOR_NUMBERS: Final = ("disagreement", "low", "high", "more", "more_low", "more_high")


def to_json(report: GateReport) -> bytes:
    """The report, JSON in UTF-8. A label is a JSON text, as it was compared, so that 1 and "1" differ.

    Only rows that differ have their input and answers, and only the first 1,000 of these.
    """
    differ = [id(one) for rows in groups(report.results).values() for one in rows]
    with_texts = set(differ[:MOST_TEXTS])
    matrix = confusion(report.results)
    floor = None if report.outcome is None else asdict(report.outcome.floor)
    document = {
        "format": FORMAT,
        "version": __version__,
        "gate": gate_record.as_json(report.record),
        "unrecorded": report.unrecorded,
        "floor": None
        if floor is None
        else {name: finite(value) if isinstance(value, float) else value for name, value in floor.items()},
        "as_expected": {
            "rows": len(report.results),
            "prod": right(report.results, prod_of),
            "candidate": right(report.results, candidate_of),
            "labels_of_prod": report.labels_of_prod,
        },
        "differing": {kind.name.lower(): len(rows) for kind, rows in groups(report.results).items()},
        "left_out": report.left_out,
        "other_names": report.other_names,
        "confusion": {"labels": matrix.labels, "prod_by_candidate": matrix.counts, "labels_left_out": matrix.left_out},
    }
    rows = ",\n".join(_dumped(_row(one, texts=id(one) in with_texts)) for one in report.results)
    # a row a line: `indent` took 22 s instead of 8 s for 100,000 rows, and a person finds a row all the same
    return f'{_dumped(document)[:-1]}, "rows": [\n{rows}\n]}}\n'.encode(errors="replace")


def _dumped(document: Mapping[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, allow_nan=False)


def _row(one: RowResult, *, texts: bool) -> dict[str, Any]:
    kind = difference(one)
    return {
        "id": one.row.id,
        "line": one.row.line,
        "class": one.row.stratum,
        "expect_label": one.row.expect_label,
        "expect_from": one.row.expect_from,
        "difference": None if kind is None else kind.name.lower(),
        "input": input_text(one.row.messages, TEXT) if texts else None,
        "prod": _side(one.prod, texts=texts),
        "candidate": _side(one.candidate, texts=texts),
        "prod_again": None if one.prod_again is None else _side(one.prod_again, texts=False),
    }


def _side(side: ScoredAnswer, *, texts: bool) -> dict[str, Any]:
    answer = side.answer
    return {
        "label": side.label,
        "schema_ok": side.schema_ok,
        "problem": None if side.problem is None else harmless(side.problem),
        "failure": None if answer.failure is None else harmless(answer.failure),
        "text": cut(answer.text, TEXT) if texts and answer.text is not None else None,
        "seconds": finite(answer.seconds),
        "cost_micros": answer.cost,
        "attempts": answer.attempts,
        "model": answer.model,
        "answered_by": answer.answered_by,
        "left_out": answer.left_out,
        "tokens": None if answer.usage is None else {kind: getattr(answer.usage, kind) for kind in KINDS},
    }


def from_json(value: bytes, *, where: str) -> GateReport:
    """The inverse of `to_json`, with the texts that are in it. ``where`` names the file in a refusal.

    Raises BadDocument, naming the field.
    """
    fields = parse_object(value, where, max_bytes=MAX_BYTES)
    if fields.integer("format") != FORMAT:
        raise BadDocument(f"{where}: format {fields.raw['format']}; this version reads {FORMAT}")
    gate = Fields(fields.raw.get("gate"), f"{where}, gate")
    record = gate_record.from_document(json.dumps(gate.raw).encode(), role=gate.text("role"))
    results = tuple(_read_row(one) for one in fields.objects("rows"))
    floor = fields.raw.get("floor")
    outcome = None
    if floor is not None:
        judged = _floor(Fields(floor, f"{where}, floor"))
        outcome = GateOutcome(record.verdict, record.numbers, judged, record.why)
    return GateReport(record, results, outcome, fields.text("unrecorded", empty=True))


def _floor(fields: Fields) -> Floor:
    numbers: Mapping[str, float | None] = {name: fields.optional_number(name) for name in _FLOOR_NUMBERS}
    return Floor(
        rows=fields.integer("rows"),
        margin=fields.number("margin"),
        sentence=fields.text("sentence", empty=True),
        **numbers,
    )


def _read_row(fields: Fields) -> RowResult:
    said = fields.optional_text("difference")
    if said is not None and said.upper() not in RowDifference.__members__:
        raise BadDocument(f"{fields.where}: difference {said!r:.80} is none of this version")
    text = fields.optional_text("input") or ""
    again = fields.raw.get("prod_again")
    row = GoldenRow(
        id=fields.text("id", empty=True),
        messages=({"role": "user", "content": text},),
        expect_label=fields.text("expect_label"),
        line=fields.integer("line"),
        stratum=fields.optional_text("class"),
        expect_from=fields.text("expect_from", empty=True),
    )
    prod, candidate = (
        _read_side(Fields(fields.raw.get(name), f"{fields.where}, {name}")) for name in ("prod", "candidate")
    )
    return RowResult(
        row, prod, candidate, None if again is None else _read_side(Fields(again, f"{fields.where}, prod_again"))
    )


def _read_side(fields: Fields) -> ScoredAnswer:
    failure = fields.optional_text("failure")
    text = fields.optional_text("text")
    answer = Answer(
        model=fields.text("model"),
        answered_by=fields.optional_text("answered_by"),
        text=(text or "") if failure is None else None,
        failure=failure,
        seconds=fields.optional_number("seconds"),
        usage=_usage(fields),
        cost=None if fields.raw.get("cost_micros") is None else fields.integer("cost_micros"),
        attempts=fields.integer("attempts"),
        left_out=fields.texts("left_out"),
    )
    return ScoredAnswer(
        answer, fields.flag("schema_ok"), fields.optional_text("label"), fields.optional_text("problem")
    )


def _usage(fields: Fields) -> Usage | None:
    if fields.raw.get("tokens") is None:
        return None
    tokens = Fields(fields.raw["tokens"], f"{fields.where}, tokens")
    try:
        return Usage(*(tokens.integer(kind) for kind in KINDS))
    except ValueError as error:
        raise BadDocument(f"{tokens.where}: {error}") from error
