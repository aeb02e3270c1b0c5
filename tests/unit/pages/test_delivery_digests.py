"""Many pages at once are gathered into a few messages, each for one channel."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from killswitch.pages.outbox_entry import DeliveryState
from killswitch.pages.page import PageKind
from tests.doubles.pages import trip_page
from tests.doubles.receiver import AddressedReceiver, Receiver
from tests.unit.pages.deliveries import World


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.slow
def test_a_thousand_pages_at_once_are_a_few_messages(world: World) -> None:
    """A thousand pages at once are a few messages, at most one a second, and no page is lost."""
    receiver = Receiver(world.clock)
    pages = [trip_page(f"rollout-{number}") for number in range(1000)]
    delivery = world.process([receiver])
    world.write(*pages)
    world.run(delivery, seconds=20, step=0.5)
    assert len(receiver.copies) <= 10
    gaps = [b - a for a, b in zip(receiver.attempts, receiver.attempts[1:], strict=False)]
    assert min(gaps) >= 1.0
    assert {world.entry(page).delivery("receiver").state for page in pages} == {DeliveryState.DELIVERED}
    assert sum(copy.page.payload.get("count", 1) for copy in receiver.copies) == 1000


def test_up_to_five_pages_a_minute_have_their_own_messages(world: World) -> None:
    receiver = Receiver(world.clock)
    pages = [trip_page(f"rollout-{number}") for number in range(5)]
    world.write(*pages)
    world.run(world.process([receiver]), seconds=30)
    assert [copy.page.kind for copy in receiver.copies] == [PageKind.TRIPPED] * 5


def test_a_stream_of_pages_is_gathered_too(world: World) -> None:
    receiver = Receiver(world.clock)
    delivery = world.process([receiver])
    for number in range(120):
        world.write(trip_page(f"rollout-{number}"))
        world.run(delivery, seconds=1)
    world.run(delivery, seconds=30)
    assert sum(copy.page.payload.get("count", 1) for copy in receiver.copies) == 120
    # two minutes: five single ones each, and a digest each ten seconds
    assert len(receiver.copies) <= 2 * 5 + 16


def test_a_receiver_without_digests_gets_each_page_by_itself(world: World) -> None:
    """PagerDuty can resolve only what was opened under its own key; it takes 120 events a minute."""
    receiver = Receiver(world.clock)
    receiver.gathers = False  # type: ignore[attr-defined]  # `Gathering` is offered, not required
    pages = [trip_page(f"rollout-{number}") for number in range(100)]
    world.write(*pages)
    world.run(world.process([receiver]), seconds=110)
    assert sorted(copy.page.id for copy in receiver.copies) == sorted(page.id for page in pages)
    assert {copy.page.kind for copy in receiver.copies} == {PageKind.TRIPPED}
    gaps = [later.at - earlier.at for earlier, later in itertools.pairwise(receiver.copies)]
    assert min(gaps) >= 0.5, "more than 120 a minute"


def test_digests_are_for_one_channel_each(world: World) -> None:
    receiver = AddressedReceiver(world.clock)
    pages = [replace(trip_page(f"rollout-{n}"), slack=f"#team-{n % 2}") for n in range(40)]
    world.write(*pages)
    world.run(world.process([receiver]), seconds=60)
    for copy in receiver.copies:
        if copy.page.kind is PageKind.DIGEST:
            told = {int(page["rollout"].removeprefix("rollout-")) % 2 for page in copy.page.payload["pages"]}
            assert told == {int(str(copy.page.slack)[-1])}
    assert {receiver.copies_of(page.id) for page in pages} == {1}
