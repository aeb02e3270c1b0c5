"""The text in which services show their metrics, and recordings keep them.

Reads what a counter needs of Prometheus' text format and of OpenMetrics: names, labels, values, times.
(prometheus-client's own parser renames counters, and takes 30 microseconds a line.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_LINE = re.compile(
    r"""([a-zA-Z_:][a-zA-Z0-9_:]*                    # the metric's name
        (?:[ \t]*\{(?:[^"{}]|"(?:[^"\\]|\\.)*")*\})?) # its labels; a brace may stand in a value
        [ \t]+([^\s\#]+)                              # the value
        (?:[ \t]+([^\s\#]+))?                         # a time, in the format's own unit
        [ \t]*(?:\#.*)?                               # an exemplar""",
    re.VERBOSE,
)
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)', re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


def sample_of(line: str) -> tuple[str, str, str | None]:
    """Series, value and time of a line, as they stand there. Raises ValueError for what is no sample."""
    found = _LINE.fullmatch(line.strip())
    if found is None:
        raise ValueError(f"not a sample: {line[:80]!r}")
    series, value, time = found.groups()
    return series, value, time


def samples_of(text: str) -> Iterator[tuple[str, float]]:
    """Series, as it stands there, and value of every sample. Raises ValueError."""
    for line in text.splitlines():
        if line and not line.isspace() and not line.startswith("#"):
            series, value, _ = sample_of(line)
            yield series, value_of(value)


def value_of(text: str) -> float:
    """A sample's value. Raises ValueError; a number with underscores is none here."""
    if "_" in text:
        raise ValueError(f"not a number: {text[:40]!r}")
    return float(text)


def series_of(text: str) -> tuple[str, dict[str, str]]:
    """``name{label="value"}`` taken apart, escapes resolved. Raises ValueError."""
    name = _NAME.match(text)
    if name is None:
        raise ValueError(f"not a series: {text[:80]!r}")
    inside = text[name.end() :].strip()
    labels: dict[str, str] = {}
    if inside:
        position, end = 1, len(inside) - 1
        while inside[position:end].strip():
            found = _LABEL.match(inside, position, end)
            if found is None or found[1] in labels:
                raise ValueError(f"labels that cannot be read: {text[:80]!r}")
            labels[found[1]] = _ESCAPE.sub(lambda escape: {"n": "\n"}.get(escape[1], escape[1]), found[2])
            position = found.end()
    return name.group(), labels
