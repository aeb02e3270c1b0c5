"""The fallback receiver: when it is asked, what it is told, and when it is left alone."""

from __future__ import annotations

import pytest

from tests.doubles.pages import trip_page
from tests.doubles.receiver import Receiver, Way
from tests.unit.pages.deliveries import World


@pytest.fixture
def world() -> World:
    return World()


def test_the_fallback_is_asked_after_two_minutes_and_told_why(
    world: World,
) -> None:
    """The fallback gets the page after two minutes, with the reason; the first receiver still gets its page later."""
    slack, phone, page = Receiver(world.clock, "slack"), Receiver(world.clock, "phone"), trip_page()
    slack.way = lambda: Way.UNAVAILABLE
    start = world.clock.monotonic()
    delivery = world.process([slack], fallback=phone)
    world.write(page)
    world.run(delivery, seconds=300)
    assert len(phone.copies) == 1
    assert 120 <= phone.copies[0].at - start <= 123
    assert "slack could not be reached" in phone.copies[0].page.next_steps[-1]
    slack.way = lambda: Way.TAKE
    world.run(delivery, seconds=90)
    assert slack.copies_of(page.id) == 1
    assert len(phone.copies) == 1
    assert delivery.status().unsettled == 0


def test_a_page_that_was_delivered_never_reaches_the_fallback(world: World) -> None:
    slack, phone, page = Receiver(world.clock, "slack"), Receiver(world.clock, "phone"), trip_page()
    world.write(page)
    world.run(world.process([slack], fallback=phone), seconds=400)
    assert phone.copies == []


def test_what_stays_uncertain_goes_to_the_fallback_at_once(world: World) -> None:
    slack, phone, page = Receiver(world.clock, "slack"), Receiver(world.clock, "phone"), trip_page()
    slack.way = lambda: Way.SWALLOWED
    world.write(page)
    world.run(world.process([slack], fallback=phone), seconds=60)
    assert phone.copies_of(page.id) == 1


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_jump_of_the_clock_does_not_move_the_fallback(world: World, jump: float) -> None:
    """A jump of the wall clock neither hastens nor delays the fallback."""
    slack, phone, page = Receiver(world.clock, "slack"), Receiver(world.clock, "phone"), trip_page()
    slack.way = lambda: Way.UNAVAILABLE
    start = world.clock.monotonic()
    delivery = world.process([slack], fallback=phone)
    world.write(page)
    world.run(delivery, seconds=5)
    world.clock.jump_wall(jump)
    world.run(delivery, seconds=200)
    assert 120 <= phone.copies[0].at - start <= 123
