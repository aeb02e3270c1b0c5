"""Prometheus' text format and OpenMetrics, read by their own grammar and not by Python's idea of text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from killswitch.deadline import Deadline
from killswitch.errors import BadDocument
from killswitch.model import Cohort, Counts, Matcher, Range, RatioSignal, Selector, Want
from killswitch.sources.recording import Recording
from killswitch.sources.scrape.exposition import sample_of, samples_of, series_of, value_of

# what str.splitlines, str.strip and \s take for ends of lines and blanks, and the formats do not
NO_LINE_ENDS = ["\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x1f", "\x85", "\xa0", "\u2028", "\u2029", "\u3000"]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["} 5", '"', "\\", "\\n", "\n", "a} 1 2", "#", "x # {a=1}", "\\\\n", *NO_LINE_ENDS]
)
NAMES = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True)
LABELS = NAMES.filter(lambda name: not name.startswith("__"))  # the reference refuses the names that are reserved
NUMBERS = st.floats(allow_nan=False).map(repr) | st.sampled_from(["+Inf", "-Inf", "NaN", "1e3", "7", "+4", ".5", "5."])


def escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def line(name: str, labels: dict[str, str], value: str) -> str:
    inside = ",".join(f'{label}="{escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{inside}}} {value}"


@pytest.mark.parametrize("character", NO_LINE_ENDS)
def test_a_label_may_hold_what_python_takes_for_a_line_end(character: str) -> None:
    """One client's odd text must not make the whole page unreadable."""
    text = f'a_total{{user="x{character}y"}} 1\nb_total{{user="{character}"}} 2\n'
    found = {series_of(series)[0]: (series_of(series)[1]["user"], value) for series, value in samples_of(text)}
    assert found == {"a_total": (f"x{character}y", 1.0), "b_total": (character, 2.0)}


def with_value(labels: Mapping[str, str]) -> dict[str, str]:
    return {label: value for label, value in labels.items() if value}


@given(st.lists(st.tuples(NAMES, st.dictionaries(NAMES, TEXTS, max_size=3), NUMBERS), min_size=1, max_size=5))
@example([("a", {"b": "\u2028"}, "1")])
def test_every_page_is_read_as_it_was_written(samples: list[tuple[str, dict[str, str], str]]) -> None:
    text = "# HELP a help\n# TYPE a counter\n\n" + "\n".join(line(*sample) for sample in samples) + "\n"
    found = [(*series_of(series), value) for series, value in samples_of(text)]
    assert [(name, labels) for name, labels, _ in found] == [(name, with_value(labels)) for name, labels, _ in samples]
    for (_, _, value), (_, _, wanted) in zip(found, samples, strict=True):
        assert value == float(wanted) or (math.isnan(value) and math.isnan(float(wanted)))


@given(NAMES, st.dictionaries(LABELS, TEXTS.filter(lambda text: text.isprintable()), max_size=3), NUMBERS)
def test_the_reference_parser_reads_the_same(name: str, labels: dict[str, str], value: str) -> None:
    """prometheus-client's own; it is wrong where it splits at characters that end no line, and keeps empty labels."""
    [family] = text_string_to_metric_families(line(name, labels, value) + "\n")
    [sample] = family.samples
    [(series, mine)] = samples_of(line(name, labels, value))
    assert series_of(series) == (sample.name, with_value(sample.labels))
    assert mine == sample.value or (math.isnan(mine) and math.isnan(sample.value))


@given(st.text(max_size=60) | st.from_regex(r'[a-z{}"\\ =,#1\n\r\t\x1c]{0,40}', fullmatch=True))
def test_no_text_raises_anything_but_a_value_error(text: str) -> None:
    try:
        for series, _ in samples_of(text):
            series_of(series)
    except ValueError:
        pass


@pytest.mark.parametrize("text", ["1_000", "\u0661", "1 ", "", "0x1p3", "1e", "e5", "infinit", "++1", "1\x1c"])
def test_what_the_format_does_not_call_a_number_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="not a number"):
        value_of(text)


def test_a_backslash_before_another_character_stands_for_itself() -> None:
    assert series_of(r'a{path="C:\new\dir\\x"}')[1] == {"path": "C:\new\\dir\\x"}


