"""Model families by name, and who must not judge whom."""

from __future__ import annotations

import pytest

from killswitch.errors import BadSettings
from killswitch.shadow.judge.family import check_families, families_of


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("gpt-4o", "openai"),
        ("gpt4o-mini", "openai"),
        ("openai/o3-mini", "openai"),
        ("o1", "openai"),
        ("azure/gpt-5.1", "openai"),
        ("chatgpt-4o-latest", "openai"),
        ("ft:gpt-4o-mini:acme::abc", "openai"),
        ("claude-sonnet-4-5", "anthropic"),
        ("bedrock/anthropic.claude-3-5-sonnet-20240620-v1:0", "anthropic"),
        ("us.anthropic.claude-opus-4", "anthropic"),
        ("vertex_ai/claude-haiku-4", "anthropic"),
        ("gemini/gemini-2.5-pro", "google"),
        ("google/gemma-3-27b-it", "google"),
        ("openai/llama-3.3-70b", "meta"),
        ("meta-llama/Llama-3.1-8B-Instruct", "meta"),
        ("fireworks_ai/accounts/fireworks/models/llama-v3p1-8b", "meta"),
        ("llama3", "meta"),
        ("mistralai/Mixtral-8x7B", "mistral"),
        ("Qwen/Qwen2.5-72B", "qwen"),
        ("qwq-32b", "qwen"),
        ("deepseek-ai/custom-v2", "deepseek"),
        ("command-r-plus", "cohere"),
        ("xai/grok-4", "xai"),
        ("bedrock/amazon.nova-pro-v1:0", "amazon"),
        ("ai21.jamba-1-5-large-v1:0", "ai21"),
        ("nvidia/nemotron-4-340b", "nvidia"),
        ("watsonx/ibm/granite-3-8b", "ibm"),
    ],
)
def test_a_name_shows_its_family(model: str, family: str) -> None:
    assert families_of(model) == {family}


@pytest.mark.parametrize("model", ["", "azure/production", "openai/support", "bedrock/abc", "model-2", "oslo", "oo1"])
def test_a_name_of_ones_own_shows_none(model: str) -> None:
    """A deployment's name, or a prefix that routes to anything, is no family."""
    assert families_of(model) == frozenset()


def test_the_suffix_of_a_tuned_model_hides_no_family() -> None:
    """People choose the suffix, which may be another family's word."""
    assert "openai" in families_of("ft:gpt-4o-mini-2024-07-18:acme:nova-bot:9abc")
    assert families_of("openrouter/meta-llama/llama-3.3-70b:free") == {"meta"}


def test_a_name_of_no_family_does_not_judge_itself() -> None:
    with pytest.raises(BadSettings, match="have one name"):
        check_families("azure/Support", "support")
    assert "is unknown" in (check_families("azure/Support", "support", insist=True) or "")
    assert "is unknown" in (check_families("azure/judge", "support") or "")


def test_a_distilled_model_is_of_both_families() -> None:
    assert families_of("deepseek-r1-distill-llama-70b") == {"deepseek", "meta"}


@pytest.mark.parametrize(
    ("judge", "candidate"),
    [
        ("gpt-4o", "azure/gpt-5"),
        ("o3", "chatgpt-4o-latest"),
        ("anthropic/claude-opus-4", "bedrock/us.anthropic.claude-haiku-4"),
        ("llama-3", "deepseek-r1-distill-llama-70b"),
    ],
)
def test_a_judge_of_the_candidates_family_is_refused(judge: str, candidate: str) -> None:
    with pytest.raises(BadSettings, match="another family"):
        check_families(judge, candidate)
    assert "prefer" in (check_families(judge, candidate, insist=True) or "")


@pytest.mark.parametrize(("judge", "candidate"), [("claude-4", "support-v2"), ("my-judge", "gpt-5"), ("a", "b")])
def test_an_unknown_family_is_a_warning_and_no_silent_pass(judge: str, candidate: str) -> None:
    assert "unknown" in (check_families(judge, candidate) or "")


def test_two_families_need_no_warning() -> None:
    assert check_families("claude-4", "gpt-5") is None
