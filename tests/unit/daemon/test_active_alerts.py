"""Which alerts are re-sent, and when one is ended: from the store, on virtual time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from killswitch.daemon.active_alerts import ActiveAlerts
from killswitch.flags import document
from killswitch.flags import flag as flags
from killswitch.flags.incident import to_document
from killswitch.flags.transitions import Actor
from killswitch.model import PageSettings
from killswitch.pages.receivers.alertmanager import INTERVALS_AHEAD, AlertmanagerPager
from killswitch.stores import Delete, Put, keys
from killswitch.timestamps import from_iso
from tests.doubles.clock import VirtualClock
from tests.doubles.http_double import Answer, HttpDouble, Received
from tests.doubles.memory_store import Fault, MemoryServer, MemoryStore
from tests.doubles.pages import AT, SETTINGS, armed, incident

INTERVAL = 60.0
ROLLOUT = "support-copilot"


class Alertmanager(HttpDouble):
    """Takes every alert."""

    def __init__(self) -> None:
        super().__init__(self._take)
        self.posts: list[list[dict[str, Any]]] = []
        self.down = False

    def _take(self, request: Received) -> Answer:
        if self.down:
            return Answer(503)
        self.posts.append(json.loads(request.body))
        return Answer(200)


class Desk:
    """A store with one tripped rollout, and a replica that re-sends."""

    def __init__(self, peer: Alertmanager) -> None:
        self.clock = VirtualClock()
        self.server = MemoryServer(self.clock)
        self.store = MemoryStore(self.server, "replica")
        self.peer = peer
        self.settings = SETTINGS
        self.routed = True
        self.alerts = self.replica()
        flag = replace(armed(), generation=7)
        self.tripped = flags.trip(
            flag, rollout=ROLLOUT, reason="r", rules=(), incident=f"{ROLLOUT}.7", now=AT, by="a",
            actor=Actor.CONTROLLER,
        )  # fmt: skip
        self.put(Put(keys.flag(ROLLOUT), document.to_document(self.tripped)))
        self.put(Put(keys.incident(ROLLOUT, 7), to_document(incident())))

    def replica(self) -> ActiveAlerts:
        return ActiveAlerts(
            self.store,
            AlertmanagerPager([self.peer.url], interval=INTERVAL, wall=self.clock.wall),
            settings=self._settings,
            routed=lambda _: self.routed,
            wall=self.clock.wall,
            monotonic=self.clock.monotonic,
        )

    def _settings(self, _: str) -> PageSettings:
        return self.settings

    def put(self, write: Put | Delete) -> None:
        self.server.commit("person", (), [write])

    def look(self) -> list[dict[str, Any]]:
        """The alerts of one sending."""
        before = len(self.peer.posts)
        self.alerts.look()
        self.clock.advance(INTERVAL)
        return self.peer.posts[-1] if len(self.peer.posts) > before else []


@pytest.fixture
def desk() -> Iterator[Desk]:
    with Alertmanager() as peer:
        yield Desk(peer)


def active(desk: Desk, alerts: list[dict[str, Any]]) -> list[str]:
    """The names of those that have not ended when they are sent."""
    now = desk.clock.wall() - INTERVAL
    return [one["labels"]["alertname"] for one in alerts if from_iso(one["endsAt"]) > now]


def test_an_open_incident_is_sent_every_time_four_intervals_ahead(desk: Desk) -> None:
    for _ in range(10):
        sent_at = desk.clock.wall()
        (alert,) = desk.look()
        assert from_iso(alert["endsAt"]) == pytest.approx(sent_at + INTERVALS_AHEAD * INTERVAL, abs=0.01)
        assert from_iso(alert["startsAt"]) == AT
        assert alert["labels"]["generation"] == "7"


def test_numbers_change_no_label(desk: Desk) -> None:
    (first,) = desk.look()
    desk.put(Put(keys.incident(ROLLOUT, 7), to_document(incident(reason="refusal_rate 31.4%"))))
    desk.alerts = desk.replica()
    (second,) = desk.look()
    assert first["labels"] == second["labels"]
    assert first["annotations"] != second["annotations"]


def test_a_re_arm_ends_the_alert_in_four_sendings_and_no_more(desk: Desk) -> None:
    """A peer may miss one. Later nothing is sent at all."""
    desk.look()
    again = flags.rearm(desk.tripped, rollout=ROLLOUT, reason="fixed", now=AT + 60, by="ann")
    desk.put(Put(keys.flag(ROLLOUT), document.to_document(again)))
    sendings = [desk.look() for _ in range(6)]
    assert [len(alerts) for alerts in sendings] == [1, 1, 1, 1, 0, 0]
    assert not any(active(desk, alerts) for alerts in sendings)
    assert len({alerts[0]["endsAt"] for alerts in sendings[:4]}) == 1


def test_an_ended_rollout_ends_its_alert(desk: Desk) -> None:
    desk.look()
    desk.put(Delete(keys.flag(ROLLOUT)))
    assert active(desk, desk.look()) == []
    assert desk.peer.posts[-1][0]["labels"]["rollout"] == ROLLOUT


def test_a_store_that_does_not_answer_ends_no_alert(desk: Desk) -> None:
    """Nor does one that gives the flag and not the incident: what was known is sent again."""
    desk.look()
    desk.store.fault = lambda _: Fault.FAIL_BEFORE
    for _ in range(2 * INTERVALS_AHEAD):
        assert active(desk, desk.look()) == ["CanaryTripped"]
    desk.store.fault = lambda call: Fault.FAIL_BEFORE if keys.INCIDENTS in str(call.subject) else None
    desk.put(Put(keys.flag(ROLLOUT), document.to_document(replace(desk.tripped, updated_at=AT + 1))))
    assert active(desk, desk.look()) == ["CanaryTripped"]
    desk.store.fault = lambda _: None
    desk.clock.advance(INTERVAL)
    assert active(desk, desk.look()) == ["CanaryTripped"]


def test_a_peer_that_is_down_gets_the_alert_when_it_is_back(desk: Desk) -> None:
    desk.peer.down = True
    assert desk.look() == []
    desk.peer.down = False
    assert active(desk, desk.look()) == ["CanaryTripped"]


def test_what_is_not_routed_to_alertmanager_is_not_sent(desk: Desk) -> None:
    desk.routed = False
    assert desk.look() == []


def test_an_unreadable_flag_keeps_no_other_from_its_alert(desk: Desk) -> None:
    desk.put(Put(keys.flag("aaa"), b"{"))
    assert active(desk, desk.look()) == ["CanaryTripped"]


def test_every_one_of_many_incidents_is_sent_at_the_first_look(desk: Desk) -> None:
    """After a restart each would end by itself if it came much later."""
    for number in range(250):
        name = f"r{number}"
        flag = replace(desk.tripped, rollout=name)
        desk.put(Put(keys.flag(name), document.to_document(flag)))
        desk.put(Put(keys.incident(name, 7), to_document(incident(name))))
    desk.look()
    sent = [one["labels"]["rollout"] for post in desk.peer.posts for one in post]
    assert len(sent) == len(set(sent)) == 251
    assert max(len(post) for post in desk.peer.posts) == 100


def test_a_route_that_changes_ends_no_alert_at_once(desk: Desk) -> None:
    """It is sent no more, and ends by itself: the incident is still open."""
    desk.look()
    desk.routed = False
    assert desk.look() == []


def test_a_live_drill_is_no_tripped_canary(desk: Desk) -> None:
    """Its flag is tripped for a minute, but its incident is a drill's: Alertmanager gets the DRILL page alone."""
    flag = replace(armed("drilled"), generation=9)
    drilled = flags.trip(
        flag, rollout="drilled", reason="r", rules=(), incident="drilled.drill.1", now=AT, by="a",
        actor=Actor.CONTROLLER,
    )  # fmt: skip
    desk.put(Put(keys.flag("drilled"), document.to_document(drilled)))
    desk.put(Put(keys.drill_incident("drilled", 1), to_document(incident("drilled", 9))))
    for _ in range(2):
        assert [one["labels"]["rollout"] for one in desk.look()] == [ROLLOUT]
