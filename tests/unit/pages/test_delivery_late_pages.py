"""Pages that are late: which are history for a receiver, and in which order the others go out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from killswitch.flags.document import to_document as flag_document
from killswitch.pages.delivery import DeliveryPolicy
from killswitch.pages.outbox_entry import DeliveryState
from killswitch.pages.page import Page, PageKind
from killswitch.stores import Put, keys
from tests.doubles.memory_store import Call, Fault, MemoryStore
from tests.doubles.pages import armed, trip_page
from tests.doubles.receiver import Receiver, Way
from tests.unit.pages.deliveries import World


@pytest.fixture
def world() -> World:
    return World()


def flag_of(page: Page, generation: int) -> Put:
    flag = replace(armed(page.rollout), generation=generation)
    return Put(keys.flag(page.rollout), flag_document(flag))


def test_a_new_receiver_gets_no_pages_of_ended_generations(world: World) -> None:
    console, slack = Receiver(world.clock, "console"), Receiver(world.clock, "slack")
    ended, current = trip_page("ended", 1), trip_page("current", 3)
    world.write(ended, current)
    world.server.commit("a person", (), [flag_of(ended, 2), flag_of(current, 3)])
    world.run(world.process([console]), seconds=30)
    world.clock.advance(7200.0)
    both = world.process([console, slack], name="with a token")
    world.run(both, seconds=30)
    assert [copy.page.id for copy in slack.copies] == [current.id]
    assert len(console.copies) == 2
    assert world.entry(ended).delivery("slack").state is DeliveryState.EXPIRED
    assert both.status().unsettled == 0


def test_a_page_that_was_tried_before_goes_out_however_late(world: World) -> None:
    """A receiver that was down when the generation ended is no new one."""
    slack, page = Receiver(world.clock, "slack"), trip_page()
    slack.script.extend([Way.UNAVAILABLE])
    world.write(page)
    world.run(world.process([slack]), seconds=0.5)
    world.server.commit("a person", (), [flag_of(page, page.generation + 1)])
    world.clock.advance(7200.0)
    world.run(world.process([slack], name="later"), seconds=60)
    assert [copy.page.id for copy in slack.copies if copy.page] == [page.id] * len(slack.copies)
    assert world.entry(page).delivery("slack").state is DeliveryState.DELIVERED


def test_a_late_page_about_the_fleet_that_no_one_took_is_sent(world: World) -> None:
    """That the first receiver has just taken it makes it no old news for the second."""
    hook, slack = Receiver(world.clock, "webhook"), Receiver(world.clock, "slack")
    page = replace(trip_page(), kind=PageKind.BLIND, rollout="", id="blind.1")
    world.write(page)
    world.clock.advance(7200.0)
    both = world.process([hook, slack])
    world.run(both, seconds=30)
    assert (hook.copies_of(page.id), slack.copies_of(page.id)) == (1, 1)
    added = Receiver(world.clock, "added")
    world.run(world.process([hook, slack, added], name="later"), seconds=30)
    assert (slack.copies_of(page.id), added.copies_of(page.id)) == (1, 0)


def test_old_pages_do_not_hold_up_a_lane_in_a_store_that_hangs(world: World) -> None:
    """A page that says the store is down would wait behind all of them."""
    console, slack, store = Receiver(world.clock, "console"), Receiver(world.clock, "slack"), world.server
    world.write(*(trip_page(f"ended{number}", 1) for number in range(40)))
    world.run(world.process([console]), seconds=200)
    world.clock.advance(7200.0)
    hanging = MemoryStore(store, "with a token")

    def hangs(call: Call) -> Fault | None:
        if call.name != "get":
            return None
        world.clock.advance(5.0)
        return Fault.FAIL_BEFORE

    hanging.fault = hangs
    began = world.clock.monotonic()
    world.process([console, slack], store=hanging).run_once()
    assert world.clock.monotonic() - began <= 2 * DeliveryPolicy().claim_ttl


def test_good_news_does_not_come_before_the_page_it_is_about(world: World) -> None:
    """The receiver was ill during the outage: what failed is tried after what is new, but not after its own end."""
    receiver, first = Receiver(world.clock), trip_page()
    end = replace(first, id=f"{first.id}.recovered", kind=PageKind.RECOVERED, follows=first.id)
    receiver.way = lambda: Way.UNAVAILABLE
    delivery = world.process([receiver], policy=DeliveryPolicy(single_pages_per_minute=100))
    delivery.send_directly(first)
    world.run(delivery, seconds=60)
    delivery.send_directly(end)
    receiver.way = lambda: Way.TAKE
    world.run(delivery, seconds=120)
    assert [copy.page.id for copy in receiver.copies] == [first.id, end.id]