def test_an_empty_label_is_no_label() -> None:
    assert series_of('a{error_type="",b="1"}') == series_of('a{b="1"}') == ("a", {"b": "1"})


def test_a_name_in_quotes_is_read_as_prometheus_3_writes_it() -> None:
    [(series, value)] = samples_of('{"http.requests","le.gal"="x",b="}"} 4\n')
    assert (series_of(series), value) == (("http.requests", {"le.gal": "x", "b": "}"}), 4.0)


@pytest.mark.parametrize("series", ['a{b="1",b="2"}', "a{b=1}", "a{b}", "{}", '{b="1"}', 'a{b="1"', 'a{,b="1"}', ""])
def test_what_is_no_series_is_refused(series: str) -> None:
    with pytest.raises(ValueError, match=r"not a series|labels that cannot"):
        series_of(series)


def test_windows_line_ends_and_exemplars_are_let_pass() -> None:
    text = 'a_total{b="c"} 3 1700000000000\r\na_bucket{le="1"} 5 # {trace="} 9"} 0.4 1.0\r\n\r\n'
    assert list(samples_of(text)) == [('a_total{b="c"}', 3.0), ('a_bucket{le="1"}', 5.0)]
    assert sample_of("up 1 2\n") == ("up", "1", "2")


def test_a_long_line_of_blanks_takes_no_longer_than_its_length() -> None:
    """A hostile page of four megabytes of blanks; a pattern that tries every split would never end."""
    with pytest.raises(ValueError, match="not a sample"):
        sample_of("a" + " " * 1_000_000 + "{" + " " * 1_000_000)


def recorded(tmp_path: Path, *lines: str, end: str = "\n") -> Recording:
    path = tmp_path / "recording.om"
    path.write_bytes((end.join(lines) + f"{end}# EOF{end}").encode())
    return Recording(path)


@pytest.mark.parametrize("character", NO_LINE_ENDS)
def test_a_recording_may_hold_them_too(tmp_path: Path, character: str) -> None:
    recording = recorded(tmp_path, f'a_total{{u="x{character}y"}} 1 10', f'a_total{{u="{character} 1 2"}} 2 10.5')
    assert recording.metrics == {"a_total"}
    assert recording.span == (10.0, 10.5)


def test_a_series_may_be_written_in_several_ways(tmp_path: Path) -> None:
    """Labels in another order, or an empty one: Prometheus has one series of the three samples, and so have we."""
    written = ('a_total{b="1",c="2"} 1 10', 'a_total{c="2",b="1"} 2 11', 'a_total{b="1",c="2",error=""} 4 12')
    recording = recorded(tmp_path, *written)
    sums = RatioSignal((Selector("a_total"),), (Selector("a_total"),))
    cohorts = {cohort: (Matcher("b", "=", "1"),) for cohort in Cohort}
    want = Want("r", "a", "step", sums, cohorts, 2.0, Range.STEP)
    reading = recording.at_interval(1.0).read([want], 12.0, Deadline(1))[want.key]
    assert reading.canary == Counts(3.0, 3.0)


def test_a_recording_with_windows_line_ends_is_read(tmp_path: Path) -> None:
    recording = recorded(tmp_path, "# TYPE a counter", 'a_total{u="b"} 1 10', "a_total 2 11", end="\r\n")
    assert recording.span == (10.0, 11.0)


@pytest.mark.parametrize(
    "bad", ['a_total{u="b"} 1_0 10', 'a_total{u="b"} 1 \u06610', 'a_total{u="b} 7"} 9', 'a_total{u="b"} 1', "a 1 nan"]
)
def test_a_recording_that_breaks_the_grammar_is_refused_whole(tmp_path: Path, bad: str) -> None:
    with pytest.raises(BadDocument, match=r"recording\.om"):
        recorded(tmp_path, 'a_total{u="b"} 1 9', bad)


def test_a_brace_and_numbers_inside_a_label_value_are_text(tmp_path: Path) -> None:
    """A brace and two numbers inside a label's value do not end the labels of the line."""
    recording = recorded(tmp_path, 'a_total{u="} 3 4"} 1 7')
    assert recording.metrics == {"a_total"}
    assert recording.span == (7.0, 7.0)
