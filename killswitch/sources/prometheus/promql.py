"""PromQL as text: matchers, selectors, numbers, ranges.

Label values come from rule files and rollouts' names; a quote or a bar in one must stay a character.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from killswitch.model import Matcher, Selector
from killswitch.sources.labels import quote

_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_KEYWORDS = frozenset({"and", "or", "unless", "by", "without", "on", "ignoring", "bool", "offset", "inf", "nan"})
_REGEX_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")


def one_of(label: str, values: Iterable[str]) -> str:
    """A matcher for the exact ``values`` of ``label``: an equality, or an alternation of literals."""
    distinct = sorted(set(values))
    if len(distinct) == 1:
        return f"{label_name(label)}={quote(distinct[0])}"
    return f"{label_name(label)}=~{quote('|'.join(_REGEX_SPECIAL.sub(_literally, value) for value in distinct))}"


def _literally(special: re.Match[str]) -> str:
    return "\\" + special.group()


def label_name(name: str) -> str:
    """Bare where every Prometheus reads it; quoted (Prometheus 3) where it is any other text."""
    return name if _LABEL.fullmatch(name) else quote(name)


def matcher(each: Matcher) -> str:
    return f"{label_name(each.label)}{each.operator}{quote(each.value)}"


def series(metric: str, matchers: Sequence[str]) -> str:
    """An instant selector: metric and printed matchers."""
    if _METRIC.fullmatch(metric) and metric.lower() not in _KEYWORDS:
        return metric + ("{" + ",".join(matchers) + "}" if matchers else "")
    return "{" + ",".join((f"__name__={quote(metric)}", *matchers)) + "}"


def selector(each: Selector) -> str:
    return series(each.metric, [matcher(one) for one in each.matchers])


def number(value: float) -> str:
    """A literal: ``90``, ``1.5``."""
    return f"{value:.15g}"


def duration(seconds: float) -> str:
    """A duration such as ``300s``. If it is not in whole seconds, it is in milliseconds, which Prometheus resolves."""
    milliseconds = round(seconds * 1000)
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"
