"""Where the label is in an answer: ``$``, ``$.label``, ``$.result[0].class``."""

from __future__ import annotations

import re
from typing import Any, Final

from killswitch.errors import BadDocument
from killswitch.wording import plain

LabelPath = tuple[str | int, ...]  # keys of objects and places in lists; () is the whole answer

MAX_PATH: Final = 200  # characters
_STEP: Final = re.compile(r"\.([A-Za-z_][A-Za-z0-9_-]{0,99})|\[(0|[1-9][0-9]{0,5})\]", re.ASCII)
MISSING: Final = object()
"""What `value_at` says where the path leads nowhere; None is the JSON ``null``."""


def label_path(text: str) -> LabelPath:
    """The steps of a path. Raises BadDocument for anything else."""
    steps: list[str | int] = []
    at = 1
    while text.startswith("$") and at < len(text) <= MAX_PATH and (step := _STEP.match(text, at)) is not None:
        steps.append(step[1] if step[1] is not None else int(step[2]))
        at = step.end()
    if not text.startswith("$") or at != len(text):
        raise BadDocument(f"{plain(text, 60)!r} is no path; write $ (the whole answer), $.label or $.labels[0]")
    return tuple(steps)


def value_at(value: Any, path: LabelPath) -> Any:
    """The part of a JSON value that the path leads to; `MISSING` where it leads nowhere."""
    for step in path:
        if isinstance(step, str):
            if not isinstance(value, dict) or step not in value:
                return MISSING
        elif not isinstance(value, list) or step >= len(value):
            return MISSING
        value = value[step]
    return value
