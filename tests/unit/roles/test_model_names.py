"""Which names float, and where a text names a model that is asked.

The corpus was written before the rules. Each line of it says at its end which floating names must be found in it.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.roles.model_names import ModelNames
from killswitch.roles.named_values import Syntax, named_values, syntax_of

SHIPPED = tomllib.loads(Path("killswitch/roles/model_aliases.toml").read_text())
NAMES = ModelNames(SHIPPED["aliases"], words=SHIPPED["words"], stems=SHIPPED["stems"])
CORPUS = sorted((Path(__file__).parent / "lint_corpus").glob("*.txt"))


def found(text: str, name: str) -> list[tuple[int, str]]:
    """The floating names of a file called ``name``, each with its line."""
    return [
        (text.count("\n", 0, value.start) + 1, value.text)
        for value in named_values(text, syntax_of(name), NAMES.may_be)
        if NAMES.floating(value.text, keyed=value.keyed) is not None
    ]


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_each_floating_name_of_the_corpus_is_found(path: Path) -> None:
    wanted: list[tuple[int, str]] = []
    lines = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        text, _, names = line.partition("FLOATS ")
        wanted += [(number, name) for name in names.split()]
        lines.append(re.sub(r"\s*(//|#)?\s*$", "", text) if names else line)
    assert found("\n".join(lines), path.name.removesuffix(".txt")) == wanted
    assert wanted


@pytest.mark.parametrize(
    ("name", "pin"),
    [
        ("gpt-4o", "gpt-4o-2024-11-20"),
        ("openai/gpt-4o", "gpt-4o-2024-11-20"),
        ("openrouter/openai/gpt-4o:online", "gpt-4o-2024-11-20"),
        ("openai:gpt-4o", "gpt-4o-2024-11-20"),
        ("azure/gpt-4.1", "gpt-4.1-2025-04-14"),
        ("models/gemini-2.0-flash", "gemini-2.0-flash-001"),
        ("gemini/gemini-2.5-pro", None),
        ("gemini-flash-latest", None),
        ("us.anthropic.claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
        ("bedrock/anthropic.claude-v2", "anthropic.claude-v2:1"),
        ("claude-3-5-sonnet@latest", "claude-3-5-sonnet-20241022"),
        ("claude-sonnet-4-5@default", "claude-sonnet-4-5-20250929"),
        ("mistral-medium-latest", "mistral-medium-2508"),
    ],
)
def test_a_floating_name_is_known_with_its_pin(name: str, pin: str | None) -> None:
    floating = NAMES.floating(name, keyed=False)
    assert floating is not None
    assert floating.pin == pin
    assert NAMES.may_be(name)


@pytest.mark.parametrize(
    "name",
    [
        "gpt-4o-2024-08-06", "openai/gpt-4o-2024-08-06", "claude-sonnet-4-6", "claude-opus-4-8", "gemini-2.0-flash-001",
        "claude-sonnet-4-5@20250929", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic.claude-v2:1",
        "ft:gpt-4o-mini-2024-07-18:acme::id", "role:support.prod", "text-embedding-3-small", "ubuntu-latest",
        "ollama/ollama:latest", "@anthropic-ai/claude-code@latest", "claude-code@latest", "@google/gemini-cli@latest",
        "prompts/gpt-4o", "./models/gemini-2.5-pro", "/models/gpt-4o", "gpt-4o.json", "my-gpt-4o", "gpt-4o-tools", "o1",
    ],
)  # fmt: skip
def test_what_is_pinned_or_no_model_does_not_float(name: str) -> None:
    assert NAMES.floating(name, keyed=False) is None


def test_a_word_counts_only_where_a_key_says_model() -> None:
    assert NAMES.floating("o3", keyed=True) is not None
    assert NAMES.floating("openai/o3", keyed=False) is not None
    assert NAMES.floating("acme-chat-latest", keyed=False) is None
    assert NAMES.floating("acme-chat-latest", keyed=True) is not None


def test_a_user_may_hold_an_alias_to_be_pinned() -> None:
    names = ModelNames({"gpt-4o": "x", "acme": ""}, pinned=["gpt-4o"])
    assert names.floating("azure/gpt-4o", keyed=True) is None
    assert names.floating("acme", keyed=True) is not None


def test_every_pin_of_the_list_is_itself_no_floating_name() -> None:
    for name, pin in SHIPPED["aliases"].items():
        assert NAMES.floating(name, keyed=True) is not None, name
        assert not pin or NAMES.floating(pin, keyed=True) is None, pin


NOTEBOOK = r"""{
 "cells": [
  {
   "cell_type": "markdown",
   "source": [
    "We use \"gpt-4o\" here, model=\"gpt-4o\"\n"
   ]
  },
  {
   "cell_type": "code",
   "outputs": [{"text": ["model=\"gpt-4o\"\n"]}],
   "source": [
    "\"\"\"Ask \"gpt-4o\".\"\"\"\n",
    "# model=\"gpt-4o\"\n",
    "llm = LLM(model=\"gpt-4o-mini\")\n",
    "llm = LLM(model='gpt-4.1')"
   ]
  }
 ]
}
"""


def test_a_notebook_is_read_by_its_cells_of_code() -> None:
    assert found(NOTEBOOK, "a.ipynb") == [(15, "gpt-4o-mini"), (16, "gpt-4.1")]


@pytest.mark.parametrize(
    ("name", "syntax"),
    [
        ("a.py", Syntax.PYTHON), ("App.TSX", Syntax.C_LIKE), ("Dockerfile", Syntax.HASHED), (".env", Syntax.HASHED),
        (".env.local", Syntax.HASHED), ("Makefile", Syntax.HASHED), ("x", Syntax.PLAIN), ("a.md", Syntax.MARKDOWN),
    ],
)  # fmt: skip
def test_a_file_is_read_by_its_name(name: str, syntax: Syntax) -> None:
    assert syntax_of(name) is syntax


@given(st.text(max_size=300), st.sampled_from(list(Syntax)))
def test_any_text_can_be_read(text: str, syntax: Syntax) -> None:
    hostile = f'{text}"gpt-4o"{text}'
    for value in named_values(hostile, syntax, NAMES.may_be):
        assert hostile[value.start : value.start + len(value.text)] == value.text


@pytest.mark.parametrize("syntax", list(Syntax))
@pytest.mark.parametrize("text", ['"gpt-4o', "gpt-4o ", "#", '"""', "`gpt-4o`:", "/*", "model=", "```\n", "[{(", "- "])
def test_the_cost_of_a_hostile_text_is_linear(text: str, syntax: Syntax) -> None:
    """A quadratic pattern would take minutes here, and end by the time limit of tests."""
    size = 20_000 if "gpt" in text else 300_000
    for _ in named_values(text * (size // len(text)), syntax, NAMES.may_be):
        pass
