"""`Router.route`: the formula at every percent, pins, testers, trips, and callers that misbehave."""

from __future__ import annotations

import asyncio
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.flags.bucketing import bucket
from killswitch.model import Cohort
from killswitch.router.route_types import Route, RouteReason
from tests.doubles.held_split import CANARY_MODEL, CONTROL_MODEL, armed, control_only, router_over, tripped
from tests.unit.flags.test_bucketing import HOSTILE, VECTORS


@pytest.mark.parametrize("key", ["", "user-1", "😀", "z" * 10_240])
def test_at_every_percent_the_canary_is_bucket_below_percent(key: str) -> None:
    """At every hundredth of a percent, the canary is exactly the buckets below the percent."""
    place = bucket("salt", key)
    router, held = router_over(armed(0.0))
    for hundredths in range(10_001):
        percent = hundredths / 100
        held.current = armed(percent, salt="salt")
        expected = Cohort.CANARY if place < percent else Cohort.CONTROL
        assert router.route(key).cohort is expected, percent


def test_every_published_vector_routes_by_its_bucket() -> None:
    router, held = router_over(armed())
    for vector in VECTORS["vectors"]:
        key = bytes.fromhex(vector["key_hex"]) if "key_hex" in vector else vector["key"]
        held.current = armed(vector["bucket"], salt=vector["salt"])
        assert router.route(key).cohort is Cohort.CONTROL
        held.current = armed(vector["bucket"] + 0.005, salt=vector["salt"])
        assert router.route(key).cohort is Cohort.CANARY


@given(st.text(), st.floats(0, 100), st.floats(0, 100))
def test_raising_the_percent_never_moves_a_user_out_of_the_canary(key: str, one: float, other: float) -> None:
    router, held = router_over(armed(min(one, other)))
    before = router.route(key).cohort
    held.current = armed(max(one, other))
    if before is Cohort.CANARY:
        assert router.route(key).cohort is Cohort.CANARY


def test_a_route_says_cohort_model_reason_generation_and_revision() -> None:
    router, _ = router_over(armed(100.0, generation=7, revision=4711))
    assert router.route("user-1") == Route(Cohort.CANARY, CANARY_MODEL, "SPLIT", 7, 4711)


@pytest.mark.parametrize("key", HOSTILE, ids=lambda key: type(key).__name__)
@pytest.mark.parametrize("pin", [None, "canary", "control", *HOSTILE], ids=lambda pin: f"pin-{type(pin).__name__}")
def test_no_key_and_no_pin_of_any_type_makes_route_raise(key: object, pin: object) -> None:
    for split in (armed(100.0), armed(0.0), tripped()):
        router, _ = router_over(split, always_canary=("tester",))
        assert isinstance(router.route(key, pin), Route)


@pytest.mark.parametrize("key", HOSTILE, ids=lambda key: type(key).__name__)
def test_an_invalid_routing_key_goes_to_control_at_100_percent(key: object) -> None:
    """A value that is no routing key goes to control, even at 100 percent."""
    router, _ = router_over(armed(100.0))
    route = router.route(key)
    assert (route.cohort, route.model, route.reason) == (Cohort.CONTROL, CONTROL_MODEL, RouteReason.ERROR)


def test_a_pin_wins_over_the_hash_while_armed() -> None:
    router, _ = router_over(armed(0.0))
    assert router.route("user-1", cohort="canary")[:3] == (Cohort.CANARY, CANARY_MODEL, "TARGETING_MATCH")
    router, _ = router_over(armed(100.0))
    assert router.route("user-1", cohort=Cohort.CONTROL)[:3] == (Cohort.CONTROL, CONTROL_MODEL, "TARGETING_MATCH")


@pytest.mark.parametrize("pin", ["", "Canary", "canary ", "canary;x", "kontrolle", "x" * 100_000])
def test_a_pin_that_names_no_cohort_is_no_pin(pin: str) -> None:
    router, _ = router_over(armed(100.0))
    assert router.route("user-1", cohort=pin)[:3] == (Cohort.CANARY, CANARY_MODEL, "SPLIT")


@pytest.mark.parametrize("reason", [RouteReason.DISABLED, RouteReason.DEFAULT, RouteReason.STALE, RouteReason.ERROR])
def test_no_pin_and_no_tester_reaches_an_unarmed_canary(reason: RouteReason) -> None:
    """Neither a pin nor a tester reaches a canary that is not armed."""
    router, _ = router_over(control_only(reason), always_canary=("tester",))
    for route in (router.route("tester"), router.route("user", "canary"), router.route("tester", "canary")):
        assert (route.cohort, route.model, route.reason) == (Cohort.CONTROL, CONTROL_MODEL, reason)


def test_only_a_tester_gets_the_canary_at_0_percent() -> None:
    """A tester gets the canary at 0 percent, and no one else does."""
    router, _ = router_over(armed(0.0), always_canary=("tester",))
    assert router.route("tester")[:3] == (Cohort.CANARY, CANARY_MODEL, "TARGETING_MATCH")
    assert router.route("user").cohort is Cohort.CONTROL


def test_after_a_trip_no_request_of_any_thread_reaches_canary() -> None:
    """After a trip, no request of any of many threads reaches the canary."""
    router, held = router_over(armed(100.0))
    stop, late = threading.Event(), []
    started = threading.Barrier(5)
    tripped_now = threading.Event()

    def serve() -> None:
        started.wait()
        number = 0
        while not stop.is_set():
            after_trip = tripped_now.is_set()
            route = router.route(f"user-{number}", cohort="canary" if number % 3 == 0 else None)
            if after_trip and route.cohort is Cohort.CANARY:
                late.append(route)
            number += 1

    threads = [threading.Thread(target=serve) for _ in range(4)]
    for thread in threads:
        thread.start()
    started.wait()
    held.current = tripped()
    tripped_now.set()
    for number in range(20_000):
        assert router.route(f"other-{number}").cohort is Cohort.CONTROL
    stop.set()
    for thread in threads:
        thread.join()
    assert late == []


def test_it_serves_tasks_of_asyncio() -> None:
    router, _ = router_over(armed(50.0))

    async def serve(key: str) -> Route:
        return router.route(key)

    async def serve_all() -> list[Route]:
        return await asyncio.gather(*(serve(f"user-{number}") for number in range(500)))

    routes = asyncio.run(serve_all())
    assert [route.cohort is Cohort.CANARY for route in routes] == [bucket("", f"user-{n}") < 50.0 for n in range(500)]


def test_routes_lists_what_can_be_given_now() -> None:
    router, held = router_over(armed(5.0))
    assert [route.model for route in router.routes()] == [CONTROL_MODEL, CANARY_MODEL]
    held.current = tripped()
    assert [route.model for route in router.routes()] == [CONTROL_MODEL]


def test_leaving_its_block_closes_the_follower() -> None:
    router, held = router_over(armed())
    with router:
        assert not held.closed
    assert held.closed
