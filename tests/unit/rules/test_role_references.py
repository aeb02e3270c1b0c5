"""Rule files that name slots of a role instead of models."""

from __future__ import annotations

import pytest

from killswitch.errors import BadRules
from killswitch.model import Cohort, Matcher
from killswitch.rules.limits import rollout_in_words
from killswitch.rules.loading import load_text

UPGRADE = "rollout: up\ncontrol: role:support.prod\ncanary: role:support.candidate\n"


def _problems(text: str) -> str:
    with pytest.raises(BadRules) as caught:
        load_text(text.encode())
    return "\n".join(caught.value.problems)


def test_a_file_keeps_the_slots_and_the_registry_is_not_asked() -> None:
    (rollout,) = load_text(UPGRADE.encode()).rollouts
    assert (rollout.control, rollout.canary) == ("role:support.prod", "role:support.candidate")
    assert rollout.cohorts[Cohort.CANARY] == (Matcher("cohort", "=", "canary"),)
    assert "pinned when it is armed" in rollout_in_words(rollout)[0]


@pytest.mark.parametrize("preset", ["litellm", "opentelemetry-genai", "envoy-ai-gateway"])
def test_series_that_are_told_apart_by_model_are_refused(preset: str) -> None:
    said = _problems(f"{UPGRADE}metrics: {preset}\n")
    assert "rules.yaml:3: " in said
    assert "write `cohorts:` with labels that do not change with the pin" in said


def test_stated_cohorts_allow_any_preset() -> None:
    text = f"{UPGRADE}metrics: litellm\ncohorts:\n  control: {{job: a}}\n  canary: {{job: b}}\n"
    (rollout,) = load_text(text.encode()).rollouts
    assert rollout.cohorts[Cohort.CONTROL] == (Matcher("job", "=", "a"),)


def test_a_slot_is_no_label_of_a_series() -> None:
    text = f"{UPGRADE}cohorts:\n  control: {{model: role:support.prod}}\n  canary: {{model: b}}\n"
    assert "is a role's slot, which is no label of a series" in _problems(text)


@pytest.mark.parametrize(
    ("control", "canary", "line"),
    [
        ("model-old", "role:support.candidate", 3),
        ("role:support.prod", "model-new", 2),
        ("role:support.prod", "role:other.candidate", 3),
        ("role:support.prod", "role:support.prod", 3),
        ("role:support.prod", "role:support.newest", 3),
    ],
)
def test_mixed_forms_are_refused_with_their_line(control: str, canary: str, line: int) -> None:
    said = _problems(f"rollout: up\ncontrol: {control}\ncanary: {canary}\n")
    assert f"rules.yaml:{line}: " in said
    assert "write " in said
