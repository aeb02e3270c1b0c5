"""Answers compared with pins: provider's prefixes, deployments, hostile names, bounds, and what is counted."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from killswitch.router.pinned.answered import MAX_ANSWERED, OTHER, Mismatches, answered_model, bare, matches
from killswitch.router.pinned.role_metrics import RoleInstruments

PIN = "gpt-5-2026-01-10"


def counting() -> tuple[Mismatches, CollectorRegistry]:
    registry = CollectorRegistry()
    return Mismatches(series=RoleInstruments.of(registry).mismatches.labels), registry


def counted(registry: CollectorRegistry) -> dict[tuple[str, str, str], float]:
    return {
        (one.labels["role"], one.labels["pinned"], one.labels["answered"]): one.value
        for metric in registry.collect()
        for one in metric.samples
        if one.name == "llm_model_mismatch_total"
    }


@pytest.mark.parametrize(
    ("pinned", "answered", "same"),
    [
        (PIN, PIN, True),
        ("openai/" + PIN, PIN, True),
        (PIN, "azure/" + PIN, True),
        ("gemini-2.5-flash", "models/gemini-2.5-flash", True),
        ("gemini/gemini-2.5-flash", "gemini-2.5-flash", True),
        ("meta-llama/Llama-3-8B", "Llama-3-8B", True),
        ("Llama-3-8B", "meta-llama/Llama-3-8B", True),
        ("openrouter/anthropic/claude-x", "claude-x", True),
        ("a/Llama-3-8B", "b/Llama-3-8B", False),
        ("gpt-5", PIN, False),  # a floating pin is expected to answer otherwise, and is counted all the same
        (PIN, "gpt-5-2026-06-01", False),
        (PIN, PIN.upper(), False),
    ],
)
def test_only_names_of_providers_may_differ(pinned: str, answered: str, same: bool) -> None:
    assert matches(pinned, answered) is same


@given(st.text(max_size=40), st.text(max_size=40))
def test_comparing_is_fair_to_both_sides(one: str, other: str) -> None:
    assert matches(one, other) == matches(other, one)
    assert matches(one, one)
    assert bare(bare(one)) == bare(one)


def test_a_deployment_answers_as_the_model_behind_it() -> None:
    mismatches = Mismatches(deployments={"prod-triage": "gpt-4o-2024-08-06"})
    mismatches.answered("r", "prod-triage", "gpt-4o-2024-08-06")
    assert mismatches.seen() == ()
    mismatches.answered("r", "prod-triage", "gpt-4o-2024-11-20")
    assert [(one.pinned, one.answered) for one in mismatches.seen()] == [("prod-triage", "gpt-4o-2024-11-20")]


def test_an_alias_that_moves_at_midnight_is_counted_from_then() -> None:
    mismatches, registry = counting()
    for _ in range(50):
        mismatches.answered("review", PIN, PIN)
    assert counted(registry) == {}
    for _ in range(7):
        mismatches.answered("review", PIN, "gpt-5-2026-06-01")
    assert counted(registry) == {("review", PIN, "gpt-5-2026-06-01"): 7.0}
    (one,) = mismatches.seen()
    one.look(5.0)
    assert (one.number, one.seen_at) == (7, 5.0)


def test_a_provider_that_names_a_new_model_each_time_is_bounded() -> None:
    mismatches, registry = counting()
    for number in range(10_000):
        mismatches.answered("review", PIN, f"model-{number}")
    found = counted(registry)
    assert len(found) == MAX_ANSWERED + 1
    assert found["review", PIN, OTHER] == 10_000 - MAX_ANSWERED
    assert len(mismatches._verdicts) <= 4096
    for number in range(1000):
        mismatches.answered(f"role-{number}", f"pin-{number}", "m")
    assert len({role for role, _, _ in counted(registry)}) <= 201


def test_hostile_names_become_one_printable_line() -> None:
    mismatches, registry = counting()
    mismatches.answered("review", PIN, "evil\n\x1b[31m\u202e" + "x" * 5000)
    ((_, _, answered),) = counted(registry)
    assert answered.isprintable()
    assert len(answered) <= 200


@pytest.mark.parametrize("nothing", [None, "", " ", 7, b"m", [], {}, object()])
def test_an_answer_that_names_no_model_says_nothing(nothing: object) -> None:
    mismatches, registry = counting()
    mismatches.answered("review", PIN, nothing)
    mismatches.answered("review", None, "m")  # type: ignore[arg-type]
    mismatches.answered([], PIN, PIN)  # type: ignore[arg-type]
    assert (counted(registry), mismatches.seen()) == ({}, ())


def test_counts_of_many_threads_lose_none() -> None:
    mismatches, registry = counting()

    def answer() -> None:
        for _ in range(2000):
            mismatches.answered("review", PIN, "other-model")

    threads = [threading.Thread(target=answer) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (one,) = mismatches.seen()
    one.look(1.0)
    assert one.number == 16_000
    assert counted(registry) == {("review", PIN, "other-model"): 16_000.0}


class Raises:
    @property
    def model(self) -> str:
        raise RuntimeError("lazy")


@pytest.mark.parametrize(
    ("payload", "model"),
    [
        ({"model": "m"}, "m"),
        (SimpleNamespace(model="m"), "m"),
        (SimpleNamespace(type="response.created", response=SimpleNamespace(model="m")), "m"),
        ({"type": "message_start", "message": {"model": "m"}}, "m"),
        (SimpleNamespace(model_version="gemini-2.5-flash"), "gemini-2.5-flash"),
        ({"modelVersion": "gemini-2.5-flash"}, "gemini-2.5-flash"),
        ({"model": None, "response": {}}, None),
        ({"model": 7}, None),
        ("text", None),
        (None, None),
        (Raises(), None),
    ],
)
def test_the_model_is_found_in_each_providers_answer(payload: Any, model: str | None) -> None:
    assert answered_model(payload) == model


def test_of_a_name_of_megabytes_little_is_looked_at() -> None:
    """The request waits while it is compared. Its prefixes, taken off one by one, cost a second for half a megabyte."""
    mismatches, registry = counting()
    mismatches.answered("triage", PIN, "models/" * 20_000 + PIN)
    (((_, _, answered), number),) = counted(registry).items()
    assert (number, len(answered)) == (1.0, 200)
