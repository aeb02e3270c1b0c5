"""A gate report as page, comment and terminal text: hostile texts are shown, and none of them acts."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from typing import Any

import pytest
from hypothesis import example, given, settings
from markdown_it import MarkdownIt
from rich.cells import cell_len
from rich.console import Console

from killswitch.gate.report.document import GateReport
from killswitch.gate.report.html import MOST_ROWS, page
from killswitch.gate.report.markdown import LIMIT, MOST, comment
from killswitch.gate.report.terminal import print_record, print_report
from killswitch.gate.report.words import UNFINISHED
from killswitch.roles.gate_record import GateNumber, GateVerdict
from tests.doubles.gate_reports import CANDIDATE, answer, every_kind, record, report_of, row
from tests.doubles.html_reader import HOSTILE, hostile_texts, is_harmless, read

MARKDOWN = (
    "![x](http://evil.example/x.png)", "[x](javascript:alert(1))", "\n\n# heading\n\n| a | b |\n|---|---|\n",
    "\n\n</pre></details>\n\n<img src=x>", "```\n@someone #12 GH-7", "\r\n\r\n> quote", "\u2028\u2028- list",
)  # fmt: skip


def printed(report: GateReport, **console: Any) -> str:
    written = io.StringIO()
    print_report(report, Console(file=written, highlight=False, markup=False, **console))
    return written.getvalue()


@settings(deadline=None, max_examples=40)
@given(hostile_texts())
@example("".join(HOSTILE))
def test_any_text_gives_a_gate_page_without_markup_of_its_own(text: str) -> None:
    shown = page(report_of(every_kind(text or "x"), record(text=text)))
    shown.encode("utf-8")
    assert is_harmless(read(shown))


@settings(deadline=None, max_examples=40)
@given(hostile_texts())
@example("".join(HOSTILE))
@example("".join(MARKDOWN))
def test_no_text_of_a_comment_is_read_as_markdown(text: str) -> None:
    """By a parser of CommonMark, all of it is blocks of HTML; and in these nothing acts or fetches."""
    shown = comment(report_of(every_kind(text or "x"), record(text=text)))
    assert {token.type for token in MarkdownIt("gfm-like", {"linkify": False}).parse(shown)} == {"html_block"}
    reader = read(shown)
    assert is_harmless(reader)
    assert reader.tags <= {"h3", "p", "b", "code", "pre", "table", "tr", "th", "td", "ul", "li", "details", "summary"}


@pytest.mark.parametrize("text", ["@octocat fixes #12", "http://evil.example", "www.evil.example", "GH-12"])
def test_a_comment_calls_no_one_and_links_nothing(text: str) -> None:
    """Outside of `code` and `pre`, where a code host looks for people and links, the name is broken up."""
    shown = comment(report_of(every_kind(text), record(text=text)))
    outside = unescape(re.sub(r"<(code|pre)>.*?</\1>", "", shown))
    assert text not in outside
    assert not re.search(r"@\w|#\d|://|www\.|GH-", outside)


def test_a_comment_of_huge_texts_fits_the_limit() -> None:
    """Escaped, each of these characters is five or more; what is left out is said, the verdict stays."""
    odd, quoted = "\u202e" * 900, "'" * 9000
    sides = [
        (answer(quoted, text='"' * 9000), answer(f"{odd}{number}", text="&" * 9000), quoted) for number in range(60)
    ]
    alike = (answer(odd, text=quoted), answer(odd, text=quoted), "other")
    failed = (answer(None, failure=odd), answer(None, problem=odd, text=quoted), "other")
    rows = [
        row(number, expected, prod, candidate, asked="&<>" * 3000, of=odd)
        for number, (prod, candidate, expected) in enumerate([*sides, *[alike] * 50, *[failed] * 50])
    ]
    rows += [row(200 + number, "x", answer(quoted), answer(f"{odd}{number}"), asked="<" * 9000) for number in range(60)]
    rows += [row(300 + number, odd, answer("x", text=quoted), answer(odd, text=quoted)) for number in range(60)]
    shown = comment(report_of(tuple(rows), record(text="\u202e" * 5000, point_estimates=True)))
    assert len(shown.encode()) <= MOST < LIMIT
    assert shown.startswith("<h3>FAIL: ")
    assert "left out" in shown
    read(shown)


def test_long_answers_are_shown_without_marks_of_words() -> None:
    """Comparing 150 pairs of them word by word took half a minute."""
    short = row(1, "x", answer("x", text="a b"), answer("y", text="a c"))
    long = row(2, "x", answer("x", text="a b " * 1000), answer("y", text="b a " * 1000))
    assert "<del>" in page(report_of((short,)))
    assert "<del>" not in page(report_of((long,)))


def test_a_page_shows_fifty_rows_of_a_kind_and_how_many_more() -> None:
    rows = tuple(row(number, "bug", answer("bug"), answer("other")) for number in range(MOST_ROWS + 7))
    shown = page(report_of(rows))
    assert shown.count('class="pair"') == MOST_ROWS
    assert "7 more rows" in shown


def test_no_wide_table_of_a_gate_page_is_cut_on_a_phone() -> None:
    """From six columns on each row is a card; the matrix, of as many columns as labels, scrolls by itself."""
    shown = page(report_of(every_kind("bug")))
    tables = re.findall(r'<table class="(\w+)"><tr>(.*?)</tr>', shown)
    assert len(tables) > 5
    assert all(kind in ("cards", "matrix") for kind, head in tables if head.count("<th") >= 6)
    assert shown.count('<table class="matrix">') == shown.count('<div class="scroll"><table class="matrix">') > 0


@settings(deadline=None, max_examples=30)
@given(hostile_texts())
@example("\x1b[2J\x1b]0;title\x07[red]x[/red]\u202e\r\n")
def test_no_escape_sequence_of_a_text_reaches_the_terminal(text: str) -> None:
    shown = printed(report_of(every_kind(text or "x"), record(text=text)), width=80)
    # what spelling needs stays: a joiner within a word acts on nothing
    assert all(character.isprintable() or character in "\n\u200c\u200d" for character in shown)


def test_a_gate_report_fits_80_columns_and_is_plain_in_a_pipe() -> None:
    shown = printed(report_of(every_kind("a label that is very long " * 9)))
    assert max(cell_len(line) for line in shown.splitlines()) <= 80
    assert "\x1b" not in shown


@pytest.mark.parametrize("verdict", GateVerdict)
def test_no_number_or_verdict_is_cut_in_80_columns(verdict: GateVerdict) -> None:
    """TOO FEW ROWS was shown as TOO FEW RO…, with the widest interval and bar next to it."""
    wide = (GateNumber("cost", 10.25, 10.11, 10.99, 1.05, verdict, 100_000, None, "a sentence"),)
    shown = printed(report_of((), record(verdict, "because", numbers=wide)), width=80)
    line = next(one for one in shown.splitlines() if one.startswith("cost"))
    for cell in (verdict.replace("_", " "), "10.25x", "10.11x to 10.99x", "at most 1.05x prod's"):
        assert cell in line


def test_markup_of_the_terminal_is_shown_as_text() -> None:
    assert "[bold]bug" in printed(report_of(every_kind("[bold]bug")), width=80)


@pytest.mark.parametrize("verdict", GateVerdict)
def test_the_verdict_is_the_first_line_of_every_form(verdict: GateVerdict) -> None:
    report = report_of(every_kind("bug"), record(verdict, "because"))
    words = f"{verdict.replace('_', ' ')}: because"
    assert printed(report, width=80).startswith(words)
    assert comment(report).startswith(f"<h3>{words}</h3>")
    texts = read(page(report)).texts
    assert texts.index(words) < texts.index("Four numbers")


FORMS: dict[str, Callable[[GateReport], str]] = {
    "terminal": lambda report: printed(report, width=80),
    "page": page,
    "comment": comment,
}
each_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


@each_form
def test_point_estimates_are_said_above_the_numbers(form: Callable[[GateReport], str]) -> None:
    shown = form(report_of(every_kind("bug"), record(point_estimates=True)))
    assert shown.index("point estimates") < shown.index("91.0% to 98.0%")


@each_form
def test_a_key_in_an_error_is_in_no_report(form: Callable[[GateReport], str]) -> None:
    rows = (row(1, "bug", answer("bug"), answer(None, failure="400 https://x.example/v1?key=SECRET", model=CANDIDATE)),)
    shown = form(report_of(rows))
    assert "SECRET" not in shown
    assert "x.example/v1" in shown


@each_form
def test_each_form_says_floor_cost_rows_and_what_is_next(form: Callable[[GateReport], str]) -> None:
    shown = unescape(form(report_of(every_kind("bug"))))
    for said in ("prod disagrees with itself", "$0.0412", "120 of 200 rows", "killswitch role waive", "ab" * 32):
        assert said in shown


@each_form
def test_a_run_that_is_not_recorded_promises_no_promotion(form: Callable[[GateReport], str]) -> None:
    passed = report_of(every_kind("bug"), record(GateVerdict.PASS, "all is well"))
    assert "killswitch role promote" in form(passed)
    shown = unescape(form(replace(passed, unrecorded="a first look")))
    assert "killswitch role promote" not in shown
    assert "a first look: no promotion can rest on this run" in " ".join(shown.split())


@each_form
def test_a_stopped_run_says_how_to_go_on_and_offers_no_waiver(form: Callable[[GateReport], str]) -> None:
    stopped = replace(report_of((), record(GateVerdict.UNKNOWN, "it was stopped")), unrecorded=UNFINISHED)
    shown = " ".join(unescape(form(stopped)).split())
    assert "run the same command again" in shown
    assert "waive" not in shown


@pytest.mark.parametrize(
    ("verdict", "step"),
    [
        (GateVerdict.PASS, 'next: killswitch role promote review_triage --reason "why"\n'),
        (GateVerdict.NEEDS_APPROVAL, "killswitch role approve review_triage"),
        (GateVerdict.NEEDS_APPROVAL, 'then: killswitch role promote review_triage --reason "why"\n'),
        (GateVerdict.FAIL, "killswitch role waive review_triage"),
        (GateVerdict.TOO_FEW_ROWS, "add rows to the golden set"),
        (GateVerdict.UNKNOWN, "run the gate again"),
    ],
)
def test_a_stored_run_says_what_is_next_and_shows_no_rows(verdict: GateVerdict, step: str) -> None:
    written = io.StringIO()
    print_record(record(verdict, "because"), Console(file=written, width=80))
    assert written.getvalue().startswith(f"{verdict.replace('_', ' ')}: because")
    assert step in written.getvalue()
