"""Writes what the Helm chart says of its values: ``values.yaml``, ``values.schema.json`` and the page of values.

All three are made from `docs.tools.chart_values`, by ``python -m docs.tools.reference`` with the other generated files.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from docs.tools.chart_values import Value, values

CHART = Path("deploy/helm")
COMMAND = "python -m docs.tools.reference"
_INLINE = 60  # a default that is longer, in JSON, is written over several lines


def values_yaml(listed: Iterable[Value]) -> str:
    """The chart's defaults, each under what it is."""
    lines = [
        f"# Generated: `{COMMAND}` from docs/tools/chart_values.py. Change values in a file of yours, and give it with",
        "# `helm install -f`. What each may be is in values.schema.json, which helm checks.",
    ]
    before: list[str] = []
    for value in listed:
        *parents, name = value.path.split(".")
        shared = _shared(before, parents)
        for depth, key in enumerate(parents[shared:], shared):
            lines.append(f"{'  ' * depth}{key}:")
        before = parents
        indent = "  " * len(parents)
        said = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", value.about)
        lines += [f"{indent}# {line}" for line in textwrap.wrap(said, 118 - len(indent), break_on_hyphens=False)]
        lines += [f"{indent}{line}" for line in _entry(name, value.default)]
    return "\n".join(lines) + "\n"


def _shared(one: list[str], other: list[str]) -> int:
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count


def _entry(name: str, default: Any) -> list[str]:
    inline = json.dumps(default, ensure_ascii=False)
    if not isinstance(default, dict | list) or not default or (isinstance(default, list) and len(inline) < _INLINE):
        return [f"{name}: {inline}"]
    return yaml.safe_dump({name: default}, sort_keys=False, width=200, allow_unicode=True).rstrip().splitlines()


def schema(listed: Iterable[Value]) -> dict[str, Any]:
    """The JSON Schema that helm checks values with: a key that is not in it is refused."""
    root: dict[str, Any] = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$comment": f"Generated: {COMMAND}",
        "title": "Values of the kill switch's chart",
        "type": "object",
        "additionalProperties": False,
        # helm adds `global` by itself where another chart depends on this one
        "properties": {"global": {"type": "object"}},
    }
    for value in listed:
        *parents, name = value.path.split(".")
        place = root
        for key in parents:
            empty = {"type": "object", "additionalProperties": False, "properties": {}}
            place = place["properties"].setdefault(key, empty)
        place["properties"][name] = {"description": value.about, **value.schema}
    return root


def values_page(listed: Iterable[Value]) -> Iterator[str]:
    """The table of values."""
    yield from (
        "# Values of the Helm chart",
        "",
        f"<!-- Generated: `{COMMAND}`. Change docs/tools/chart_values.py, not this file. -->",
        "",
    )
    yield from textwrap.wrap(
        "How the chart is installed is in [Kubernetes with Helm](helm.md). A value that is not listed here is refused, "
        "and so is a setting that the daemon does not have. The last column says when a change arrives: *restart* "
        "replaces the pods one after the other, *reload* reaches the running ones within about a minute, *at once* "
        "changes something else than the pods.",
        120,
    )
    yield from ("", "| value | default | what it is | a change arrives |", "|---|---|---|---|")
    for value in listed:
        about = value.about.replace("|", "\\|")
        yield f"| `{value.path}` | {_shown(value.default)} | {about} | {arrives(value)} |"


def _shown(default: Any) -> str:
    if default in ("", [], {}):
        return ""
    text = json.dumps(default, ensure_ascii=False) if not isinstance(default, str) else default
    return f"`{text}`" if len(text) <= _INLINE else "see `values.yaml`"


_RELOAD = ("rules.files", "roles.files", "secret.create")
_AT_ONCE = ("networkPolicy.", "monitoring.", "dashboard.", "replicas", "etcd.")


def arrives(value: Value) -> str:
    """``reload``, ``restart`` or ``at once``: when a changed value is in force. A test compares it with the pods."""
    if value.path in _RELOAD:
        return "reload"
    if value.path == "etcd.enabled":  # the daemon gets another flag store
        return "restart"
    return "at once" if value.path.startswith(_AT_ONCE) else "restart"


def pages() -> dict[Path, str]:
    """The three files' texts."""
    listed = tuple(values())
    return {
        CHART / "values.yaml": values_yaml(listed),
        CHART / "values.schema.json": json.dumps(schema(listed), indent=2, ensure_ascii=False) + "\n",
        Path("docs/helm-values.md"): "\n".join(values_page(listed)) + "\n",
    }
