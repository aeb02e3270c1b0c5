"""The buttons of an incident's message: which there are, and that their values say what they are bound to."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.errors import BadDocument
from killswitch.flags.flag import Flag, trip
from killswitch.flags.transitions import Actor
from killswitch.pages import events
from killswitch.pages.page import Page, PageKind
from killswitch.pages.receivers.slack_buttons import (
    LIVE_FOR,
    MAX_VALUE,
    Button,
    ButtonValue,
    actions_block,
    button_of,
    from_value,
    revision_to_bind,
    to_value,
)
from tests.doubles.pages import AT, SETTINGS, armed, trip_page

NONCE = "0f" * 16


def drawn(page: Page, *, revision: int | None = 41, acknowledged: bool = False) -> dict[str, Any]:
    block = actions_block(page, revision, now=AT, nonce=NONCE, acknowledged=acknowledged)
    assert block is not None
    return block


def ids(block: dict[str, Any]) -> list[str]:
    return [element["action_id"] for element in block["elements"]]


def tripped(flag: Flag) -> Flag:
    return trip(
        flag,
        rollout=flag.rollout,
        reason="bad",
        rules=(),
        incident=f"{flag.rollout}.{flag.generation}",
        now=AT,
        by="ann",
        actor=Actor.PERSON,
    )


def test_a_trip_has_four_buttons() -> None:
    found = [button_of(one) for one in ids(drawn(trip_page()))]
    assert found == [Button.ACKNOWLEDGE, Button.HOLD, Button.REARM, Button.END]


def test_an_acknowledged_trip_has_three() -> None:
    assert Button.ACKNOWLEDGE.action_id not in ids(drawn(trip_page(), acknowledged=True))


def test_a_pinned_rollout_offers_no_rearm_and_no_end() -> None:
    """A person must unpin it first, so neither would be allowed."""
    block = drawn(replace(trip_page(), kind=PageKind.PINNED))
    assert ids(block) == [Button.ACKNOWLEDGE.action_id, Button.HOLD.action_id]


def test_every_value_is_bound_to_generation_and_revision() -> None:
    page = trip_page()
    for element in drawn(page)["elements"]:
        value = from_value(element["value"])
        assert value == ButtonValue(page.rollout, page.generation, 41, NONCE, int(AT + LIVE_FOR))


def test_the_block_is_within_slacks_limits() -> None:
    """Also for the longest name that a rollout can have."""
    block = drawn(replace(trip_page(), rollout="r" * 63), revision=2**62)
    assert len(block["block_id"]) <= 255
    assert all(len(one["action_id"]) <= 255 and len(one["value"]) <= MAX_VALUE for one in block["elements"])
    assert all(len(one["accessibility_label"]) <= 75 for one in block["elements"])
    assert all(len(one["text"]["text"]) <= 75 for one in block["elements"])


def test_good_news_and_other_pages_have_no_buttons() -> None:
    page = events.re_armed(armed(), reason="fixed", by="ann", settings=SETTINGS)
    assert actions_block(page, 41, now=AT, nonce=NONCE) is None


def test_without_a_revision_there_are_no_buttons() -> None:
    assert actions_block(trip_page(), None, now=AT, nonce=NONCE) is None


def test_only_that_generation_while_it_is_stopped_is_bound() -> None:
    """A message about generation 3 gets no button of generation 4, whatever the flag's revision is."""
    flag = armed()
    page = replace(trip_page(), rollout=flag.rollout, generation=flag.generation)
    stopped = tripped(flag)
    assert revision_to_bind(page, stopped, 7) == 7
    assert revision_to_bind(page, flag, 7) is None
    assert revision_to_bind(page, None, 0) is None
    assert revision_to_bind(page, replace(stopped, generation=flag.generation + 1), 7) is None
    assert revision_to_bind(replace(page, rollout="another"), stopped, 7) is None


def test_no_other_action_is_a_button_of_ours() -> None:
    for other in (None, 3, "", "rearm", "killswitch.", "killswitch.trip", "other.rearm", ["killswitch.rearm"]):
        assert button_of(other) is None


def test_only_rearm_and_end_ask() -> None:
    assert [one for one in Button if one.asks] == [Button.REARM, Button.END]


VALUES = st.builds(
    ButtonValue,
    rollout=st.from_regex(r"[a-z0-9][a-z0-9._-]{0,61}[a-z0-9]", fullmatch=True),
    generation=st.integers(1, 2**40),
    revision=st.integers(1, 2**62),
    nonce=st.from_regex(r"[0-9a-f]{16,64}", fullmatch=True),
    expires_at=st.integers(1, 2**40),
)


@given(VALUES)
def test_a_value_comes_back_as_it_was(value: ButtonValue) -> None:
    text = to_value(value)
    assert len(text) <= MAX_VALUE
    assert from_value(text) == value


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES, st.sampled_from(["format", "rollout", "generation", "revision", "nonce", "expires_at"]), JSON)
def test_a_value_with_a_spoiled_field_is_refused_or_whole(value: ButtonValue, field: str, other: object) -> None:
    """What is read is always a value that could have been written: names, positive numbers, a nonce of digits."""
    document = json.loads(to_value(value)) | {field: other}
    try:
        read = from_value(json.dumps(document))
    except BadDocument:
        return
    assert from_value(to_value(read)) == read


@given(JSON | st.text().map(str) | st.binary())
def test_whatever_is_not_ours_is_refused(given_value: object) -> None:
    with pytest.raises(BadDocument):
        from_value(given_value)
    with pytest.raises(BadDocument):
        from_value(json.dumps(given_value) if not isinstance(given_value, bytes) else given_value)


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 3000, "[" * 1900, '{"format":1}', '{"format":2}', "null", "x" * (MAX_VALUE + 1)]
)
def test_hostile_texts_are_refused(text: str) -> None:
    with pytest.raises(BadDocument):
        from_value(text)
