"""A real Alertmanager, and two peers of one cluster: alerts stay active, are one alert, and end with the incident."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from killswitch.daemon.active_alerts import ActiveAlerts
from killswitch.deadline import Deadline
from killswitch.errors import OutcomeUnknown, Refused, Unavailable
from killswitch.flags import document
from killswitch.flags import flag as flags
from killswitch.flags.flag import Flag
from killswitch.flags.incident import to_document
from killswitch.flags.transitions import Actor
from killswitch.pages import events
from killswitch.pages.page import PageKind
from killswitch.pages.receivers.alertmanager import AlertmanagerPager
from killswitch.stores import Delete, Put, Store, keys
from killswitch.stores.opening import open_store
from tests.doubles.http_double import Answer, HttpDouble, Received
from tests.doubles.pages import AT, SETTINGS, armed, incident, trip_page
from tests.servers.alertmanager_peers import AlertmanagerPeer
from tests.servers.etcd import EtcdCluster, free_ports, wait_until

INTERVAL = 0.5


class Notified(HttpDouble):
    """What the Alertmanagers tell people: (alertname, status) of each notification."""

    def __init__(self) -> None:
        super().__init__(self._take)
        self.told: list[tuple[str, str]] = []

    def _take(self, request: Received) -> Answer:
        self.told += [(one["labels"]["alertname"], one["status"]) for one in request.json()["alerts"]]
        return Answer(200)


@pytest.fixture
def notified() -> Iterator[Notified]:
    with Notified() as double:
        yield double


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with EtcdCluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


@pytest.fixture
def store(etcd: EtcdCluster) -> Iterator[Store]:
    opened = open_store(etcd.url)
    for prefix in (keys.FLAGS, keys.INCIDENTS):
        for item in opened.list(prefix).items:
            opened.commit((), [Delete(item.key)])
    yield opened
    opened.close()


@pytest.fixture
def server(tmp_path: Path, notified: Notified) -> Iterator[AlertmanagerPeer]:
    with AlertmanagerPeer(tmp_path / "am", notify=notified.url, resolve_timeout="1s") as one:
        yield one


def pager(*servers: AlertmanagerPeer) -> AlertmanagerPager:
    return AlertmanagerPager([one.url for one in servers], interval=INTERVAL)


def tripped_flag() -> Flag:
    return flags.trip(
        replace(armed(), generation=7), rollout="support-copilot", reason="r", rules=(),
        incident="support-copilot.7", now=AT, by="a", actor=Actor.CONTROLLER,
    )  # fmt: skip


def trip_in(store: Store) -> None:
    """The flag and the incident as a flip writes them."""
    flag = tripped_flag()
    written = (
        Put(keys.flag(flag.rollout), document.to_document(flag)),
        Put(keys.incident(flag.rollout, 7), to_document(incident())),
    )
    store.commit((), written)


def re_arm_in(store: Store) -> Flag:
    again = flags.rearm(tripped_flag(), rollout="support-copilot", reason="fixed", now=AT + 60, by="ann")
    store.commit((), (Put(keys.flag(again.rollout), document.to_document(again)),))
    return again


def resending(store: Store, to: AlertmanagerPager) -> ActiveAlerts:
    return ActiveAlerts(
        store, to, settings=lambda _: SETTINGS, routed=lambda _: True, wall=time.time, monotonic=time.monotonic
    )


def names(server: AlertmanagerPeer) -> list[str]:
    return [one["labels"]["alertname"] for one in server.alerts()]


def send(to: AlertmanagerPager, page: Any) -> str:
    return to.send(page, possible_repeat=False, deadline=Deadline(5))


def test_a_trip_that_is_not_sent_again_ends_by_itself(server: AlertmanagerPeer) -> None:
    """Why open incidents are re-sent: four intervals later the alert is gone."""
    send(pager(server), trip_page())
    assert names(server) == ["CanaryTripped"]
    wait_until(lambda: names(server) == [], "the alert has ended")


def test_an_open_incident_stays_one_active_alert(server: AlertmanagerPeer, notified: Notified, store: Store) -> None:
    """Re-sent from the store for longer than it would last, by two replicas, it is one alert and one notification."""
    trip_in(store)
    send(pager(server), trip_page())
    replicas = [resending(store, pager(server)), resending(store, pager(server))]
    first = server.alerts()[0]
    ends = first["endsAt"]

    def outlasts_the_first_sending() -> bool:
        for one in replicas:
            one.look()
        return bool(server.alerts()[0]["endsAt"] >= later(ends, 4 * INTERVAL + 0.5))

    wait_until(outlasts_the_first_sending, "the incident is sent again until the first sending would have ended")
    (alert,) = server.alerts()
    assert (alert["fingerprint"], alert["startsAt"]) == (first["fingerprint"], first["startsAt"])
    assert alert["labels"] == {
        "alertname": "CanaryTripped", "rollout": "support-copilot", "generation": "7", "severity": "critical",
    }  # fmt: skip
    assert "8.7%" in alert["annotations"]["description"]
    assert notified.told == [("CanaryTripped", "firing")]


def later(stamp: str, seconds: float) -> str:
    """An ISO time this much later, in the same format, so that texts compare as times."""
    moment = datetime.fromisoformat(stamp) + timedelta(seconds=seconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_a_re_arm_resolves_the_alert_at_once(server: AlertmanagerPeer, notified: Notified, store: Store) -> None:
    trip_in(store)
    replica = resending(store, pager(server))
    replica.look()
    assert names(server) == ["CanaryTripped"]
    wait_until(lambda: notified.told == [("CanaryTripped", "firing")], "people are notified")
    re_arm_in(store)
    replica.look()
    wait_until(lambda: names(server) == [], "the alert is resolved")
    wait_until(lambda: notified.told[-1:] == [("CanaryTripped", "resolved")], "people are notified of the end")
    replica.look()
    assert names(server) == [], "an end that is sent again opens nothing"


def test_the_end_of_a_rollout_resolves_its_alert(server: AlertmanagerPeer, store: Store) -> None:
    trip_in(store)
    replica = resending(store, pager(server))
    replica.look()
    store.commit((), (Delete(keys.flag("support-copilot")),))
    replica.look()
    wait_until(lambda: names(server) == [], "the alert is resolved")


@pytest.mark.parametrize("known", [True, False], ids=["with its reference", "long after"])
def test_the_page_of_a_re_arm_resolves_the_alert_too(server: AlertmanagerPeer, *, known: bool) -> None:
    """Also where the replica that re-sent is gone, and where the trip's page is too old to have a reference."""
    to = AlertmanagerPager([server.url], interval=600)
    reference = send(to, trip_page())
    again = events.re_armed(replace(armed(), generation=8), reason="fixed", by="ann", settings=SETTINGS)
    assert names(server) == ["CanaryTripped"]
    if known:
        to.reply(again, reference, possible_repeat=False, deadline=Deadline(5))
    else:
        send(to, again)
    wait_until(lambda: names(server) == [], "the alert is resolved")


