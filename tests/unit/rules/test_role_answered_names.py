"""``answers_as``: the names by which a gateway's answers call a model."""

from __future__ import annotations

import pytest

from killswitch.errors import BadRules
from killswitch.rules.role_files import load_role_text

ROLE = "role: triage\nprovider: openai\nmodels:\n  my-deployment:\n    answers_as: {names}\n"


def test_a_model_may_answer_under_other_names() -> None:
    role = load_role_text(ROLE.format(names="[gpt-5-2025-08-07, gpt-5]").encode())
    assert role.answers_as == {"my-deployment": ("gpt-5-2025-08-07", "gpt-5")}


@pytest.mark.parametrize("names", ["gpt-5", "[]", "['']", "[1]", "[[gpt-5]]", f"[{', '.join(['x'] * 21)}]"])
def test_what_names_no_models_is_refused(names: str) -> None:
    with pytest.raises(BadRules, match="answers_as"):
        load_role_text(ROLE.format(names=names).encode())


def test_an_allowed_name_is_part_of_the_setup() -> None:
    """Allowing a name after a run changes what the run rests on."""
    plain = load_role_text(b"role: triage\nprovider: openai\n")
    named = load_role_text(ROLE.format(names="[gpt-5]").encode())
    assert plain.setup("my-deployment", "a") != named.setup("my-deployment", "a")
    assert plain.asking("my-deployment", "a") == named.asking("my-deployment", "a")
    assert plain.setup("b", "a") == named.setup("b", "a")
