"""Texts that come from a metric store or a person, made safe for a rule file: names, labels' values, comments. Pure."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator

from killswitch.flags.flag import MAX_NAME
from killswitch.roles.references import PREFIX
from killswitch.wording import plain

LONGEST = 200
_BARE = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
_YAML_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def writable(value: str) -> bool:
    """Whether a rule file can hold this as a label's value and as a model's name.

    The reader refuses what is empty, long, not printable, or looks like a matcher or a role's slot.
    """
    return (
        0 < len(value) <= LONGEST
        and value.isprintable()
        and value == value.strip()
        and not value.startswith(("=~", "!~", "!=", PREFIX))
    )


def scalar(text: str) -> str:
    """A text as a YAML scalar that nothing can break out of: bare where every reader agrees, else in double quotes."""
    if _BARE.fullmatch(text) and text.lower() not in _YAML_WORDS:
        return text
    return json.dumps(text, ensure_ascii=False)


def flow(values: dict[str, str]) -> str:
    """``{job: "vllm-old"}``."""
    return (
        "{"
        + ", ".join(f"{scalar(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items())
        + "}"
    )


def comment(text: str, indent: str = "") -> Iterator[str]:
    """Lines of a comment, at most 110 characters wide. A text of the store's has no line end left in it."""
    for line in textwrap.wrap(plain(text, 4000), 108 - len(indent), break_on_hyphens=False) or [""]:
        yield f"{indent}# {line}".rstrip()


def rollout_name(text: str) -> str:
    """A name for a rollout, made of some other name: lower case, and what no name may hold becomes a hyphen."""
    name = re.sub(r"[^a-z0-9._-]+", "-", text.lower())[:MAX_NAME]
    return name.strip("._-")[:63].strip("._-")
