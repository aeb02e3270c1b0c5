"""Tables of keys for the reference pages, from the models that read the files."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

_WIDTH = 120


def key_tables(sections: Iterable[tuple[str, type[BaseModel], str]]) -> Iterator[str]:
    """A heading and a table for each (heading, model, words before the model's docstring), as lines of Markdown."""
    for title, model, prefix in sections:
        yield f"## {title}"
        yield ""
        said = f"{prefix}{' '.join((model.__doc__ or '').split())}"
        yield from textwrap.wrap(said, _WIDTH, break_long_words=False, break_on_hyphens=False)
        yield ""
        yield "| key | default | what it is | for example |"
        yield "|---|---|---|---|"
        for name, known in model.model_fields.items():
            examples = ", ".join(f"`{_yaml(example)}`" for example in known.examples or ())
            cells = (f"`{known.alias or name}`", _default(name, known), known.description or "", examples)
            yield f"| {' | '.join(map(cell, cells))} |"
        yield ""


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def _default(name: str, known: FieldInfo) -> str:
    if known.is_required():
        return "required"
    if known.default is PydanticUndefined:
        return "`cohort-labels`" if name == "metrics" else ""
    return "" if known.default in (None, (), {}) else f"`{_yaml(known.default)}`"


def _yaml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(part)}" for key, part in value.items()) + "}"
    return value if isinstance(value, str) else json.dumps(value)
