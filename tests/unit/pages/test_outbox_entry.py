from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.errors import BadDocument, IllegalTransition
from killswitch.pages import outbox_entry
from killswitch.pages.outbox_entry import FINAL, MAX_UNKNOWN_OUTCOMES, TRANSITIONS, DeliveryState, Event, OutboxEntry
from tests.doubles.pages import AT, trip_page

Step = Callable[[OutboxEntry], OutboxEntry]
STEPS: dict[Event, Step] = {
    Event.BEGIN: lambda e: outbox_entry.begin(e, "slack", by="a", at=AT),
    Event.TAKEN: lambda e: outbox_entry.taken(e, "slack", reference="C1/2", at=AT),
    Event.NOT_TAKEN: lambda e: outbox_entry.not_taken(e, "slack", error="503", at=AT),
    Event.ANSWER_LOST: lambda e: outbox_entry.answer_lost(e, "slack", error="timeout", at=AT),
    Event.ORPHANED: lambda e: outbox_entry.orphaned(e, "slack", at=AT),
    Event.GIVE_UP: lambda e: outbox_entry.give_up(e, "slack", at=AT),
}
paths = st.lists(st.sampled_from(Event), max_size=25)


def walk(path: list[Event]) -> OutboxEntry:
    """The entry after every legal step of the path."""
    entry = outbox_entry.new_entry(trip_page(), at=AT)
    for event in path:
        with suppress(IllegalTransition):
            entry = STEPS[event](entry)
    return entry


@given(paths, st.sampled_from(Event))
def test_an_illegal_step_raises_and_changes_nothing(path: list[Event], event: Event) -> None:
    entry = walk(path)
    before = outbox_entry.to_document(entry)
    if (entry.delivery("slack").state, event) in TRANSITIONS:
        STEPS[event](entry)
    else:
        with pytest.raises(IllegalTransition):
            STEPS[event](entry)
    assert outbox_entry.to_document(entry) == before


@given(paths)
def test_every_entry_comes_back_from_its_document_as_it_was(path: list[Event]) -> None:
    entry = walk(path)
    assert outbox_entry.from_document(outbox_entry.to_document(entry), page=entry.id) == entry


@given(paths)
def test_copies_are_at_most_two_and_one_for_each_orphan(path: list[Event]) -> None:
    """A copy may exist for each attempt that ended as taken, doubtful, or orphaned."""
    entry = outbox_entry.new_entry(trip_page(), at=AT)
    possible = 0
    for event in path:
        sending = entry.delivery("slack").state is DeliveryState.SENDING
        try:
            entry = STEPS[event](entry)
        except IllegalTransition:
            continue
        possible += sending and event in (Event.TAKEN, Event.ANSWER_LOST, Event.ORPHANED)
    delivery = entry.delivery("slack")
    assert possible <= MAX_UNKNOWN_OUTCOMES + delivery.orphaned
    assert delivery.unknown <= MAX_UNKNOWN_OUTCOMES


@given(paths)
def test_what_is_delivered_stays_delivered(path: list[Event]) -> None:
    entry = outbox_entry.taken(walk(path), "slack", reference="C1/2", at=AT)
    for step in STEPS.values():
        with suppress(IllegalTransition):
            entry = step(entry)
    assert entry.delivery("slack").state is DeliveryState.DELIVERED
    assert entry.delivery("slack").reference == "C1/2"


def test_a_certain_failure_does_not_end_an_earlier_doubt() -> None:
    """A certain failure after a doubtful attempt leaves the doubt."""
    entry = walk([Event.BEGIN, Event.ANSWER_LOST, Event.BEGIN, Event.NOT_TAKEN])
    assert entry.delivery("slack").state is DeliveryState.UNKNOWN
    assert entry.delivery("slack").may_have_arrived


def test_an_entry_is_settled_when_every_receiver_is() -> None:
    """An entry is settled when every receiver has come to an end and the fallback where it is needed."""
    delivered = walk([Event.BEGIN, Event.TAKEN])
    expired = walk([Event.GIVE_UP])
    assert delivered.settled(["slack"], "phone")
    assert not delivered.settled(["slack", "webhook"], "phone")
    assert expired.settled(["slack"])
    assert not expired.settled(["slack"], "phone")
    assert not outbox_entry.begin(delivered, "phone", by="a", at=AT).settled(["slack"], "phone")
    assert delivered.delivery("slack").state in FINAL


def test_a_page_that_nobody_wants_is_for_the_fallback() -> None:
    entry = outbox_entry.new_entry(trip_page(), at=AT)
    assert entry.settled([])
    assert not entry.settled([], "phone")


@given(st.data())
def test_a_spoiled_document_is_refused_or_read_whole(data: st.DataObject) -> None:
    document = json.loads(outbox_entry.to_document(walk([Event.BEGIN, Event.ANSWER_LOST])))
    target = data.draw(st.sampled_from([document, document["page"], document["deliveries"]["slack"]]))
    name = data.draw(st.sampled_from(sorted(target)))
    target[name] = data.draw(st.sampled_from([None, 3, -1.5, "x", [], [1], {}, True, 1e400]))
    with suppress(BadDocument):  # any other exception fails the test
        outbox_entry.from_document(json.dumps(document).encode(), page="support-copilot.7")


def test_an_entry_under_another_pages_key_is_refused() -> None:
    with pytest.raises(BadDocument, match="holds page"):
        outbox_entry.from_document(outbox_entry.to_document(walk([])), page="other.1")
