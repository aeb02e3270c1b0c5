"""flagd's flag file: what a rule says for each state, by an evaluator of flagd's rules written for this test."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.web import flagd
from tests.unit.web.test_ofrep import NAME, armed, tripped


def rule(definition: dict[str, Any], context: dict[str, Any], share: float = 0.0) -> object:
    """The variant. ``share``: where in 0 to 1 flagd's own hash puts the user."""

    def value(of: Any) -> Any:
        if not isinstance(of, dict):
            return of
        ((operator, operands),) = of.items()
        if operator == "var":
            return context.get(operands)
        if operator == "if":
            return value(operands[1] if value(operands[0]) else operands[2])
        if operator == "fractional":
            total, reached = sum(weight for _, weight in operands[1:]), 0.0
            for variant, weight in operands[1:]:
                reached += weight / total
                if share < reached:
                    return variant
            raise AssertionError("weights do not reach 1")
        left = value(operands[0])
        if operator == "!!":
            return bool(left)
        right = value(operands[1])
        return left < right if operator == "<" else left is right if operator == "===" else pytest.fail(operator)

    targeting = definition.get("targeting")
    return value(targeting) if targeting else definition["defaultVariant"]


def definition(held: Any, *, stale: bool = False) -> dict[str, Any]:
    document = flagd.render({NAME: held}, stale=stale).document
    assert document is not None
    found: dict[str, Any] = document["flags"][NAME]
    return found


@given(st.integers(0, 9999), st.integers(1, 9900))
def test_a_context_with_our_bucket_is_split_as_by_every_router(place: int, percent: int) -> None:
    """A context with our bucket is split exactly as by every other router."""
    held = definition(armed(percent / 100))
    variant = rule(held, {"targetingKey": "u", flagd.BUCKET: place / 100})
    assert variant == ("canary" if place / 100 < percent / 100 else "control")


@given(st.floats(0, 0.999999), st.integers(1, 9900), st.integers(1, 9900))
def test_flagds_split_has_the_percent_and_a_raise_is_monotone(share: float, one: int, other: int) -> None:
    """The split that flagd makes has the percent, and raising the percent moves nobody out."""
    low, high = definition(armed(min(one, other) / 100)), definition(armed(max(one, other) / 100))
    context = {"targetingKey": "u"}
    if rule(low, context, share) == "canary":
        assert rule(high, context, share) == "canary"
    if abs(share - one / 10_000) > 1e-9:
        assert rule(definition(armed(one / 100)), context, share) == ("canary" if share < one / 10_000 else "control")


@pytest.mark.parametrize("context", [{}, {"targetingKey": ""}, {"targetingKey": None}])
def test_a_user_without_a_key_is_nobodys_canary(context: dict[str, Any]) -> None:
    assert rule(definition(armed(99.0)), context) == "control"


@pytest.mark.parametrize(
    ("held", "stale"), [(tripped(), False), (armed(99.0), True), (armed(0.0), False), (armed(5.0, "shadow"), False)]
)
def test_a_flag_without_canary_users_has_no_canary_variant(held: Any, stale: bool) -> None:
    """A flag that sends nobody to the canary has no rule and no canary variant."""
    found = definition(held, stale=stale)
    assert found["variants"] == {"control": "model-old"}
    assert found["defaultVariant"] == "control"
    assert "targeting" not in found
    assert found["state"] == "ENABLED"
    assert found["metadata"]["canaryPercent"] == 0.0


def test_a_percent_below_flagds_resolution_is_no_weight_of_zero() -> None:
    text = json.dumps(definition(armed(0.001)))
    assert "fractional" not in text
    assert rule(definition(armed(0.001)), {"targetingKey": "u"}) == "control"


def test_the_file_has_an_entity_tag_that_changes_with_what_it_says() -> None:
    first = flagd.render({NAME: armed()})
    assert first.etag is not None
    assert flagd.render({NAME: armed()}, if_none_match=first.etag).status == 304
    assert flagd.render({NAME: tripped()}, if_none_match=first.etag).status == 200
    assert flagd.render({NAME: armed()}, if_none_match=first.etag, stale=True).status == 200


def test_no_flags_are_a_file_too() -> None:
    document = flagd.render({}).document
    assert document is not None
    assert document["flags"] == {}
