"""Prompts in classes named by their words."""

from __future__ import annotations

import json
import random
from collections import Counter
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from killswitch.errors import BadDocument
from killswitch.shadow.prompt_classes import MOST_CLASSES, OTHER, SAMPLE, UNSORTED, PromptClasses

TOPICS = {
    "refund": (
        "I was charged twice on my card, can I get my money back?",
        "How do I request a refund for invoice {}?",
        "The refund for my last payment has not arrived on my card.",
        "Please refund the payment of order {}",
    ),
    "package": (
        "Where is my package {}? Tracking says it is late.",
        "My delivery is late, the tracking number is {}",
        "The package was delivered to a wrong address",
        "When will the package with tracking {} be delivered?",
    ),
    "password": (
        "I cannot log in, my password is not accepted",
        "How can I reset the password of my account?",
        "My account is locked after too many login attempts",
        "The reset link for my password does not arrive",
    ),
}


def prompts(count: int, seed: int = 1) -> list[tuple[str, str]]:
    draw = random.Random(seed)
    topics = [draw.choice(sorted(TOPICS)) for _ in range(count)]
    return [(topic, draw.choice(TOPICS[topic]).format(draw.randint(1000, 9999))) for topic in topics]


def sorted_prompts(classes: PromptClasses, count: int, seed: int = 1) -> list[tuple[str, str]]:
    return [(topic, classes.classify(prompt)) for topic, prompt in prompts(count, seed)]


@cache
def sorted_classes() -> bytes:
    classes = PromptClasses()
    sorted_prompts(classes, SAMPLE)
    return classes.to_json()


def test_topics_become_classes_named_by_their_words() -> None:
    found = Counter(sorted_prompts(PromptClasses(), 600)[SAMPLE:])
    sorted_out = Counter({one: times for one, times in found.items() if one[1] != OTHER})
    assert sorted_out.total() > 0.8 * found.total()
    for name in {name for _, name in sorted_out}:
        topics = Counter({topic: times for (topic, one), times in sorted_out.items() if one == name})
        assert max(topics.values()) > 0.9 * topics.total(), name
    assert {topic for topic in TOPICS for _, name in sorted_out if topic in name.split()} == set(TOPICS)


def test_there_are_no_classes_before_there_is_a_sample() -> None:
    classes = PromptClasses()
    assert {name for _, name in sorted_prompts(classes, SAMPLE - 1)} == {UNSORTED}
    assert classes.names == []


def test_a_class_keeps_its_name_and_members() -> None:
    """Whatever comes later, and in another process."""
    classes = PromptClasses()
    sorted_prompts(classes, SAMPLE)
    names = list(classes.names)
    before = sorted_prompts(classes, 100, seed=5)
    for number in range(3 * SAMPLE):
        classes.classify(f"quantum physics lecture about black holes number {number} and galaxies")
    assert classes.names[: len(names)] == names
    again = sorted_prompts(PromptClasses.from_json(classes.to_json()), 100, seed=5)
    assert [one for one in again if one[1] in names] == [one for one in before if one[1] in names]


def test_a_new_topic_founds_a_class_later() -> None:
    classes = PromptClasses()
    sorted_prompts(classes, SAMPLE)
    assert classes.classify("lecture about galaxies and quantum physics") == OTHER
    for _ in range(2 * SAMPLE):
        classes.classify("lecture about galaxies and quantum physics")
    assert classes.classify("lecture about galaxies and quantum physics") == "galaxies lecture physics"


def test_classes_are_the_same_for_the_same_prompts() -> None:
    assert sorted_prompts(PromptClasses(), 600) == sorted_prompts(PromptClasses(), 600)


def test_there_are_at_most_twenty_classes() -> None:
    classes = PromptClasses()
    for number in range(2_000):
        word = f"topic{'abcdefghij'[number % 10]}{'klmn'[number // 10 % 4]}"
        classes.classify(f"{word} word about {word}")
    assert 0 < len(classes.names) <= MOST_CLASSES


def test_a_word_of_few_prompts_names_no_class() -> None:
    """It may be about one person."""
    classes = PromptClasses()
    for number in range(SAMPLE):
        classes.classify(f"package tracking {'Mustermann' if number in (3, 7, 77) else ''}")
    assert classes.names
    assert not any("mustermann" in name for name in classes.names)


@given(st.lists(st.text(st.characters(codec=None, exclude_categories=()), max_size=50), max_size=30))
@settings(max_examples=30, deadline=None)
def test_any_prompt_has_a_class(texts: list[str]) -> None:
    classes = PromptClasses.from_json(sorted_classes())
    for text in texts:
        assert classes.classify(text) in {*classes.names, OTHER}


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"[]",
        b'{"format": 2}',
        b'{"format": 1, "names": ["a"], "centres": [], "weights": []}',
        b'{"format": 1, "names": ["a"], "centres": [[[99999, 1]]], "weights": []}',
        b'{"format": 1, "names": ["a"], "centres": [[["x", 1]]], "weights": [1]}',
        json.dumps({"format": 1, "names": [], "centres": None, "weights": None}).encode(),
    ],
)
def test_a_broken_file_of_classes_is_refused(stored: bytes) -> None:
    with pytest.raises(BadDocument):
        PromptClasses.from_json(stored)
