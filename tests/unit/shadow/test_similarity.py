"""How alike two texts are, by n-grams and by vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from killswitch.shadow.similarity import CharacterGrams, EmbeddingSimilarity, Vectors
from tests.doubles.two_answers import DENIED, REFUND

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=200)


def by_grams(one: str, other: str) -> float:
    (likeness,) = CharacterGrams().between([(one, other)])
    return likeness


def test_grams_pass_lies_and_see_refusals() -> None:
    """The measured order: a lie is nearer than a paraphrase, so a threshold alone cannot work."""
    paraphrase = "We issued your refund of $25 on May 3, 2026; expect it within 5 business days."
    refusal = "I'm sorry, but I can't help with that."
    assert by_grams(REFUND, DENIED) > 0.9 > by_grams(REFUND, paraphrase) > 0.35 > by_grams(REFUND, refusal)


def test_grams_count_as_a_plain_count_does() -> None:
    """The hashes and the sorting give what counting substrings gives."""

    def counted(text: str) -> dict[str, int]:
        padded = f" {text} "
        grams = [padded[i : i + n] for n in (3, 4, 5) for i in range(len(padded) - n + 1)]
        return {gram: grams.count(gram) for gram in grams}

    one, other = counted("your refund was issued"), counted("your refunds were issued")
    dot = sum(times * other.get(gram, 0) for gram, times in one.items())
    lengths = np.sqrt(sum(n * n for n in one.values()) * sum(n * n for n in other.values()))
    assert by_grams("your refund was issued", "your refunds were issued") == pytest.approx(dot / lengths)


def test_case_and_white_space_do_not_count() -> None:
    assert by_grams("Your  REFUND\n", "your refund") == pytest.approx(1.0)


@given(ANY_TEXT, ANY_TEXT)
@settings(max_examples=100, deadline=None)
def test_any_two_texts_are_from_0_to_1_alike(one: str, other: str) -> None:
    assert 0.0 <= by_grams(one, other) <= 1.0
    assert by_grams(one, other) == pytest.approx(by_grams(other, one))
    assert by_grams(one, one) == pytest.approx(1.0)


class Scripted:
    name = "scripted vectors"

    def __init__(self, vectors: dict[str, list[float]]) -> None:
        self.vectors = vectors
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.asked += texts
        return np.array([self.vectors[text] for text in texts], np.float32)


def test_vectors_are_compared_by_their_angle_and_each_text_is_embedded_once() -> None:
    embedder = Scripted({"a": [2.0, 0.0], "b": [3.0, 3.0], "c": [-1.0, 0.0], "": [0.0, 0.0]})
    measure = EmbeddingSimilarity(embedder, 0.7)
    found = measure.between([("a", "b"), ("a", "c"), ("a", "a"), ("a", "")])
    assert found == pytest.approx([0.7071, 0.0, 1.0, 0.0], abs=1e-4)
    assert sorted(embedder.asked) == ["", "a", "b", "c"]
    assert measure.name == "cosine of scripted vectors"


def test_no_pairs_ask_no_embedder() -> None:
    embedder = Scripted({})
    assert EmbeddingSimilarity(embedder, 0.7).between([]) == []
    assert embedder.asked == []
