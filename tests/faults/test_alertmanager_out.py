"""A trip's alert in two real Alertmanagers, while the replica that sent it dies, and until the re-arm."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.doubles.http_double import Answer, HttpDouble
from tests.faults.fleet import Fleet
from tests.servers.alertmanager_peers import AlertmanagerPeer
from tests.servers.etcd import wait_until


@pytest.mark.timeout(180)
def test_an_alert_outlives_the_replica_and_the_peer_that_had_it(tmp_path: Path) -> None:
    """The only replica is killed and starts again, and a peer loses all it knew: both have the alert until the re-arm.

    The alert lasts four seconds by itself.
    """
    with HttpDouble(lambda _: Answer(200)) as people:
        first = AlertmanagerPeer(tmp_path / "a", notify=people.url)
        second = AlertmanagerPeer(tmp_path / "b", notify=people.url)
        with first, second:
            settings = {"ALERTMANAGER_URLS": f"{first.url},{second.url}", "ALERTMANAGER_INTERVAL": "1s"}
            with Fleet(tmp_path / "fleet", replicas=1, settings=settings) as fleet:
                fleet.start()
                fleet.fail()
                fleet.until_tripped()
                wait_until(lambda: tripped(first) and tripped(second), "both peers have the alert", 30)
                (replica,) = fleet.replicas
                replica.kill()
                wait_until(lambda: not tripped(first), "without a sender the alert ends by itself", 30)
                replica.start()
                wait_until(lambda: tripped(first) and tripped(second), "the new process sends it again", 60)
                second.stop()
                second.forget()
                second.start()
                wait_until(lambda: tripped(second), "a peer that knows nothing gets it again", 30)
                fleet.rearm()
                wait_until(lambda: not tripped(first) and not tripped(second), "the re-arm resolves it", 30)


def tripped(peer: AlertmanagerPeer) -> bool:
    return [one["labels"]["alertname"] for one in peer.alerts()] == ["CanaryTripped"]