def test_a_replica_that_has_just_started_re_sends(server: AlertmanagerPeer, store: Store) -> None:
    """What is open is read from the store, so nothing depends on what a process remembers."""
    trip_in(store)
    resending(store, pager(server)).look()
    assert names(server) == ["CanaryTripped"]


def test_a_blindness_is_an_alert_until_its_recovery(server: AlertmanagerPeer) -> None:
    to = pager(server)
    flag = armed()
    blind = events.blind([flag], why="Prometheus is down", since=AT - 90, at=AT, settings=SETTINGS)
    reference = send(to, blind)
    assert names(server) == ["CanaryBlind"]
    over = events.recovered(PageKind.BLIND, [flag], follows=blind.id, since=AT - 90, at=AT, settings=SETTINGS)
    to.reply(over, reference, possible_repeat=False, deadline=Deadline(5))
    wait_until(lambda: names(server) == [], "the alert is resolved")


def test_two_peers_get_every_alert_and_notify_once(tmp_path: Path, notified: Notified, store: Store) -> None:
    """Peers do not tell each other of alerts, only of notifications."""
    first_port, second_port = free_ports(2)
    first = AlertmanagerPeer(tmp_path / "a", notify=notified.url, cluster=first_port)
    second = AlertmanagerPeer(tmp_path / "b", notify=notified.url, cluster=second_port, peers=[first_port])
    with first, second:
        trip_in(store)
        replica = resending(store, AlertmanagerPager([first.url, second.url], interval=60))
        replica.look()
        assert names(first) == names(second) == ["CanaryTripped"]
        wait_until(lambda: bool(notified.told), "people are notified")
        replica.look()
        re_arm_in(store)
        replica.look()
        wait_until(lambda: ("CanaryTripped", "resolved") in notified.told, "people are notified of the end")
        assert notified.told.count(("CanaryTripped", "firing")) == 1


def test_a_peer_that_is_down_delays_no_other(server: AlertmanagerPeer, caplog: pytest.LogCaptureFixture) -> None:
    to = AlertmanagerPager([f"http://127.0.0.1:{free_ports(1)[0]}", server.url], interval=60)
    send(to, trip_page())
    assert names(server) == ["CanaryTripped"]
    assert "a peer of Alertmanager has not taken an alert" in caplog.text
    to.answers(Deadline(5))


def test_a_peer_that_hangs_leaves_time_for_the_others(
    tmp_path: Path, server: AlertmanagerPeer, notified: Notified
) -> None:
    with AlertmanagerPeer(tmp_path / "hung", notify=notified.url) as hung:
        hung.pause()
        to = AlertmanagerPager([hung.url, server.url], interval=60)
        to.send(trip_page(), possible_repeat=False, deadline=Deadline(2))
    assert names(server) == ["CanaryTripped"]


def test_no_peer_means_not_taken() -> None:
    to = AlertmanagerPager([f"http://127.0.0.1:{port}" for port in free_ports(2)], interval=60)
    with pytest.raises(Unavailable):
        send(to, trip_page())
    with pytest.raises(Unavailable):
        to.answers(Deadline(5))


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(400, b'"start time must be before end time"'), Refused),
        (Answer(404), Refused),
        (Answer(429), Unavailable),
        (Answer(500), Unavailable),
        (Answer(504), OutcomeUnknown),
        (Answer(204, b""), Refused),
        (Answer(lost=True), OutcomeUnknown),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else f"{value.status} {value.lost}",
)
def test_each_answer_of_alertmanager_has_a_meaning(answer: Answer, kind: type[Exception]) -> None:
    with HttpDouble(lambda _: answer) as double:
        to = AlertmanagerPager([double.url], interval=60)
        with pytest.raises(kind) as raised:
            send(to, trip_page())
        assert type(raised.value) is kind
        assert json.loads(double.received[0].body)[0]["labels"]["alertname"] == "CanaryTripped"
