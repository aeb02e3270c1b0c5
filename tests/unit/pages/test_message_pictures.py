"""The picture of a trip comes after its page, once, and holds up nothing."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from killswitch.errors import Unavailable
from killswitch.page_addresses import PageAddresses
from killswitch.pages import events
from killswitch.pages.message_keeper import PICTURE_PATIENCE
from killswitch.pages.message_upkeep import Step
from killswitch.pages.page import Page, PageKind
from killswitch.pages.picture import MAX_BYTES, Picture
from tests.doubles.pages import AT, SETTINGS, armed
from tests.doubles.receiver import Way
from tests.unit.pages.chats import FOLLOWED, PICTURE, REARMED, TRIP, Chats, shows


@pytest.fixture
def world() -> Chats:
    return Chats()


def test_the_picture_comes_after_the_page_once(world: Chats) -> None:
    replica = world.replica(pictures=lambda _: PICTURE)
    world.write(TRIP, FOLLOWED)
    world.run(replica, world.replica("b", pictures=lambda _: PICTURE), seconds=60)
    assert world.message().pictures == 1
    assert world.message().details == 1


def test_a_picture_that_is_not_there_yet_is_waited_for(world: Chats) -> None:
    made: list[Picture] = []
    replica = world.replica(pictures=lambda _: made[0] if made else None)
    world.write(TRIP)
    world.run(replica, seconds=60)
    assert world.message().pictures == 0
    made.append(PICTURE)
    world.run(replica, seconds=10)
    assert world.message().pictures == 1


def test_a_picture_is_waited_for_some_minutes_only(world: Chats) -> None:
    looks = itertools.count()

    def none(_: Page) -> Picture | None:
        next(looks)
        raise Unavailable("the store is slow")

    world.write(TRIP)
    world.run(world.replica(pictures=none), seconds=PICTURE_PATIENCE * 3)
    assert next(looks) <= PICTURE_PATIENCE / 5 + 2


def test_a_picture_that_is_too_large_is_left_out(world: Chats) -> None:
    world.write(TRIP)
    world.run(world.replica(pictures=lambda _: replace(PICTURE, png=b"x" * (MAX_BYTES + 1))), seconds=20)
    assert world.message().pictures == 0


@pytest.mark.parametrize("way", [Way.DENIED, Way.REFUSED, Way.LOST_ANSWER])
def test_a_refused_picture_is_not_tried_again(world: Chats, way: Way) -> None:
    world.chat.script.extend([Way.TAKE, way])
    world.write(TRIP)
    world.run(world.replica(pictures=lambda _: PICTURE), seconds=60)
    assert world.chat.names().count("send_picture") == 1
    assert Step.PICTURE in world.upkeep().once


def test_only_incidents_have_pictures(world: Chats) -> None:
    page = events.unwatched(armed(), at=AT, settings=SETTINGS)
    world.write(page)
    world.run(world.replica(pictures=lambda _: PICTURE), seconds=20)
    assert world.message().pictures == 0


def test_a_picture_that_cannot_be_drawn_holds_up_nothing(world: Chats) -> None:
    def broken(_: Page) -> Picture | None:
        raise ValueError("a bug in drawing")

    world.write(TRIP)
    replica = world.replica(pictures=broken)
    world.run(replica, seconds=10)
    world.write(REARMED)
    world.run(replica, seconds=10)
    assert shows(world.message(), REARMED)


def test_a_page_that_goes_elsewhere_holds_up_no_picture(world: Chats) -> None:
    """By the routes of its rule file another receiver alone gets it, so it never comes here."""
    routes = PageAddresses(receivers=(("warning", ("pagerduty",)),))
    world.write(replace(TRIP, id="other.1", kind=PageKind.BLIND, severity="warning", addresses=routes), TRIP)
    world.run(world.replica(pictures=lambda _: PICTURE), seconds=60)
    assert world.message().pictures == 1
    assert world.message().details == 1
