"""The report of a gate run for a terminal: fits 80 columns, in colour on a terminal, plain in a pipe.

Texts of models and users are made visible and one line: no escape sequence and no markup of them is acted on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from killswitch.gate.answers import RowResult, ScoredAnswer
from killswitch.gate.report import words
from killswitch.gate.report.differences import (
    MOST_CLASSES,
    Reasons,
    candidate_of,
    classes,
    confusion,
    failures,
    groups,
    prod_of,
    right,
    schema_failures,
    without_label,
)
from killswitch.gate.report.document import GateReport
from killswitch.roles.gate_record import GateNumber, GateRecord, GateVerdict
from killswitch.shadow.report.hostile_text import in_terminal
from killswitch.wording import counted

_COLOURS = {
    GateVerdict.PASS: "green",
    GateVerdict.FAIL: "red",
    GateVerdict.TOO_FEW_ROWS: "yellow",
    GateVerdict.NEEDS_APPROVAL: "yellow",
    GateVerdict.UNKNOWN: "yellow",
}
_WIDTH = 80
_WIDEST = 110
_ROWS_OF_A_GROUP = 5
_MOST_LABELS = 6
_LABEL = 12
_TEXT = 600  # characters of a text that are looked at; what is shown is shorter still
_REASONS = 4


def print_report(report: GateReport, console: Console | None = None) -> None:
    """Print the report to standard output, or to ``console``."""
    _print(_report(report), console)


def print_record(record: GateRecord, console: Console | None = None) -> None:
    """Print what the store keeps of a run: all of the report but its rows."""
    _print((*_heading(record), *_numbers(record.numbers), *_made_of(record), *_next(record)), console)


def _print(parts: Iterator[RenderableType] | Sequence[RenderableType], console: Console | None) -> None:
    shown = Console(highlight=False, markup=False, emoji=False) if console is None else console
    width = min(shown.width, _WIDEST) if shown.is_terminal else _WIDTH
    for part in parts:
        shown.print(part, width=width)


def _report(report: GateReport) -> Iterator[RenderableType]:
    yield from _heading(report.record)
    yield from _numbers(report.numbers)
    yield _line(words.floor(report.outcome))
    yield _line(words.accuracy(report))
    for sentence in words.said_besides(report):
        yield _line(sentence, style="yellow")
    yield from _reasons(report)
    yield from _differing(report)
    yield from _matrix(report)
    yield from _classes(report)
    yield from _made_of(report.record)
    yield from _next(report.record, report.unrecorded)


def _heading(record: GateRecord) -> Iterator[RenderableType]:
    yield _line(words.headline(record), style=f"bold {_COLOURS[record.verdict]}")
    if record.point_estimates:
        yield _line(words.POINT_ESTIMATES, style="yellow")
    yield _line(f"{record.role}: {words.compared(record)}")
    yield _line(words.asked(record))


def _numbers(numbers: Sequence[GateNumber]) -> Iterator[RenderableType]:
    table = _table("number", "verdict", "value", "interval", "bar")
    for one in numbers:
        value, interval, bar = words.number_cells(one)
        verdict = Text(words.VERDICT_WORDS[one.verdict], style=_COLOURS[one.verdict])
        table.add_row(_text(one.name), verdict, _text(value), _text(interval), _text(bar))
    yield table
    for one in numbers:
        yield _line(one.sentence)
    yield Text()


def _reasons(report: GateReport) -> Iterator[RenderableType]:
    for name, side in (("prod", prod_of), ("candidate", candidate_of)):
        for what, of in (
            ("failed calls", failures),
            ("breaks the schema", schema_failures),
            ("no label", without_label),
        ):
            yield from _reason_lines(f"{name}, {what}", of(report.results, side))


def _reason_lines(title: str, found: Reasons) -> Iterator[RenderableType]:
    if not found.rows:
        return
    yield _line(f"{title}: {counted(found.rows, 'row')}")
    for reason, rows in found.listed[:_REASONS]:
        yield Padding(_line(f"{rows:,} x {reason}"), (0, 0, 0, 2))
    rest = found.rows - sum(rows for _, rows in found.listed[:_REASONS])
    if rest:
        yield Padding(_line(f"{rest:,} for other reasons"), (0, 0, 0, 2))


def _differing(report: GateReport) -> Iterator[RenderableType]:
    for kind, rows in groups(report.results).items():
        if not rows:
            continue
        yield Text()
        yield _line(f"{kind}: {counted(len(rows), 'row')}", style="bold")
        table = _table("row", "expected", "prod", "candidate", "input")
        table.columns[0].max_width = table.columns[1].max_width = _LABEL
        table.columns[2].max_width = table.columns[3].max_width = _LABEL
        for one in rows[:_ROWS_OF_A_GROUP]:
            table.add_row(*(_text(cell) for cell in _row(one)))
        yield table
        if len(rows) > _ROWS_OF_A_GROUP:
            yield _line(f"and {len(rows) - _ROWS_OF_A_GROUP:,} more; the HTML and JSON reports show them", style="dim")


def _row(one: RowResult) -> tuple[str, str, str, str, str]:
    said = words.input_text(one.row.messages, _TEXT)
    return (
        one.row.id,
        words.label_in_words(one.row.expect_label),
        _label(one.prod),
        _label(one.candidate),
        said,
    )


def _label(answer: ScoredAnswer) -> str:
    return "failed" if answer.answer.failure is not None else words.label_in_words(answer.label)


def _matrix(report: GateReport) -> Iterator[RenderableType]:
    found = confusion(report.results, _MOST_LABELS)
    if len(found.labels) < 2:
        return
    yield Text()
    yield _line("prod's label (row) and the candidate's (column)", style="bold")
    names = [words.label_in_words(label) for label in found.labels]
    table = _table("", *names)
    for column in table.columns:
        column.max_width = _LABEL
    for name, counts in zip(names, found.counts, strict=True):
        table.add_row(_text(name), *(_text(f"{count:,}" if count else ".") for count in counts))
    yield table


def _classes(report: GateReport) -> Iterator[RenderableType]:
    found = classes(report.results)
    if not found:
        return
    yield Text()
    table = _table("class, worst first", "rows", "agree", "prod right", "candidate right")
    for one in found[:MOST_CLASSES]:
        rows = len(one.results)
        shares = (
            count / rows for count in (one.agreeing, right(one.results, prod_of), right(one.results, candidate_of))
        )
        table.add_row(
            _text(one.name or "no class"), _text(f"{rows:,}"), *(_text(f"{share * 100:.1f}%") for share in shares)
        )
    yield table
    if len(found) > MOST_CLASSES:
        yield _line(f"and {len(found) - MOST_CLASSES:,} more classes", style="dim")


def _made_of(record: GateRecord) -> Iterator[RenderableType]:
    yield Text()
    for name, said in words.made_of(record):
        yield _line(f"{name:<11}{said}", style="dim")


def _next(record: GateRecord, unrecorded: str = "") -> Iterator[RenderableType]:
    yield Text()
    for place, step in enumerate(words.next_steps(record, unrecorded)):
        yield _line(f"{'next: ' if place == 0 else '      '}{step}")


def _table(*names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(_text(name), overflow="ellipsis", no_wrap=True)
    return table


def _line(text: str, *, style: str = "") -> Text:
    return Text(in_terminal(text), style=style, overflow="fold")


def _text(text: str) -> Text:
    return Text(in_terminal(text))
