"""The provider under the real OpenFeature SDK: right values, reasons and events, and nothing throws."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import EventDetails, ProviderEvent
from openfeature.exception import ErrorCode, GeneralError
from openfeature.provider import ProviderStatus

from killswitch.flags import flag
from killswitch.flags.document import to_document as flag_document
from killswitch.flags.transitions import Actor
from killswitch.router import Router
from killswitch.router.integrations.openfeature import KillswitchProvider
from killswitch.router.route_types import RouteReason
from tests.doubles.held_split import HeldSplit, armed, control_only, router_over, tripped

NAME = "support-copilot"
USER = EvaluationContext("u")


def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not come about"
        time.sleep(0.02)


class Events:
    """Every event that names our flag; those by which the SDK greets a new provider or handler name none.

    Its threads bring them, in any order.
    """

    def __init__(self) -> None:
        self.seen: list[ProviderEvent] = []
        self.handlers = {event: self._note(event) for event in ProviderEvent}
        for event, handler in self.handlers.items():
            api.add_handler(event, handler)

    def _note(self, event: ProviderEvent) -> Callable[[EventDetails], None]:
        def note(details: EventDetails) -> None:
            if details.flags_changed == [NAME]:
                self.seen.append(event)

        return note

    def names(self) -> list[str]:
        return sorted(event.value.removeprefix("PROVIDER_") for event in self.seen)


@pytest.fixture(autouse=True)
def clean_sdk() -> Iterator[None]:
    yield
    api.clear_providers()


@pytest.fixture
def events() -> Iterator[Events]:
    events = Events()
    yield events
    for event, handler in events.handlers.items():
        api.remove_handler(event, handler)


class Held:
    """A provider over a split that the test changes."""

    def __init__(self, split: Any = None) -> None:
        self.router, self.held = router_over(split if split is not None else armed(100.0))
        api.set_provider_and_wait(KillswitchProvider(self.router))
        self.client: OpenFeatureClient = api.get_client()

    def change(self, split: Any) -> None:
        self.held.current = split
        self.router._listeners.settled(split)


def test_a_rollout_is_a_string_a_boolean_and_an_object() -> None:
    held = Held()
    assert held.client.get_string_value(NAME, "default", USER) == "model-new"
    assert held.client.get_boolean_value(NAME, False, USER) is True
    expected = {"cohort": "canary", "model": "model-new", "generation": 1}
    assert held.client.get_object_value(NAME, {}, USER) == expected
    held.change(tripped())
    assert held.client.get_string_value(NAME, "default", USER) == "model-old"
    assert held.client.get_boolean_value(NAME, True, USER) is False
    held.change(armed(100.0).between("model-old", "model-old"))  # stage aa: nobody gets the canary's model
    assert held.client.get_boolean_value(NAME, True, USER) is False
    assert held.client.get_string_details(NAME, "d", USER).variant == "canary"


@pytest.mark.parametrize(
    ("split", "reason"),
    [
        *((armed(100.0), "SPLIT"), (armed(0.0), "SPLIT"), (tripped(), "DISABLED")),
        *((control_only(RouteReason(reason)), reason) for reason in ("DEFAULT", "STALE", "ERROR")),
    ],
)
def test_the_reason_is_openfeatures_and_control_unless_armed(split: Any, reason: str) -> None:
    """The reason is OpenFeature's term for the state, and the value is control unless the flag is armed."""
    held = Held()
    held.change(split)
    details = held.client.get_string_details(NAME, "default", USER)
    assert str(details.reason) == reason
    assert details.error_code is None
    assert details.value == ("model-new" if split.canary_percent else "model-old")
    assert details.variant == ("canary" if split.canary_percent else "control")
    assert details.flag_metadata == {"model": details.value, "generation": 1, "revision": split.control_route.revision}


def test_a_pin_in_the_context_wins_only_while_armed() -> None:
    """A pin in the context wins while the flag is armed, but not after a trip."""
    held = Held(armed(0.0))
    pinned = EvaluationContext("u", {"cohort": "canary"})
    details = held.client.get_string_details(NAME, "default", pinned)
    assert (details.value, str(details.reason)) == ("model-new", "TARGETING_MATCH")
    held.change(tripped())
    assert held.client.get_string_value(NAME, "default", pinned) == "model-old"


