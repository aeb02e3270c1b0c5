"""Reads PromQL selectors and matchers strictly: ``errors_total{code=~"5.."}``.

Selectors of many rollouts are later joined into one query, where one bad regular expression would blind
every rollout of the query. So names must follow Prometheus' own grammar, and regular expressions are held to
a part of RE2 that this file can check.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import cast

from killswitch.model import Matcher, MatchOperator, Selector
from killswitch.rules.units import shown

METRIC_PATTERN = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL_PATTERN = r"[a-zA-Z_][a-zA-Z0-9_]*"
MAX_VALUE = 512
MAX_NAME = 100
MAX_MATCHERS = 30

_LABEL = re.compile(LABEL_PATTERN + r"\Z", re.ASCII)
_SELECTOR = re.compile(rf"\s*({METRIC_PATTERN})?\s*(?:\{{(.*)\}})?\s*\Z", re.ASCII | re.DOTALL)
_MATCHER = re.compile(
    rf"""\s*({LABEL_PATTERN})\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')\s*(,|\Z)""", re.ASCII | re.DOTALL
)
_ESCAPES = {"\\": "\\", '"': '"', "'": "'", "n": "\n", "t": "\t"}


class SelectorError(ValueError):
    """A selector, matcher or regular expression is refused. ``what`` is wrong, ``fix`` says what to write."""

    def __init__(self, what: str, fix: str) -> None:
        self.what = what
        self.fix = fix
        super().__init__(f"{what}; fix: {fix}")


def parse_selector(text: str) -> tuple[str | None, tuple[Matcher, ...]]:
    """A metric name (None if there are only ``{matchers}``) and its matchers. Raises SelectorError."""
    match = _SELECTOR.match(text)
    if match is None or not text.strip():
        raise SelectorError(
            f"{shown(text)} is not a selector",
            """write a counter's name with matchers at most: 'my_errors_total{code=~"5.."}' """
            "(no functions, ranges or arithmetic; those belong in `query:`)",
        )
    metric, inside = match[1], match[2]
    if metric is not None and len(metric) > MAX_NAME:
        raise SelectorError(f"the metric name has {len(metric)} characters", f"use at most {MAX_NAME}")
    return metric, () if inside is None else parse_matchers(inside)


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """``service=~"a|b", env!="dev"``, with or without braces. Raises SelectorError."""
    inside = text.strip()
    if inside.startswith("{") and inside.endswith("}"):
        inside = inside[1:-1]
    matchers = []
    position = 0
    while position < len(inside.rstrip()):
        match = _MATCHER.match(inside, position)
        if match is None:
            raise SelectorError(
                f"{shown(inside[position:].strip())} is not a label matcher",
                """write label="value", label!="value", label=~"regex" or label!~"regex", with commas between""",
            )
        label, operator, quoted = match[1], cast("MatchOperator", match[2]), match[3]
        matchers.append(checked(Matcher(label, operator, _unescape(quoted[1:-1]))))
        position = match.end()
    return _few(matchers)


def matchers_from_mapping(values: Mapping[str, object]) -> tuple[Matcher, ...]:
    """``{service: copilot}`` as equality matchers; a list of values means any of them. Raises SelectorError."""
    return _few([_equality(label, value) for label, value in values.items()])


def _equality(label: str, value: object) -> Matcher:
    _check_label(label)
    if isinstance(value, Sequence) and not isinstance(value, str):
        if not value:
            raise SelectorError(f"label {label}: the list is empty", "name at least one value")
        members = [_equality(label, member) for member in value]
        return checked(Matcher(label, "=~", "|".join(re.escape(member.value) for member in members)))
    if not isinstance(value, str):
        said = "a mapping" if isinstance(value, Mapping) else json.dumps(value)
        raise SelectorError(f"label {label}: {said} is not a text", f'put the value in quotes: {label}: "…"')
    if value.startswith(("=~", "!~", "!=")):
        raise SelectorError(
            f"label {label}: {shown(value)} would be taken literally",
            f"""write the matcher in PromQL, in quotes: '{label}{value[:2]}"…"' """.rstrip(),
        )
    return checked(Matcher(label, "=", value))


def _check_label(label: str) -> None:
    if not _LABEL.match(label) or len(label) > MAX_NAME:
        raise SelectorError(
            f"{shown(label)} is not a label name", "use letters, digits and _, beginning with a letter or _"
        )
    if label.startswith("__") or label == "le":
        raise SelectorError(
            f"label {label} cannot be matched here", "name the metric before the braces and leave it out"
        )


