"""Who may press the buttons of a rollout in Slack: ids of users and of user groups."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import PlainValidator, WithJsonSchema

from killswitch.rules.units import shown
from killswitch.rules.values import Wrong, text_of

MAX_ALLOWED = 50
MAX_GROUPS = 10  # Slack is asked for the members of each, and takes twenty such questions a minute
ID_PATTERN = "[UWS][A-Z0-9]{5,20}"
_HOW = "write ids as Slack has them, such as [U012AB3CD, S012AB3CD]: `U…` or `W…` is a person, `S…` a user group"


def _allowed(value: object) -> tuple[str, ...]:
    texts = [text_of(one, 60) for one in (value if isinstance(value, list) else [value])]
    if len(texts) > MAX_ALLOWED:
        raise Wrong(f"{len(texts)} ids are too many", f"name at most {MAX_ALLOWED}; a user group is one id")
    for text in texts:
        if not re.fullmatch(ID_PATTERN, text):
            raise Wrong(f"{shown(text)} is no id of a person or a user group in Slack", _HOW)
    groups = sum(text.startswith("S") for text in set(texts))
    if groups > MAX_GROUPS:
        raise Wrong(f"{groups} user groups are too many", f"name at most {MAX_GROUPS}: Slack is asked for each of them")
    return tuple(dict.fromkeys(texts))


SlackAllow = Annotated[
    tuple[str, ...],
    PlainValidator(_allowed),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": f"^{ID_PATTERN}$"},
                {"type": "array", "items": {"type": "string", "pattern": f"^{ID_PATTERN}$"}, "maxItems": MAX_ALLOWED},
            ]
        }
    ),
]
