"""Whatever other people's documents hold: a terminal and a log line show it as text, and act upon none of it."""

from __future__ import annotations

import io
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from killswitch.cli.console import Terminal
from killswitch.cli.logs import _Human, _Json
from killswitch.cli.terminal import json_text, one_line, visible
from killswitch.deadline import Deadline
from killswitch.pages.page import page_from_json, page_to_json
from killswitch.pages.receivers.console import ConsolePager
from tests.doubles.pages import trip_page

# clear the screen, retitle the window, the one-byte forms, a return over the line, right-to-left, half a pair
HOSTILE = "ok\x1b[2J\x1b]0;owned\x07\x9b31m\rFORGED\u202egnp\ud800\u2028end"
texts = st.text(st.one_of(st.sampled_from(HOSTILE), st.characters()), max_size=60)


def acted_upon(shown: str) -> list[str]:
    return [character for character in shown if not character.isprintable() and character != "\n"]


def printed(renderable: object, *, styled: bool = False, **how: object) -> str:
    stream = io.StringIO()
    Terminal(file=stream, force_terminal=styled, color_system="truecolor" if styled else None, width=200).print(
        renderable,
        **how,  # type: ignore[arg-type]  # markup and soft_wrap, as the commands give them
    )
    return stream.getvalue()


@given(texts)
def test_no_text_brings_control_characters_to_a_terminal(text: str) -> None:
    table = Table(box=None)
    table.add_column("name")
    table.add_row(Text(text))
    table.add_row("a cell given as a string, between two others")
    for shown in (printed(text, markup=False, soft_wrap=True), printed(Text(text)), printed(table)):
        assert acted_upon(shown) == []


def test_styles_of_our_own_are_still_styles() -> None:
    shown = printed(Text("tripped", style="bold red"), styled=True)
    assert shown.startswith("\x1b[")
    assert "tripped" in shown
    shown = printed(Text(HOSTILE, style="bold red"), styled=True)
    assert "\x1b[2J" not in shown
    assert "\x1b]" not in shown
    assert "\x9b" not in shown


@given(texts)
def test_printable_text_of_any_script_is_left_as_it_is(text: str) -> None:
    assert visible(text).replace("?", "") == "".join(c for c in text if c.isprintable() or c in "\n\t").replace("?", "")


@given(st.dictionaries(texts, st.lists(texts) | texts))
def test_no_text_of_a_shown_document_begins_its_own_line(document: dict[str, object]) -> None:
    """No text of a document that is shown line by line can begin a line of its own."""
    shown = one_line(document)
    leaves = [leaf for value in shown.values() for leaf in (value if isinstance(value, list) else [value])]
    assert all(leaf.isprintable() for leaf in leaves)
    assert shown.keys() == document.keys()


@given(st.recursive(texts | st.integers() | st.booleans(), lambda inner: st.dictionaries(texts, inner, max_size=3)))
def test_json_output_reads_back_and_holds_nothing_to_act_upon(document: object) -> None:
    for indent in (None, 2):
        shown = json_text(document, indent=indent)
        assert acted_upon(shown) == []
        assert json.loads(shown) == json.loads(json.dumps(document))
        shown.encode()  # half a surrogate pair would make the stream itself fail


def record(text: str, *, failed: bool = False) -> logging.LogRecord:
    error = RuntimeError(text)
    reason = (RuntimeError, error, None) if failed else None
    return logging.LogRecord("killswitch", logging.ERROR, __file__, 1, "copilot %s", (text,), reason)


@given(texts, st.booleans())
def test_a_json_log_line_is_one_line_whatever_a_label_says(text: str, failed: bool) -> None:
    """A log line for machines is one line of JSON, whatever a label says."""
    line = _Json().format(record(text, failed=failed))
    assert acted_upon(line) == []
    assert "\n" not in line
    assert json.loads(line)["message"].startswith("copilot ")


@given(texts, st.booleans())
def test_a_log_line_for_people_begins_with_its_time(text: str, failed: bool) -> None:
    """A log line for people begins with its time. Every other line of it is indented."""
    first, *others = _Human().format(record(text, failed=failed)).split("\n")
    assert acted_upon(first) == []
    assert first[:2] == "20"
    assert all(line.startswith("    ") and acted_upon(line) == [] for line in others)


def test_an_exception_of_megabytes_is_cut_to_its_end() -> None:
    line = _Json().format(record("x" * 5_000_000, failed=True))
    assert len(line) < 50_000


@pytest.mark.parametrize("field", ["headline", "why", "next_steps", "rows"])
def test_a_page_somebody_wrote_into_the_outbox_is_printed_as_text(field: str) -> None:
    document = json.loads(json.dumps(page_to_json(trip_page())))
    match field:
        case "next_steps":
            document[field] = [HOSTILE]
        case "rows":
            document[field][0] |= {"rule": HOSTILE, "verdict": HOSTILE, "samples": HOSTILE}
        case _:
            document[field] = HOSTILE
    stream = io.StringIO()
    ConsolePager(stream).send(page_from_json(document), possible_repeat=False, deadline=Deadline(1))
    assert acted_upon(stream.getvalue()) == []
