"""What code in two answers does."""

from __future__ import annotations

import pytest

from killswitch.shadow.facts import facts_of
from tests.unit.shadow.fact_differences import between


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("```python\nx = a + b\n```", "```python\nx = a - b\n```"),
        ("Write `a + b` there.", "Write `a - b` there."),
        ("Check `a < b` first.", "Check `a >= b` first."),
        ("SELECT * FROM users WHERE active", "DELETE FROM users WHERE active"),
        ("rm -rf `/tmp`", "rm -rf `/etc`"),
        ("Run `git push` now.", "Run `git reset` now."),
        ("Version 3.10 is needed.", "Version 3.1 is needed."),
        ("Use Python 3.10 here.", "Use Python 3.1 here."),
    ],
)
def test_code_that_does_another_thing_is_a_difference(one: str, other: str) -> None:
    assert "identifier" in between(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Run `git push` now.", "Run git push now."),
        ("Use `--force` there.", "Use `git push --force` there."),
        ("Set `timeout` and retries.", "Set timeout and `retries`."),
        ("Write `a + b` there.", "Write the sum there."),
        ("Version 2.0 is needed.", "Version 2 is needed."),
        ("Use v3.10 here.", "Use version 3.10 here."),
        ("Run SELECT 1 first.", "Run SELECT 1 first, as ever."),
        ("- a - b\n- c + d", "a - b\nc + d"),
    ],
)
def test_code_that_is_left_out_or_unmarked_is_the_same(one: str, other: str) -> None:
    assert between(one, other) == ()


@pytest.mark.parametrize("part", ["`", "` ", "```", "`a + ", "a + b ", "v1.", "```\n"])
def test_code_of_a_million_characters_has_facts(part: str) -> None:
    assert facts_of(part * (1_000_000 // len(part))).cut
