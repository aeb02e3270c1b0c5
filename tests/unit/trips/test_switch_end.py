"""The end of a tripped rollout is reported where its trip was, in the transaction that ends it."""

from __future__ import annotations

from dataclasses import replace

from killswitch.model import PageSettings
from killswitch.pages import outbox_entry
from killswitch.pages.page import Page, PageKind
from killswitch.stores import Delete, Put, keys
from tests.unit.trips.switches import World, automatic

NAME = "copilot"
TEAM = PageSettings(slack="#copilot-oncall", mention="<!here>", pagerduty="copilot")


def pages(world: World) -> list[Page]:
    items = world.server.list(keys.OUTBOX).items
    return [outbox_entry.from_document(item.value, page=item.key.removeprefix(keys.OUTBOX)).page for item in items]


def ended(world: World) -> list[Page]:
    return [page for page in pages(world) if page.kind is PageKind.ENDED]


def tripped_world() -> World:
    world = World()
    world.arm()
    world.switch("kill-1").trip(replace(automatic(), page=TEAM))
    return world


def test_the_end_goes_where_the_trip_went() -> None:
    world = tripped_world()
    world.person.end(NAME, reason="given up")
    (page,) = ended(world)
    assert (page.slack, page.pagerduty, page.follows) == ("#copilot-oncall", "copilot", "copilot.1")
    assert page.why == "given up"
    assert page.good_news
    assert page.mention is None


def test_flag_and_page_end_in_one_transaction() -> None:
    world = tripped_world()
    world.person.end(NAME, reason="given up")
    (page,) = ended(world)
    written = {change.key: change.revision for change in world.server.history}
    assert written[keys.outbox(page.id)] == written[keys.flag(NAME)]


def test_the_end_of_a_healthy_rollout_is_no_news() -> None:
    world = World()
    world.arm()
    world.person.end(NAME, reason="over")
    assert pages(world) == []


def test_a_trip_that_was_not_reported_has_no_reported_end() -> None:
    """Its page is gone, or cannot be read: nothing is known of where to report the end."""
    for spoil in (Delete(keys.outbox("copilot.1")), Put(keys.outbox("copilot.1"), b"{")):
        world = tripped_world()
        world.server.commit("x", (), (spoil,))
        world.person.end(NAME, reason="given up")
        assert world.server.value(keys.flag(NAME)) is None
        assert world.server.value(keys.outbox("copilot.1.ended")) is None
