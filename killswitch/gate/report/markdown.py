"""The report of a gate run as a comment for a pull request: within GitHub's limit, details folded, hostile texts tamed.

Markdown takes HTML as it is, up to the next blank line. So each section is HTML on one line, and no text of a model or
user is ever read as Markdown: it makes no image, no link, no heading, and calls no person by an @.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from killswitch.gate.answers import RowResult, ScoredAnswer
from killswitch.gate.report import words
from killswitch.gate.report.differences import (
    Reasons,
    candidate_of,
    classes,
    confusion,
    failures,
    groups,
    harmless,
    prod_of,
    right,
    schema_failures,
    without_label,
)
from killswitch.gate.report.document import GateReport
from killswitch.shadow.report.hostile_text import in_comment
from killswitch.wording import counted

LIMIT: Final = 65_536  # GitHub refuses a longer comment
MOST: Final = 60_000  # bytes of UTF-8, so that a bot may add a line or two of its own
_ROWS_OF_A_GROUP = 10
_TEXT = 400  # characters of an input or an answer
_MOST_LABELS = 8
_MOST_CLASSES = 10
_GROUP = 12_000  # bytes of the rows of a group, the first row in any case
_SENTENCE = 800
_NAME = 100
# what a code host makes links of, or calls people by, outside of `code` and `pre`; `&#10;` is a character's number
_CALLS = re.compile(r"@|(?<!&)#|:(?=//)|\bwww(?=\.)|\bGH(?=-)", re.IGNORECASE)
_JOINER = "&#8288;"


def comment(report: GateReport) -> str:
    """The comment, at most `MOST` bytes of UTF-8: what does not fit is left out from the end, and that is said."""
    head = "\n\n".join(_always(report))
    left = MOST - len(head.encode()) - 500
    parts = [head]
    skipped = 0
    for section in _folded(report):
        size = len(section.encode()) + 2
        if size > left:
            skipped += 1
            continue
        parts.append(section)
        left -= size
    if skipped:
        parts.append(f"<p>{counted(skipped, 'section')} left out, because a comment is short: see the HTML report.</p>")
    return "\n\n".join(parts) + "\n"


def _always(report: GateReport) -> Iterator[str]:
    record = report.record
    yield f"<h3>{_said(words.headline(record))}</h3>"
    if record.point_estimates:
        yield f"<p><b>{_said(words.POINT_ESTIMATES)}</b></p>"
    yield f"<p>{_code(record.role)}: {_code(record.candidate)} (candidate) against {_code(record.prod)} (prod)</p>"
    rows = []
    for one in report.numbers:
        value, interval, bar = words.number_cells(one)
        verdict = words.VERDICT_WORDS[one.verdict]
        rows.append([_said(cell) for cell in (one.name, verdict, value, interval, bar, f"{one.rows:,}", one.sentence)])
    yield _table(("number", "verdict", "value", "interval", "bar", "rows", ""), rows)
    facts = (words.asked(record), words.floor(report.outcome), words.accuracy(report))
    yield f"<ul>{''.join(f'<li>{_said(one)}</li>' for one in (*facts, *words.said_besides(report)))}</ul>"
    steps = "".join(f"<li>{_code(step)}</li>" for step in words.next_steps(record, report.unrecorded))
    yield f"<p>What to do next:</p><ul>{steps}</ul>"


def _folded(report: GateReport) -> Iterator[str]:
    for kind, found in groups(report.results).items():
        if found:
            yield _rows(f"{kind}: {counted(len(found), 'row')}", found)
    for title, of in (
        ("Failed calls", failures),
        ("Answers that break the schema", schema_failures),
        ("Answers without a label", without_label),
    ):
        cells = [
            *_reason_rows("prod", of(report.results, prod_of)),
            *_reason_rows("candidate", of(report.results, candidate_of)),
        ]
        if cells:
            yield _details(title, _table(("model", "reason", "rows"), cells))
    matrix = confusion(report.results, _MOST_LABELS)
    if len(matrix.labels) > 1:
        names = [_label(label) for label in matrix.labels]
        lines = [
            [name, *(f"{count:,}" if count else "" for count in counts)]
            for name, counts in zip(names, matrix.counts, strict=True)
        ]
        yield _details("Prod's label (row) and the candidate's (column)", _table(("", *names), lines))
    yield from _classes(report)
    yield _details(
        "What this is made of",
        _table(("", ""), [[name, _code(words.cut(said, _SENTENCE))] for name, said in words.made_of(report.record)]),
    )


def _rows(title: str, found: Sequence[RowResult]) -> str:
    parts: list[str] = []
    size = 0
    for one in found[:_ROWS_OF_A_GROUP]:
        part = _row(one)
        size += len(part.encode())
        if parts and size > _GROUP:
            break
        parts.append(part)
    more = len(found) - len(parts)
    rest = f"<p>{counted(more, 'more row')} in the HTML and JSON reports.</p>" if more else ""
    return _details(title, "".join(parts) + rest)


def _row(one: RowResult) -> str:
    asked = words.input_text(one.row.messages, _TEXT)
    return (
        f"<p>{_code(words.cut(one.row.id, _NAME))}, line {one.row.line:,}: expected {_label(one.row.expect_label)},"
        f" prod {_answer(one.prod)}, candidate {_answer(one.candidate)}</p><pre>{in_comment(asked)}</pre>"
        f"{_text('prod', one.prod)}{_text('candidate', one.candidate)}"
    )


def _answer(side: ScoredAnswer) -> str:
    if side.answer.failure is not None:
        return f"failed: {_code(harmless(side.answer.failure))}"
    problem = "" if side.problem is None else f" ({_code(harmless(side.problem))})"
    return f"{_label(side.label)}{problem}"


def _text(name: str, side: ScoredAnswer) -> str:
    text = side.answer.text
    return f"<p>{name}:</p><pre>{in_comment(words.cut(text, _TEXT))}</pre>" if text else ""


def _reason_rows(name: str, found: Reasons) -> Iterator[list[str]]:
    for reason, rows in found.listed:
        yield [name, _code(reason), f"{rows:,}"]
    if found.more:
        yield [name, "other reasons", f"{found.more:,}"]


def _classes(report: GateReport) -> Iterator[str]:
    found = classes(report.results)
    if not found:
        return
    rows = []
    for one in found[:_MOST_CLASSES]:
        many = len(one.results)
        counts = (one.agreeing, right(one.results, prod_of), right(one.results, candidate_of))
        shares = (f"{count / many * 100:.1f}%" for count in counts)
        rows.append([_code(words.cut(one.name or "no class", _NAME)), f"{many:,}", *shares])
    more = len(found) - _MOST_CLASSES
    rest = f"<p>{more:,} more not shown.</p>" if more > 0 else ""
    head = ("class", "rows", "agree", "prod as expected", "candidate as expected")
    yield _details("Classes, most disagreement first", _table(head, rows) + rest)


def _details(title: str, body: str) -> str:
    return f"<details><summary>{_said(title)}</summary>{body}</details>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Of cells that are HTML already."""
    names = "".join(f"<th>{name}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{names}</tr>{body}</table>"


def _label(label: str | None) -> str:
    return _code(words.label_in_words(label))


def _code(text: str) -> str:
    return f"<code>{in_comment(text)}</code>"


def _said(text: str) -> str:
    """A sentence of ours; it may hold the names of models, which a code host may read as people and links."""
    most = _SENTENCE
    while len((shown := in_comment(words.cut(text, most))).encode()) > 2 * _SENTENCE:
        most //= 2  # what is hidden is shown by its number, of up to 16 characters
    return _CALLS.sub(rf"\g<0>{_JOINER}", shown)
