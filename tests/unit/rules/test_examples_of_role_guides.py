"""The YAML of the guides to roles and to the gate is read by the readers that its users meet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from killswitch.rules.loading import load_text
from killswitch.rules.retirement_files import load_retirements
from killswitch.rules.role_files import load_role_text

DOCS = Path(__file__).parents[3] / "docs"
OTHERS = ("repos", "jobs")  # of pre-commit and of CI
BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks() -> Iterator[tuple[str, dict[str, Any]]]:
    for guide in ("roles.md", "gate.md"):
        for number, text in enumerate(BLOCK.findall((DOCS / guide).read_text(encoding="utf-8")), 1):
            keys = yaml.safe_load(text)
            if not any(other in keys for other in OTHERS):
                yield f"{guide}, block {number}: {', '.join(keys)}", keys


EXAMPLES = dict(blocks())


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_the_guides_is_accepted(example: str, tmp_path: Path) -> None:
    """Parts of files are completed with the keys that a file needs."""
    keys = EXAMPLES[example]
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "triage.md").write_text("Sort the review.")
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "triage.json").write_text('{"type": "object"}')
    if "rollout" in keys:
        text = yaml.safe_dump({"metrics": "cohort-labels", "rules": {"error_rate": {"max": "5%"}}, **keys})
        assert load_text(text.encode()).rollouts
    elif isinstance(keys.get("retirements"), list):
        (tmp_path / "retirements.yaml").write_text(yaml.safe_dump(keys))
        assert load_retirements(tmp_path / "retirements.yaml")
    else:
        text = yaml.safe_dump({"role": "support", "provider": "openai", **keys})
        assert load_role_text(text.encode(), folder=tmp_path)


def test_the_guides_have_examples_of_each_kind() -> None:
    found = " ".join(EXAMPLES)
    assert all(key in found for key in ("rollout", "watch", "models", "retirements", "provider"))
