r"""The text in which services show their metrics, and recordings keep them.

Reads what a counter needs of Prometheus' text format 0.0.4 and of OpenMetrics 1.0: names, labels, values, times.
(prometheus-client's own parser renames counters, and takes 30 microseconds a line.)

Python's ideas of a line, of blanks and of numbers are wider than the formats': U+2028 or a form feed inside a
label's value ends no line, and digits of other scripts are no number. So a line ends at ``\n`` alone, blanks are
spaces and tabs, and numbers are ASCII. One ``\r`` before the ``\n`` is let pass, as editors on Windows write it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# In a value nothing but \", \\ and \n is an escape; a backslash before anything else stands for itself.
_QUOTED = r'"(?:[^"\\\n]|\\.)*"'
_BRACES = rf'\{{(?:[^"{{}}\n]|{_QUOTED})*\}}'  # a brace may stand in a value
_LINE = re.compile(
    rf"""([a-zA-Z_:][a-zA-Z0-9_:]*(?:[ \t]*{_BRACES})?  # the series
        |{_BRACES})                                     # likewise, where the name is quoted
        [ \t]*(?<=[ \t}}])([^ \t\#\n{{}}"]+)             # the value
        (?:[ \t]+([^ \t\#\n{{}}"]+))?                    # a time, in the format's own unit
        [ \t]*(?:\#.*)?                                 # an exemplar""",
    re.VERBOSE,
)
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(rf"[ \t]*([a-zA-Z_][a-zA-Z0-9_]*|{_QUOTED})[ \t]*=[ \t]*({_QUOTED})[ \t]*(?:,|$)")
_QUOTED_NAME = re.compile(rf"[ \t]*({_QUOTED})[ \t]*(?:,|$)")
_ESCAPE = re.compile(r'\\([\\"n])')
_NUMBER = re.compile(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|(?i:inf(?:inity)?|nan))")


def sample_of(line: str) -> tuple[str, str, str | None]:
    """Series, value and time of a line, as they stand there. Raises ValueError for what is no sample."""
    found = _LINE.fullmatch(line.removesuffix("\n").removesuffix("\r").strip(" \t"))
    if found is None:
        raise ValueError(f"not a sample: {line[:80]!r}")
    series, value, time = found.groups()
    return series, value, time


def lines_of(text: str) -> Iterator[str]:
    """The lines of either format that are neither blank nor comments, without their ends."""
    for line in text.split("\n"):
        content = line.removesuffix("\r").strip(" \t")
        if content and not content.startswith("#"):
            yield content


def samples_of(text: str) -> Iterator[tuple[str, float]]:
    """Series, as it stands there, and value of every sample. Raises ValueError."""
    for line in lines_of(text):
        series, value, _ = sample_of(line)
        yield series, value_of(value)


def is_number(text: str) -> bool:
    """Whether the format knows this as a number; Python's ``float`` also takes 1_000 and other scripts' digits."""
    return _NUMBER.fullmatch(text) is not None


def value_of(text: str) -> float:
    """A sample's value. Raises ValueError for what is no number of the format."""
    if not is_number(text):
        raise ValueError(f"not a number: {text[:40]!r}")
    return float(text)


def series_of(text: str) -> tuple[str, dict[str, str]]:
    """``name{label="value"}`` taken apart, escapes resolved; ``{"name", …}`` as Prometheus 3 writes other names.

    A label whose value is empty is no label, as in Prometheus: OpenTelemetry's exporter writes ``error_type=""`` into
    every series from the first error on, and they stay the series they were. Raises ValueError.
    """
    found = _NAME.match(text)
    name = found.group() if found is not None else ""
    inside = text[len(name) :].strip(" \t")
    labels: dict[str, str] = {}
    if inside:
        if not (inside.startswith("{") and inside.endswith("}")):
            raise ValueError(f"not a series: {text[:80]!r}")
        position, end = 1, len(inside) - 1
        if not name and (quoted := _QUOTED_NAME.match(inside, position, end)) is not None:
            name, position = _unquoted(quoted[1]), quoted.end()
        while inside[position:end].strip(" \t"):
            label = _LABEL.match(inside, position, end)
            key = _unquoted(label[1]) if label is not None else ""
            if label is None or not key or key in labels:
                raise ValueError(f"labels that cannot be read: {text[:80]!r}")
            labels[key] = _unquoted(label[2])
            position = label.end()
    if not name:
        raise ValueError(f"not a series: {text[:80]!r}")
    return name, {label: value for label, value in labels.items() if value}


def _unquoted(text: str) -> str:
    if not text.startswith('"'):
        return text
    return _ESCAPE.sub(lambda escape: "\n" if escape[1] == "n" else escape[1], text[1:-1])
