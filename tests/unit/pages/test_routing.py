"""Routes of pages by severity: what a rule file sends where, and that no route loses a trip."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.page_addresses import RECEIVERS, SILENT, PageAddresses, Routes
from killswitch.pages import events
from killswitch.pages.page import SEVERITIES, Page, PageKind
from killswitch.pages.routing import receivers_of, wanted_nowhere
from tests.doubles.pages import AT, SETTINGS, armed, trip_page
from tests.doubles.receiver import Receiver, Way
from tests.unit.pages.deliveries import World
from tests.unit.pages.test_page import one_of_each

ROUTES: Routes = (("critical", ("slack", "pagerduty")), ("warning", ("slack",)), ("info", ()))
ALL = ("slack", "pagerduty", "email")


def routed(page: Page, routes: Routes = ROUTES) -> Page:
    return replace(page, addresses=PageAddresses(receivers=routes))


def of_severity(severity: str, kind: PageKind = PageKind.BLIND) -> Page:
    return routed(replace(trip_page(), kind=kind, severity=severity))


@pytest.mark.parametrize(
    ("severity", "expected"),
    [("critical", {"slack", "pagerduty"}), ("warning", {"slack"}), ("info", set()), ("error", set(ALL))],
)
def test_a_severity_goes_to_its_receivers(severity: str, expected: set[str]) -> None:
    """A severity that no route names goes to all."""
    assert receivers_of(of_severity(severity), ALL) == expected


def test_without_routes_every_receiver_gets_every_page() -> None:
    assert receivers_of(trip_page(), ALL) == set(ALL)


def test_what_continues_a_page_goes_wherever_that_may_have_gone() -> None:
    """A re-arm is `info`, which goes to no one, and still resolves PagerDuty's alert."""
    page = routed(events.re_armed(replace(armed(), generation=8), reason="f", by="ann", settings=SETTINGS))
    assert page.severity == "info"
    assert receivers_of(page, ALL) == set(ALL)
    whole = (*ROUTES, ("error", ("pagerduty",)))
    assert receivers_of(routed(page, whole), ALL) == {"slack", "pagerduty"}


NOWHERE: Routes = tuple((severity, ("webhook",)) for severity in SEVERITIES)


def test_a_pin_is_a_trip() -> None:
    """It has the severity of the rule file, whose receiver is not set up here."""
    assert receivers_of(routed(replace(trip_page(), kind=PageKind.PINNED, severity="error"), NOWHERE), ALL) == set(ALL)
    silent = routed(replace(trip_page(), kind=PageKind.PINNED, severity="error"), (("error", ()),))
    assert not wanted_nowhere(silent)


def test_what_ends_a_trip_that_went_to_all_goes_to_all() -> None:
    """Its route leads to no one here, so the trip went to all, and PagerDuty's alert must be resolved."""
    page = routed(events.re_armed(replace(armed(), generation=8), reason="f", by="ann", settings=SETTINGS), NOWHERE)
    assert receivers_of(routed(replace(trip_page(), severity="error"), NOWHERE), ALL) == set(ALL)
    assert receivers_of(page, ALL) == set(ALL)


routes = st.lists(
    st.tuples(st.sampled_from(SEVERITIES), st.lists(st.sampled_from(RECEIVERS)).map(tuple)),
    unique_by=lambda route: route[0],
).map(tuple)


@given(routes, st.sets(st.sampled_from(RECEIVERS), min_size=1), st.sampled_from(one_of_each()))
def test_no_route_loses_a_trip_or_a_critical_page(routes: Routes, here: set[str], page: Page) -> None:
    page = routed(page, routes)
    got = receivers_of(page, here)
    assert got <= here
    if page.kind is PageKind.TRIPPED or page.severity == "critical":
        assert got - SILENT or not here - SILENT
        assert not wanted_nowhere(page)


def test_delivery_follows_the_routes() -> None:
    world = World()
    slack, email = Receiver(world.clock, "slack"), Receiver(world.clock, "email")
    delivery = world.process([slack, email])
    trip = routed(trip_page(), (("critical", ("slack",)),))
    world.write(trip)
    world.run(delivery, seconds=5)
    assert (slack.copies_of(trip.id), email.copies) == (1, [])
    assert delivery.status().unsettled == 0
    assert delivery.goes_to(trip, "slack")
    assert not delivery.goes_to(trip, "email")


def test_a_trip_routed_to_receivers_that_are_not_here_goes_to_all() -> None:
    world = World()
    email = Receiver(world.clock, "email")
    trip = routed(trip_page(), (("critical", ("opsgenie",)),))
    world.write(trip)
    world.run(world.process([email]), seconds=5)
    assert email.copies_of(trip.id) == 1


def test_the_fallback_gets_no_page_that_is_routed_to_no_one() -> None:
    """It still gets pages whose receivers fail."""
    world = World()
    slack, phone = Receiver(world.clock, "slack"), Receiver(world.clock, "phone")
    slack.way = lambda: Way.REFUSED
    delivery = world.process([slack], fallback=phone)
    quiet = routed(replace(events.blind([armed()], why="w", since=AT, at=AT, settings=SETTINGS), severity="info"))
    world.write(quiet, routed(trip_page()))
    world.run(delivery, seconds=200)
    assert [copy.page.id for copy in phone.copies] == [trip_page().id]
    assert slack.copies_of(quiet.id) == 0
