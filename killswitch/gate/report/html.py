"""The report of a gate run as one HTML file without scripts and without anything from outside, for phone and desktop.

Inputs, answers, labels, reasons and names are hostile: all of them are escaped by the parts that place them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from killswitch.gate.answers import RowResult, ScoredAnswer
from killswitch.gate.report import words
from killswitch.gate.report.differences import (
    MOST_CLASSES,
    NO_LABEL,
    OTHER,
    Confusion,
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
from killswitch.shadow.report.hostile_text import in_html
from killswitch.shadow.report.html_parts import CSP, STYLE, Column, Html, chip, percent, table
from killswitch.shadow.report.word_differences import Piece, word_differences
from killswitch.wording import counted

MOST_ROWS = 50  # of each kind of difference
TEXT = 4_000  # characters of an input or an answer
_COMPARED = 1_000_000  # characters of one answer times those of the other
_OF_A_CLASS = 8  # labels in the matrix of one class
_STYLE = """
.TOO_FEW_ROWS, .NEEDS_APPROVAL, .UNKNOWN { color: var(--warn); }
summary { cursor: pointer; font-weight: 600; } details { margin: .6rem 0; }
.matrix td, .matrix th { text-align: right; border-top: 1px solid var(--line); }
.matrix th:first-child { text-align: left; }
.matrix .same { background: var(--more); } .matrix .apart { background: var(--less); }
code { background: var(--tint); border-radius: 3px; padding: .1rem .3rem; }
"""


def page(report: GateReport) -> str:
    """The whole page; in UTF-8 it can be written to a file as it is."""
    parts = (
        *_heading(report),
        *_numbers(report),
        *_rows_that_differ(report),
        *_missing(report),
        *_matrix(report),
        *_classes(report),
        *_made_of(report),
    )
    record = report.record
    title = in_html(f"{record.role}: gate run, {words.VERDICT_WORDS[record.verdict]}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"/>'
        f'<meta http-equiv="Content-Security-Policy" content="{CSP}"/>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        '<meta name="referrer" content="no-referrer"/>'
        f"<title>{title}</title><style>{STYLE}{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _heading(report: GateReport) -> Iterator[str]:
    record = report.record
    yield f"<h1>Gate run of role <bdi>{in_html(record.role)}</bdi></h1>"
    yield f'<p class="dim"><bdi>{in_html(words.compared(record))}</bdi></p>'
    points = f"<p>{in_html(words.POINT_ESTIMATES)}</p>" if record.point_estimates else ""
    steps = "".join(f"<li><bdi>{in_html(step)}</bdi></li>" for step in words.next_steps(record, report.unrecorded))
    yield (
        f'<div class="verdict {record.verdict}"><strong><bdi>{in_html(words.headline(record))}</bdi></strong>{points}'
        f"<p>What to do next:</p><ul>{steps}</ul></div>"
    )
    said = (words.asked(record), words.floor(report.outcome), words.accuracy(report), *words.said_besides(report))
    yield f"<ul>{''.join(f'<li><bdi>{in_html(one)}</bdi></li>' for one in said)}</ul>"


def _numbers(report: GateReport) -> Iterator[str]:
    columns = (
        Column("number"), Column("verdict", "standing"), Column("value", "n"), Column("interval", "n"),
        Column("bar", "n"), Column("rows", "n"), Column("", "wide"),
    )  # fmt: skip
    rows = []
    for one in report.numbers:
        value, interval, bar = words.number_cells(one)
        rows.append((one.name, chip(one.verdict), value, interval, bar, f"{one.rows:,}", one.sentence))
    yield f"<h2>Four numbers</h2>{table(columns, rows, cards=True)}"


def _rows_that_differ(report: GateReport) -> Iterator[str]:
    found = {kind: rows for kind, rows in groups(report.results).items() if rows}
    total = sum(map(len, found.values()))
    yield f"<h2>Rows that differ</h2><p>{counted(total, 'row')} of {len(report.results):,}</p>"
    for kind, rows in found.items():
        shown = "".join(map(_row, rows[:MOST_ROWS]))
        more = len(rows) - MOST_ROWS
        rest = f'<p class="dim">{counted(more, "more row")}; the JSON report lists them.</p>' if more > 0 else ""
        yield f"<details><summary>{in_html(kind)}: {counted(len(rows), 'row')}</summary>{shown}{rest}</details>"


def _row(one: RowResult) -> str:
    head = f"<bdi>{in_html(words.cut(one.row.id, 200))}</bdi>, line {one.row.line:,}"
    if one.row.stratum:
        head += f", <bdi>{in_html(words.cut(one.row.stratum, 200))}</bdi>"
    asked = f'<div class="text" dir="auto">{in_html(words.input_text(one.row.messages, TEXT))}</div>'
    prod, candidate = (words.cut(side.answer.text or "", TEXT) for side in (one.prod, one.candidate))
    pieces = (
        word_differences(prod, candidate)
        if _may_be_compared(prod, candidate)
        else ([(prod, False)], [(candidate, False)])
    )
    return (
        f'<div class="pair"><p class="dim">{head}</p><p>expected <b>{_label(one.row.expect_label)}</b></p>'
        f'<h3>Asked</h3>{asked}<div class="grid">{_side("Prod", one.prod, pieces[0], "del")}'
        f"{_side('Candidate', one.candidate, pieces[1], 'ins')}</div></div>"
    )


def _may_be_compared(prod: str, candidate: str) -> bool:
    """Comparing takes up to the product of both lengths: 150 rows of two long answers took half a minute."""
    return len(prod) * len(candidate) <= _COMPARED


def _side(name: str, side: ScoredAnswer, pieces: Sequence[Piece], tag: str) -> str:
    if side.answer.failure is not None:
        said = f"failed: <bdi>{in_html(harmless(side.answer.failure))}</bdi>"
    else:
        said = f"<b>{_label(side.label)}</b>"
        if side.problem is not None:
            said += f" <bdi>{in_html(harmless(side.problem))}</bdi>"
        if not side.schema_ok:
            said += " (breaks the schema)"
    text = "".join(f"<{tag}>{in_html(piece)}</{tag}>" if differ else in_html(piece) for piece, differ in pieces)
    answer = f'<div class="text" dir="auto">{text}</div>' if side.answer.text else ""
    return f"<div><h3>{name}</h3><p>{said}</p>{answer}</div>"


def _label(label: str | None) -> str:
    return f"<bdi>{in_html(words.label_in_words(label))}</bdi>"


def _missing(report: GateReport) -> Iterator[str]:
    """Calls that failed and answers that cannot be used, each with its reasons."""
    columns = (Column("model"), Column("reason", "wide"), Column("rows", "n"))
    for title, of in (
        ("Failed calls", failures),
        ("Answers that break the schema", schema_failures),
        ("Answers without a label", without_label),
    ):
        rows = [
            row
            for name, side in (("prod", prod_of), ("candidate", candidate_of))
            for row in _reason_rows(name, of(report.results, side))
        ]
        if rows:
            yield f"<h2>{title}</h2>{table(columns, rows)}"


def _reason_rows(name: str, found: Reasons) -> Iterator[tuple[str, str, str]]:
    for reason, rows in found.listed:
        yield name, reason, f"{rows:,}"
    if found.more:
        yield name, "other reasons", f"{found.more:,}"


def _matrix(report: GateReport) -> Iterator[str]:
    found = confusion(report.results)
    if len(found.labels) > 1:
        yield "<h2>What prod says, and what the candidate says</h2>"
        yield '<p class="dim">Each row is a label of prod, each column one of the candidate.</p>'
        yield _matrix_table(found)


def _matrix_table(found: Confusion) -> str:
    head = "".join(f"<th>{_label(label)}</th>" for label in found.labels)
    rows = []
    for place, (label, counts) in enumerate(zip(found.labels, found.counts, strict=True)):
        same = place if label not in (OTHER, NO_LABEL) else -1  # two calls without a label agree in nothing
        cells = "".join(
            f'<td class="{"" if not count else "same" if same == other else "apart"}">{count or ""}</td>'
            for other, count in enumerate(counts)
        )
        rows.append(f"<tr><th>{_label(label)}</th>{cells}</tr>")
    more = f'<p class="dim">{counted(found.left_out, "more label")} counted together.</p>' if found.left_out else ""
    table_of = f'<table class="matrix"><tr><th></th>{head}</tr>{"".join(rows)}</table>'
    return f'<div class="scroll">{table_of}</div>{more}'


def _classes(report: GateReport) -> Iterator[str]:
    found = classes(report.results)
    if not found:
        return
    columns = (
        Column("class"), Column("rows", "n"), Column("agree", "n"), Column("prod as expected", "n"),
        Column("candidate as expected", "n"),
    )  # fmt: skip
    rows = []
    for one in found[:MOST_CLASSES]:
        many = len(one.results)
        counts = (one.agreeing, right(one.results, prod_of), right(one.results, candidate_of))
        rows.append((one.name or "no class", f"{many:,}", *(percent(count / many) for count in counts)))
    yield f"<h2>Classes, most disagreement first</h2>{table(columns, rows, cards=True)}"
    if len(found) > MOST_CLASSES:
        yield f'<p class="dim">{len(found) - MOST_CLASSES:,} more not shown.</p>'
    for one in found[:MOST_CLASSES]:
        matrix = confusion(one.results, _OF_A_CLASS)
        if one.agreeing < len(one.results) and len(matrix.labels) > 1:
            name = in_html(words.cut(one.name or "no class", 200))
            yield f"<details><summary><bdi>{name}</bdi></summary>{_matrix_table(matrix)}</details>"


def _made_of(report: GateReport) -> Iterator[str]:
    rows: list[tuple[str, str | Html]] = list(words.made_of(report.record))
    yield f"<h2>What this is made of</h2>{table((Column(''), Column('', 'wide')), rows)}"
