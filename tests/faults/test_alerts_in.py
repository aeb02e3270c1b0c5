"""One alert and a whole fleet: posted to all replicas at once, to one that is frozen or killed, and while etcd is."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator

import pytest
import requests

from killswitch.web.request_limits import ALERTS
from tests.doubles.alertmanager_messages import alert, message
from tests.faults.fleet import Fleet, rules_of
from tests.faults.replica import Replica
from tests.servers.etcd import wait_until

TOKEN = "a-token-of-alerts"
ROLLOUTS = ["at-once", "frozen", "silent", "killed"]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("alerts")
    (folder / "token").write_text(TOKEN)
    settings = {"ALERTS_TOKEN_FILE": str(folder / "token")}
    rules = lambda name: rules_of(name) + "alerts: trip\n"  # noqa: E731
    with Fleet(folder / "fleet", rollouts=ROLLOUTS, settings=settings, rules=rules) as fleet:
        fleet.come_up()
        yield fleet


def body_of(rollout: str) -> bytes:
    """An alert that begins now."""
    return message(alert(rollout, began=time.time()))


def post(replica: Replica, body: bytes, within: float = 30.0) -> tuple[int, str]:
    """The status, and what became of the one rollout."""
    answer = requests.post(
        f"http://127.0.0.1:{replica.port}{ALERTS}",
        data=body,
        headers={"Authorization": f"Bearer {TOKEN}"},
        timeout=within,
    )
    found = answer.json().get("rollouts") or [{}]
    return answer.status_code, str(found[0].get("outcome"))


def tripped_once(fleet: Fleet, rollout: str) -> None:
    """One flip, one incident and one page, in all of etcd's history."""
    wait_until(lambda: not fleet.armed(rollout), f"{rollout} tripped")
    assert (len(fleet.flips(rollout)), len(fleet.incidents(rollout))) == (1, 1)
    wait_until(lambda: len(fleet.pages(f"{rollout}: canary")) >= 1, f"{rollout} paged")


def test_all_replicas_at_once_trip_once_and_never_again(fleet: Fleet) -> None:
    body = body_of("at-once")
    answers: list[tuple[int, str]] = []
    senders = [
        threading.Thread(target=lambda replica=replica: answers.append(post(replica, body)))
        for replica in fleet.replicas * 4
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(60)
    assert sorted(set(answers)) == [(200, "nothing"), (200, "tripped")]
    assert answers.count((200, "tripped")) == 1
    tripped_once(fleet, "at-once")
    fleet.rearm("at-once")
    for replica in fleet.replicas:
        assert post(replica, body) == (200, "nothing")
    assert fleet.armed("at-once")


def test_a_frozen_replica_that_wakes_trips_no_new_generation(fleet: Fleet) -> None:
    """It had the message, another replica tripped, and a person re-armed while it was stopped."""
    body, (frozen, other) = body_of("frozen"), fleet.replicas
    frozen.pause()
    try:
        with contextlib.suppress(requests.Timeout):
            post(frozen, body, within=1.0)
        assert post(other, body) == (200, "tripped")
        fleet.rearm("frozen")
    finally:
        frozen.resume()
    fleet.for_cycles(1, frozen)
    assert post(frozen, body) == (200, "nothing")
    assert fleet.armed("frozen")
    assert len(fleet.flips("frozen")) == len(fleet.incidents("frozen")) == 1


def test_a_frozen_etcd_asks_for_the_message_again(fleet: Fleet) -> None:
    body = body_of("silent")
    fleet.etcd.members[0].pause()
    try:
        for replica in fleet.replicas:
            assert post(replica, body) == (503, "retry")
    finally:
        fleet.etcd.members[0].resume()

    def done() -> bool:
        return all(status == 200 for status, _ in [post(replica, body) for replica in fleet.replicas])

    wait_until(done, "the repeat is taken")
    tripped_once(fleet, "silent")


def test_the_page_of_a_replica_that_was_killed_is_sent(fleet: Fleet) -> None:
    """Killed as it acted: the repeat to the other replica finds it done or does it, and its page is sent."""
    body, killed = body_of("killed"), fleet.replicas[0]
    sender = threading.Thread(target=lambda: _quietly(killed, body))
    sender.start()
    killed.kill()
    sender.join(60)
    wait_until(lambda: post(fleet.replicas[1], body)[0] == 200, "the repeat is taken")
    tripped_once(fleet, "killed")
    assert json.loads(body)["alerts"][0]["labels"]["alertname"] in fleet.incidents("killed")[0]["reason"]


def _quietly(replica: Replica, body: bytes) -> None:
    with contextlib.suppress(requests.RequestException, ValueError):
        post(replica, body)


def test_what_was_seen_is_kept_in_one_small_document(fleet: Fleet) -> None:
    """However many alerts there are; and safety held in all of etcd's history."""
    now = time.time()
    for number in range(3):
        many = message(*[alert("at-once", began=now - 7200, pod=f"{number}-{one}") for one in range(400)])
        assert post(fleet.replicas[1], many) == (200, "nothing")
    items = fleet.store.list("/killswitch/v1/alerts/").items
    assert len(items) <= len(ROLLOUTS)
    assert max(len(item.value) for item in items) < 128 * 1024
    fleet.check()
