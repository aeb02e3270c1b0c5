"""The reference of role files: its examples are role files, and editors' schema takes what the loader takes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest

from killswitch.rules.document import read_document
from killswitch.rules.role_files import load_role_text
from killswitch.rules.role_reference import ROLE_EXAMPLES, role_schema_text

GUIDE = Path(__file__).parents[3] / "docs" / "gate.md"
IN_THE_GUIDE = re.findall(r"```yaml\n(role: .*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("text", [*ROLE_EXAMPLES.values(), *IN_THE_GUIDE])
def test_every_example_is_a_role_file(text: str, tmp_path: Path) -> None:
    """For the loader and for editors, with the files that it names."""
    for name in re.findall(r"\{file: (.*?)\}", text):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert load_role_text(text.encode(), folder=tmp_path).name
    jsonschema.Draft202012Validator(json.loads(role_schema_text())).validate(read_document(text.encode()).value)


@pytest.mark.parametrize(
    "line", ["lable: $", "timeout: 60", "fences: perhaps", "probe: 1", "bars: {schema: 2}", "max_per_day: 5"]
)
def test_editors_refuse_what_the_loader_refuses(line: str) -> None:
    """As far as a schema can say it."""
    value = read_document(f"role: r\nprovider: openai\n{line}\n".encode()).value
    assert not jsonschema.Draft202012Validator(json.loads(role_schema_text())).is_valid(value)