@pytest.mark.parametrize(
    ("method", "default"),
    [("integer", 7), ("float", 0.5)],
)
def test_a_number_is_a_type_mismatch_and_the_default(method: str, default: float) -> None:
    details = getattr(Held().client, f"get_{method}_details")(NAME, default, USER)
    assert (details.value, details.error_code, str(details.reason)) == (default, ErrorCode.TYPE_MISMATCH, "ERROR")


@pytest.mark.parametrize("method", ["string", "boolean", "integer", "float", "object"])
def test_an_unknown_flag_gives_the_callers_default(method: str) -> None:
    """An unknown flag gives the caller's default with FLAG_NOT_FOUND."""
    defaults: dict[str, Any] = {"string": "d", "boolean": True, "integer": 1, "float": 1.0, "object": {"a": 1}}
    details = getattr(Held().client, f"get_{method}_details")("nobody", defaults[method], USER)
    assert (details.value, details.error_code) == (defaults[method], ErrorCode.FLAG_NOT_FOUND)


def test_a_context_without_targeting_key_is_control_and_says_so() -> None:
    """Not the caller's default, which may name the canary: after a trip it would be served."""
    details = Held().client.get_string_details(NAME, "model-new", EvaluationContext())
    assert (details.value, details.reason, details.error_code) == ("model-old", "ERROR", None)


def test_asynchronous_evaluation_answers_alike() -> None:
    held = Held()
    assert asyncio.run(held.client.get_string_value_async(NAME, "default", USER)) == "model-new"


def test_stale_is_an_event_and_so_is_the_way_back(events: Events) -> None:
    held = Held()
    held.change(control_only(RouteReason.STALE))
    until(lambda: held.client.get_provider_status() is ProviderStatus.STALE)
    held.change(armed(100.0))
    until(lambda: held.client.get_provider_status() is ProviderStatus.READY)
    until(lambda: len(events.seen) >= 3)
    assert events.names() == ["CONFIGURATION_CHANGED", "READY", "STALE"]


def test_a_change_of_what_is_obeyed_is_one_configuration_change(events: Events) -> None:
    held = Held()
    held.change(tripped())
    held.change(tripped())
    until(lambda: len(events.seen) >= 1)
    assert events.names() == ["CONFIGURATION_CHANGED"]


def test_an_unreached_store_is_a_start_error_and_means_control() -> None:
    """If the store was never reached, the provider reports an error at start and serves control."""

    class Unread(HeldSplit):
        def wait_until_read(self, timeout: float) -> bool:
            del timeout
            return False

    router = Router(NAME, following=Unread(control_only(RouteReason.DEFAULT, generation=0, revision=0)))
    with pytest.raises(GeneralError):
        api.set_provider_and_wait(KillswitchProvider(router, start_timeout=0.0))
    client = api.get_client()
    assert client.get_provider_status() is ProviderStatus.ERROR
    assert client.get_string_value(NAME, "default", USER) == "model-old"


def test_with_a_real_store_it_gets_ready_changes_and_recovers(tmp_path: Path, events: Events) -> None:
    """With a real store, the provider becomes ready, changes, fails on a corrupt flag and recovers."""
    path = tmp_path / "flag.json"
    now = time.time()
    document = flag.arm(
        None,
        rollout=NAME,
        control="model-old",
        canary="model-new",
        percent=99,
        stage="full",
        now=now,
        by="me",
        salt="s",
    )
    path.write_bytes(flag_document(document))
    router = Router(NAME, f"file://{path}", control="model-old", registry=None)
    api.set_provider_and_wait(KillswitchProvider(router, start_timeout=10.0))
    client = api.get_client()
    assert client.get_string_value(NAME, "default", USER) == "model-new"
    path.write_bytes(b"{")
    until(lambda: client.get_provider_status() is ProviderStatus.ERROR)
    assert client.get_string_value(NAME, "default", USER) == "model-old"
    assert str(client.get_string_details(NAME, "default", USER).reason) == "ERROR"
    trip = flag.trip(document, rollout=NAME, reason="x", rules=(), incident="i", now=now, by="me", actor=Actor.PERSON)
    path.write_bytes(flag_document(trip))
    until(lambda: client.get_provider_status() is ProviderStatus.READY)
    assert str(client.get_string_details(NAME, "default", USER).reason) == "DISABLED"
    until(lambda: {"READY", "ERROR", "CONFIGURATION_CHANGED"} <= set(events.names()))
