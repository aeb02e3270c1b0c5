"""The reference page of role files, and the JSON Schema by which editors complete and check them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from killswitch.rules.editor_schema import tidy
from killswitch.rules.reference_tables import key_tables
from killswitch.rules.role_schema import BarsSpec, RoleFile, RoleModelSpec, RoleWatchSpec

ROLE_DOCS = Path("docs/role-files.md")
ROLE_SCHEMA = Path("rules/killswitch-role.schema.json")

# Whole files, each read by a test, so that no example here is refused.
ROLE_EXAMPLES: Mapping[str, str] = {
    "A classifier with a schema": """\
role: review_triage
provider: openai
key_file: /run/secrets/openai
parameters: {temperature: 0}
system: |
  Sort the review. Answer with JSON: {"label": "bug" | "praise" | "other"}.
schema:
  type: object
  properties: {label: {enum: [bug, praise, other]}}
  required: [label]
golden: golden/review_triage.jsonl
prices: prices.json
max_per_day: $5
""",
    "A candidate of another provider": """\
role: support
provider: openai
key_file: /run/secrets/openai
system: {file: prompts/support.md}
schema: {file: schemas/support.json}
models:
  claude-haiku-4-5-20251001: {provider: anthropic, key_file: /run/secrets/anthropic}
prices: prices.json
""",
    "A server of your own, whose answers are plain words": """\
role: language_of_text
provider: openai
url: https://llm.example.org/v1
ca_file: /etc/ssl/own-ca.pem
max_output_tokens: 5
bars: {latency: 1.1, cost: 1}
prices: prices.json
""",
}


def role_reference() -> str:
    """The text of ``docs/role-files.md``."""
    return "".join(f"{line}\n" for section in (_introduction(), _keys(), _examples()) for line in section)


def role_schema_text() -> str:
    """The JSON Schema (draft 2020-12) of a role file, as it is committed."""
    schema: dict[str, Any] = RoleFile.model_json_schema(by_alias=True, mode="validation")
    tidy(schema)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps({**head, **schema, "title": "Kill switch role file"}, indent=2, ensure_ascii=False) + "\n"


def _introduction() -> Iterator[str]:
    yield "# Role files"
    yield ""
    yield "<!-- Generated: `python -m killswitch.rules.reference`. Change the schema's descriptions, not this file. -->"
    yield ""
    yield "Each role has one YAML file, in a folder of their own (`--roles`, `KILLSWITCH_ROLES`). What they are for:"
    yield "[the gate](gate.md). Every error of every file is printed at once, with file, line and fix. Editors complete"
    yield "and check a file by `rules/killswitch-role.schema.json`. `page` has the keys that it has in a"
    yield "[rule file](rules.md#keys-of-page)."
    yield ""


def _keys() -> Iterator[str]:
    return key_tables(
        (
            ("Keys of a file", RoleFile, ""),
            ("Keys of a model", RoleModelSpec, "`models.<id>`: "),
            ("Keys of `bars`", BarsSpec, ""),
            ("Keys of `watch`", RoleWatchSpec, ""),
        )
    )


def _examples() -> Iterator[str]:
    yield "## Examples"
    for title, text in ROLE_EXAMPLES.items():
        yield from ("", f"### {title}", "", "```yaml", text.rstrip("\n"), "```")