def checked(matcher: Matcher) -> Matcher:
    """The matcher itself. Raises SelectorError for names, values and regular expressions that are refused."""
    label, value = matcher.label, matcher.value
    _check_label(label)
    if len(value) > MAX_VALUE or not value.isprintable():
        raise SelectorError(
            f"label {label}: its value {shown(value)} is not allowed",
            f"use at most {MAX_VALUE} printable characters on one line",
        )
    if matcher.operator in ("=~", "!~"):
        check_regex(value)
    return matcher


def _few(matchers: Sequence[Matcher]) -> tuple[Matcher, ...]:
    if len(matchers) > MAX_MATCHERS:
        raise SelectorError(f"{len(matchers)} matchers", f"use at most {MAX_MATCHERS}")
    return tuple(matchers)


def _unescape(text: str) -> str:
    def character(match: re.Match[str]) -> str:
        if match[1] not in _ESCAPES:
            raise SelectorError(
                f"{shown(match[0])} is not an escape in a PromQL string", 'write a backslash twice: code=~"5\\\\d\\\\d"'
            )
        return _ESCAPES[match[1]]

    return re.sub(r"\\(.)", character, text, flags=re.DOTALL)


# One token of a regular expression, as RE2 and Python both read it.
_TOKEN = re.compile(
    r"""
    (?P<escape>\\(?:[dDwWsSbBnrtfv]|x[0-9a-fA-F]{2}|[ -/:-@\[-`{-~]))
  | (?P<klass>\[\^?\]?(?:\\(?:[dDwWsSnrtfv]|[!-/:-@\[-`{-~])|[^\]\\\[])*\])
  | (?P<group>\((?:\?(?::|i\)|i:))?)
  | (?P<close>\))
  | (?P<repeat>[*+?]\??|\{(?P<least>\d{1,4})(?:,(?P<most>\d{0,4}))?\}\??)
  | (?P<plain>[^\\\[\]{}()*+?])
    """,
    re.VERBOSE | re.ASCII | re.DOTALL,
)
MAX_REPEAT = 1000  # RE2's own bound, nested repetitions multiplied


def check_regex(pattern: str) -> None:
    r"""Raises SelectorError unless RE2 (Prometheus) surely accepts the pattern.

    Accepted: literals, classes, groups, alternatives, repetition, \d \w \s and escaped punctuation,
    ``(?i)`` in front. RE2 has no look-around and no back-references, and bounds repetition.
    """
    position, repeatable, last = 0, False, 1
    repeats = [1]  # per open parenthesis, the largest repetition inside it
    while position < len(pattern):
        token = _TOKEN.match(pattern, position)
        if token is None or (token["group"] == "(?i)" and position > 0) or (token["repeat"] and not repeatable):
            raise _refused(pattern, position)
        if token["group"] and token["group"] != "(?i)":
            repeats.append(1)
        last = repeats.pop() if token["close"] else last if token["repeat"] else 1
        if token["least"]:
            last *= max(int(token["least"]), int(token["most"] or 0), 1)
        if not 1 <= len(repeats) <= 20 or last > MAX_REPEAT:
            raise _refused(pattern, position)
        repeats[-1] = max(repeats[-1], last)
        # nothing to repeat after an opening, an alternative, an anchor, or another repetition
        repeatable = not (token["repeat"] or token["group"] or token["plain"] in ("|", "^", "$"))
        position = token.end()
    if len(repeats) > 1:
        raise SelectorError(f"regular expression {shown(pattern)}: a parenthesis is not closed", "close it with )")
    try:
        with warnings.catch_warnings():  # Python warns of set operations, which RE2 does not have either
            warnings.simplefilter("ignore", FutureWarning)
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise SelectorError(f"regular expression {shown(pattern)}: {error}", "correct it") from None


def _refused(pattern: str, position: int) -> SelectorError:
    return SelectorError(
        f"regular expression {shown(pattern)}: not accepted from {shown(pattern[position:])} on",
        "use plain RE2: no look-around, no back-references, no repetition of a repetition, at most "
        f"{MAX_REPEAT} repetitions; escape punctuation with a backslash",
    )


def selector_in_words(selector: Selector) -> str:
    """The selector as PromQL, for documentation and messages. Queries are quoted elsewhere, by the source."""
    inside = ",".join(matcher_in_words(matcher) for matcher in selector.matchers)
    return f"{selector.metric}{{{inside}}}" if inside else selector.metric


def matcher_in_words(matcher: Matcher) -> str:
    value = matcher.value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{matcher.label}{matcher.operator}"{value}"'
