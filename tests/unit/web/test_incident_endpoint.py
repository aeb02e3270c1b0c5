"""An incident at its own address: what pages link to, read from the store, hostile names and texts included."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from killswitch.errors import Unavailable
from killswitch.flags import incident as incidents
from killswitch.stores import Item, Put, keys
from killswitch.web.incident_endpoint import FRESH_FOR, Busy, IncidentView, incident_routes
from killswitch.web.turns import Turns
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import MemoryServer, MemoryStore
from tests.doubles.pages import proven_incident
from tests.doubles.served import Served, listening


@pytest.fixture
def server() -> MemoryServer:
    server = MemoryServer(VirtualClock())
    put(server, proven_incident())
    return server


def put(server: MemoryServer, incident: incidents.Incident) -> None:
    key = keys.incident(incident.rollout, incident.generation)
    server.commit("controller", (), (Put(key, incidents.to_document(incident)),))


@pytest.fixture
def base(server: MemoryServer) -> Iterator[str]:
    view = IncidentView(MemoryStore(server, "web"), monotonic=VirtualClock().monotonic)
    with listening(Served(), incident_routes(view)) as port:
        yield f"http://127.0.0.1:{port}"


def test_the_address_in_a_page_shows_what_tripped_and_the_window(base: str) -> None:
    answer = requests.get(f"{base}/incidents/support-copilot.7", timeout=10)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    for words in ("28.0%", "53 of 189", "since 14:20:30 (1m41s)", "5.4%", "last 5m", "2026-04-19 14:22:11 UTC"):
        assert words in answer.text
    assert answer.text.index("28.0%") < answer.text.index("5.4%")


@pytest.mark.parametrize(
    "name",
    ["support-copilot.8", "support-copilot", "nobody.7", "..%2F..%2Fflags%2Fsupport-copilot.7", "a%00.7", "%3Cb%3E.1"],
)
def test_what_is_no_incident_is_not_found(base: str, name: str) -> None:
    answer = requests.get(f"{base}/incidents/{name}", timeout=10)
    assert answer.status_code == 404
    assert "<b>" not in answer.text


def test_texts_of_an_incident_are_no_markup(base: str, server: MemoryServer) -> None:
    evil = "<script>alert(1)</script>"
    put(server, proven_incident(reason=evil, by=evil, canary=evil, automatic=False, generation=8))
    answer = requests.get(f"{base}/incidents/support-copilot.8", timeout=10)
    assert answer.status_code == 200
    assert "<script" not in answer.text


def test_a_silent_store_is_reported_and_nothing_is_claimed() -> None:
    """A store that does not answer is reported, and nothing else is claimed."""
    view = IncidentView(_Silent(), monotonic=VirtualClock().monotonic)  # type: ignore[arg-type]  # only `get` is asked
    with pytest.raises(Unavailable):
        view.page("support-copilot.7")
    with listening(Served(), incident_routes(view)) as port:
        answer = requests.get(f"http://127.0.0.1:{port}/incidents/support-copilot.7", timeout=10)
    assert answer.status_code == 503


class _Silent:
    def get(self, key: str) -> None:
        raise Unavailable(f"no answer about {key}")


def test_an_incident_asked_for_often_is_read_seldom(server: MemoryServer) -> None:
    clock, store = VirtualClock(), _Counting(server)
    view = IncidentView(store, monotonic=clock.monotonic)
    for _ in range(50):
        assert view.page("support-copilot.7") is not None
        assert view.page("support-copilot.9") is None
    first = store.reads
    clock.advance(FRESH_FOR + 1)
    view.page("support-copilot.7")
    assert store.reads < 2 * first
    for number in range(1000):
        view.page(f"other.{number}")
    assert len(view._known) <= 64


def test_one_incident_is_read_at_a_time(server: MemoryServer) -> None:
    view = IncidentView(MemoryStore(server, "web"), monotonic=VirtualClock().monotonic)
    view._turns = Turns(0.01)
    with view._turns.turn(), pytest.raises(Busy):
        view.page("support-copilot.7")


class _Counting(MemoryStore):
    def __init__(self, server: MemoryServer) -> None:
        super().__init__(server, "web")
        self.reads = 0

    def get(self, key: str) -> Item | None:
        self.reads += 1
        return super().get(key)
