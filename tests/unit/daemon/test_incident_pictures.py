"""The picture of a trip that goes into the thread of its page."""

from __future__ import annotations

from dataclasses import replace

import pytest

from killswitch.daemon.incident_pictures import incident_pictures
from killswitch.errors import BadDocument
from killswitch.flags.incident import to_document as incident_document
from killswitch.pages.picture import MAX_BYTES
from killswitch.stores import Put, keys
from killswitch.trends.document import to_document
from killswitch.trends.memory import TrendMemory
from killswitch.trends.trend import Span
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import MemoryServer, MemoryStore
from tests.doubles.pages import AT, BREACH, HEALTHY, incident, trip_page

PAGE = trip_page()


def memory(minutes: int = 60) -> TrendMemory:
    """Both cohorts of an hour; the canary gets worse in its last minutes."""
    kept = TrendMemory()
    for minute in range(minutes):
        worse = replace(BREACH, canary=0.012 if minute < minutes - 6 else 0.012 + 0.015 * (minute - minutes + 7))
        kept.take(AT - 60.0 * (minutes - minute), {PAGE.rollout: (worse, HEALTHY)})
    return kept


@pytest.fixture
def server() -> MemoryServer:
    server = MemoryServer(VirtualClock())
    server.commit("x", (), (Put(keys.incident(PAGE.rollout, 7), incident_document(incident())),))
    return server


def keep(server: MemoryServer, document: bytes) -> None:
    server.commit("x", (), (Put(keys.incident_trend(PAGE.rollout, 7), document),))


def test_the_picture_shows_the_rule_that_tripped(server: MemoryServer) -> None:
    keep(server, to_document(memory().trend(PAGE.rollout, Span.HOUR, AT)))
    picture = incident_pictures(MemoryStore(server))(PAGE)
    assert picture is not None
    assert picture.png.startswith(b"\x89PNG")
    assert 1000 < len(picture.png) < MAX_BYTES
    assert picture.title == "support-copilot: refusal_rate around the trip"
    assert picture.alt.startswith("refusal_rate: From ")
    assert len(picture.alt) <= 1000


def test_there_is_no_picture_before_the_trend_is_kept(server: MemoryServer) -> None:
    assert incident_pictures(MemoryStore(server))(PAGE) is None
    assert incident_pictures(MemoryStore(MemoryServer(VirtualClock())))(PAGE) is None


def test_a_trend_of_which_nothing_is_known_makes_no_picture(server: MemoryServer) -> None:
    unknown = TrendMemory()
    unknown.take(AT - 60.0, {PAGE.rollout: (replace(BREACH, canary=None, control=None, limit=None),)})
    keep(server, to_document(unknown.trend(PAGE.rollout, Span.HOUR, AT)))
    assert incident_pictures(MemoryStore(server))(PAGE) is None


def test_a_spoiled_trend_is_an_error_not_a_picture(server: MemoryServer) -> None:
    keep(server, b"{}")
    with pytest.raises(BadDocument):
        incident_pictures(MemoryStore(server))(PAGE)
