"""Services that use the SDK (threads, asyncio, gunicorn's prefork) under load, while their flag store suffers.

Every decision of every worker is kept and judged afterwards, by the document it says it was made from and by a
formula written a second time, here; see `Load.judge`. Patience is short, so that the numbers are small: a grace of 3 s,
a jitter of 2 s and 4 s without controllers, where the defaults are 60 s, 30 s and 5 min.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import random
import socket
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from killswitch.flags.document import to_document as flag_document
from killswitch.flags.flag import Flag
from killswitch.flags.transitions import State
from killswitch.stores import keys
from tests.doubles.flags import armed, tripped
from tests.faults.figures import figure
from tests.integration.router.following import b64, delete, store
from tests.servers import routed_service
from tests.servers.etcd import EtcdCluster, EtcdMember, wait_until
from tests.servers.tcp_proxy import TcpProxy

GRACE, JITTER, CONTROL_AFTER = 3.0, 2.0, 4.0
SLACK = 10.0  # seconds that a router may take beyond its patience
CUT_OFF_WITHIN = GRACE + JITTER + SLACK
EVERY_WORKER = len(routed_service.KINDS) - 1 + routed_service.WORKERS
CONTROL_REASONS = {"DISABLED", "DEFAULT", "STALE", "ERROR"}
_A_REQUEST = 10  # users
_A_CONNECTION = 8  # requests: another worker may get the next
_PAUSE = 0.01  # seconds between requests of one client


class Decision(NamedTuple):
    """As `routed_service` answers; times on the machine's monotonic clock."""

    pid: int
    before: float
    after: float
    user: str
    cohort: str
    model: str
    reason: str
    generation: int
    revision: int

    @property
    def canary(self) -> bool:
        return self.cohort == "canary"


def place(salt: str, user: str) -> int:
    """The formula of the documentation, in whole hundredths of a percent and without a line of the SDK."""
    return int(hashlib.sha256(f"{salt}{user}".encode()).hexdigest()[:8], 16) % 10_000


def belongs_to_canary(salt: str, user: str, percent: float) -> bool:
    return place(salt, user) < round(percent * 100)


def _users(percents: tuple[float, ...]) -> list[str]:
    """Many users; and, a dozen times each, those whose places are just inside and just outside these percents."""
    edges = {round(percent * 100) + step for percent in percents for step in (-1, 0)}
    everybody = [f"user-{number}" for number in range(60_000)]
    return everybody[:2000] + 12 * [user for user in everybody if place("", user) in edges]


USERS = _users((12.34, 50.0))


@dataclass(frozen=True)
class Fault:
    """Something that must end the canary within ``within`` seconds, and keep it ended until ``until``."""

    what: str
    since: float
    until: float
    within: float


class Load:
    """Clients of all services, what they were answered, and what the store held."""

    def __init__(self) -> None:
        self.decisions: list[Decision] = []
        self.failures: list[str] = []
        self._documents: dict[tuple[int, int], Flag] = {}
        self._faults: list[Fault] = []
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._latest: dict[int, Decision] = {}

    # --- the clients

    def begin(self, port: int, clients: int = 2) -> None:
        for seed in range(clients):
            thread = threading.Thread(target=self._client, args=(port, random.Random(port + seed)), daemon=True)
            thread.start()
            self._threads.append(thread)

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _client(self, port: int, chance: random.Random) -> None:
        while not self._stop.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            asked = 0
            with contextlib.closing(connection):
                try:
                    for asked in range(_A_CONNECTION):  # noqa: B007  # read where it ends
                        self._ask(connection, chance)
                        self._stop.wait(_PAUSE)
                except (OSError, http.client.HTTPException, ValueError) as error:
                    # A server may close a kept connection between two requests (RFC 9112, 9.3.1): ask on a new one.
                    if asked and isinstance(error, ConnectionError):
                        continue
                    if not self._stop.is_set():
                        self.failures.append(f"port {port}: {type(error).__name__}: {error}")
                        self._stop.wait(0.1)

    def _ask(self, connection: http.client.HTTPConnection, chance: random.Random) -> None:
        connection.request("POST", "/", "\n".join(chance.choices(USERS, k=_A_REQUEST)))
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != http.client.OK:
            raise http.client.HTTPException(f"status {answer.status}")
        decisions = [Decision(*fields) for fields in json.loads(body)]
        self.decisions += decisions
        self._latest[decisions[-1].pid] = decisions[-1]

    # --- what the store holds

    def stored(self, flag: Flag, revision: int) -> int:
        self._documents[revision, flag.generation] = flag
        return revision

    # --- what happens

    def until(self, what: str, condition: Callable[[Decision], bool]) -> None:
        """Until every worker's latest decision, made after this call, is as wanted."""
        began = time.monotonic()

        def all_of_them() -> bool:
            latest = [decision for decision in list(self._latest.values()) if decision.before > began]
            return len(latest) == EVERY_WORKER and all(map(condition, latest))

        try:
            wait_until(all_of_them, what)
        except TimeoutError as error:
            raise AssertionError(f"{error}: {list(self._latest.values())}; {self.failures[-3:]}") from error

    def until_split(self, generation: int) -> None:
        self.until("the split", lambda decision: (decision.reason, decision.generation) == ("SPLIT", generation))

    def until_control(self, reason: str) -> None:
        self.until(f"control for {reason}", lambda decision: decision.reason == reason)

    @contextlib.contextmanager
    def without_canary(self, what: str, within: float = CUT_OFF_WITHIN) -> Iterator[None]:
        """What is done in this block ends the canary within so many seconds of its beginning, until its end."""
        since = time.monotonic()
        yield
        self._faults.append(Fault(what, since, time.monotonic(), within))

    # --- the judgement

    def judge(self) -> None:
        """Every decision follows from its document; no canary after a trip was seen, nor during a fault."""
        assert not self.failures, self.failures[:5]
        assert {decision.reason for decision in self.decisions} <= {"SPLIT", *CONTROL_REASONS}
        assert sum(decision.canary for decision in self.decisions) > 100, "there was no canary to be taken out"
        wrong = [decision for decision in self.decisions if not self._follows(decision)]
        assert not wrong, (
            f"{len(wrong)} of {len(self.decisions)} decisions do not follow from their document: {wrong[:3]}"
        )
        disobedient = self._after_a_seen_trip()
        assert not disobedient, f"{len(disobedient)} canary requests after a trip was seen: {disobedient[:3]}"
        figure(f"20: {len(self.decisions)} decisions of {len(self._latest)} workers, all as their documents say")
        for fault in self._faults:
            ended = [
                decision.before for decision in self.decisions if decision.canary and decision.before < fault.until
            ]
            figure(f"20: {fault.what}: the last canary request {max(0.0, max(ended) - fault.since):.1f} s later")
            late = [
                decision
                for decision in self.decisions
                if decision.canary and fault.since + fault.within < decision.before < fault.until
            ]
            assert not late, (
                f"{fault}: {len(late)} canary requests later, the last {late[-1].before - fault.since:.1f} s"
            )

    def _follows(self, decision: Decision) -> bool:
        if decision.reason != "SPLIT":
            return not decision.canary and decision.model == "model-old"
        flag = self._documents.get((decision.revision, decision.generation))
        if flag is None or flag.state is not State.ARMED:
            return False
        canary = belongs_to_canary(flag.salt, decision.user, flag.canary_percent)
        expected = ("canary", flag.canary) if canary else ("control", flag.control)
        return (decision.cohort, decision.model) == expected

    def _after_a_seen_trip(self) -> list[Decision]:
        """Canary requests that began after their worker had answered with this or a later generation's trip."""
        seen: defaultdict[int, dict[int, float]] = defaultdict(dict)
        for decision in self.decisions:
            if decision.reason == "DISABLED":
                trips = seen[decision.pid]
                trips[decision.generation] = min(decision.after, trips.get(decision.generation, decision.after))
        return [
            decision
            for decision in self.decisions
            if decision.canary
            and any(
                at < decision.before
                for generation, at in seen[decision.pid].items()
                if generation >= decision.generation
            )
        ]


class World:
    """etcd behind a proxy, a live controller's heartbeat, and the three services under load."""

    def __init__(self, etcd: EtcdCluster, proxy: TcpProxy, load: Load) -> None:
        self.etcd = etcd
        self.proxy = proxy
        self.load = load
        self.heartbeat()

    @property
    def member(self) -> EtcdMember:
        return self.etcd.members[0]

    def put(self, flag: Flag) -> int:
        return self.load.stored(flag, store(self.member, flag))

    def garble(self, document: bytes) -> None:
        store(self.member, document)

    def heartbeat(self) -> None:
        self.member.call("/v3/kv/put", {"key": b64(keys.controller("c1")), "value": b64("{}")})

    def no_heartbeat(self) -> None:
        self.member.call("/v3/kv/deleterange", {"key": b64(keys.controller("c1"))})

    def reports(self) -> list[dict[str, Any]]:
        prefix = keys.routers(routed_service.ROLLOUT)
        answer = self.member.call("/v3/kv/range", {"key": b64(prefix), "range_end": b64(prefix[:-1] + "0")})
        return [json.loads(base64.b64decode(found["value"])) for found in answer.get("kvs", [])]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with contextlib.ExitStack() as stack:
        etcd = stack.enter_context(EtcdCluster(tmp_path / "etcd"))
        proxy = stack.enter_context(TcpProxy(("127.0.0.1", etcd.members[0].client_port)))
        load = Load()
        world = World(etcd, proxy, load)
        for kind in routed_service.KINDS:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=128))
            process = routed_service.start(
                kind, listener, tmp_path / f"{kind}.log",
                store=f"etcd://{proxy.endpoint}", grace=GRACE, jitter=JITTER, control_after=CONTROL_AFTER,
            )  # fmt: skip
            stack.callback(_end, process)
            load.begin(listener.getsockname()[1])
        stack.callback(load.end)
        load.until_control("DEFAULT")
        yield world
        load.end()
        assert all("Traceback" not in (tmp_path / f"{kind}.log").read_text() for kind in routed_service.KINDS)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def test_every_worker_obeys_a_trip_and_it_outlives_etcd(world: World) -> None:
    """Every worker obeys a trip. The trip outlives etcd, a corrupt key and a deleted key."""
    load = world.load
    world.put(armed(1, percent=50.0))
    load.until_split(1)
    revision = world.put(armed(1, percent=12.34))
    load.until("12.34 %", lambda decision: decision.revision == revision)
    with load.without_canary("trip"):
        trip = world.put(tripped(1))
        load.until_control("DISABLED")
        # gunicorn's parent has a router of its own, and reports too
        wait_until(
            lambda: len([one for one in world.reports() if one["revision"] == trip]) == EVERY_WORKER + 1, "reports"
        )
        world.member.kill()
        down = time.monotonic()
        wait_until(lambda: time.monotonic() > down + GRACE + JITTER, "an outage longer than any grace")
        load.until_control("DISABLED")
        world.member.start()
        world.member.wait_until_healthy()
        world.garble(b'{"format": 1, "rollout": "suppo')
        load.until_control("ERROR")
        delete(world.member)
        load.until_control("DEFAULT")
        world.put(armed(1, percent=99.0))  # the generation that was tripped
        load.until_control("DISABLED")
    world.put(armed(2, percent=50.0))
    load.until_split(2)
    load.end()
    load.judge()


def test_a_corrupt_deleted_or_foreign_key_ends_the_canary(world: World) -> None:
    """A corrupt key, a deleted key or a foreign document ends the canary until the key is fixed."""
    load = world.load
    good = flag_document(armed(1, percent=50.0))
    world.put(armed(1, percent=50.0))
    load.until_split(1)
    for bad in (
        good[: len(good) // 2],
        b"\xff\x00garbage",
        good.replace(b'"format": 1', b'"format": 2'),
        good.replace(b"support-copilot", b"another-rollout"),
        good.replace(b"50.0", b"NaN"),
        good.replace(b"50.0", b"101"),
        good.replace(b"50.0", b"-1"),
    ):
        assert bad != good
        with load.without_canary(f"corrupt: {bad[:20]!r}"):
            world.garble(bad)
            load.until_control("ERROR")
    world.put(armed(1, percent=50.0))
    load.until_split(1)
    with load.without_canary("deleted"):
        delete(world.member)
        load.until_control("DEFAULT")
    world.put(armed(1, percent=50.0))
    load.until_split(1)
    load.end()
    load.judge()


def test_a_partition_or_a_dead_etcd_ends_the_canary_in_the_grace(world: World) -> None:
    """A partition or a killed etcd ends the canary within the grace, and hides no trip."""
    load = world.load
    world.put(armed(1, percent=50.0))
    load.until_split(1)
    with load.without_canary("killed"):
        world.member.kill()
        load.until_control("STALE")
    world.member.start()
    load.until_split(1)
    with load.without_canary("partition"):
        world.proxy.black_hole()
        load.until_control("STALE")
        world.put(tripped(1))  # nobody of them hears it
        world.proxy.heal()
        load.until_control("DISABLED")
    world.put(armed(2, percent=50.0))
    load.until_split(2)
    load.end()
    load.judge()


def test_an_old_backup_does_not_bring_back_a_tripped_canary(world: World, tmp_path: Path) -> None:
    """An old backup does not bring back a tripped canary. A person's next generation does."""
    load = world.load
    world.put(armed(1, percent=50.0))
    load.until_split(1)
    world.etcd.back_up(tmp_path / "backup.db")
    for percent in (60.0, 70.0, 80.0):
        world.put(armed(1, percent=percent))
    with load.without_canary("trip, then a backup from before it"):
        world.put(tripped(1))
        load.until_control("DISABLED")
        world.etcd.restore(tmp_path / "backup.db")
        restored = time.monotonic()
        wait_until(lambda: time.monotonic() > restored + 2 * GRACE, "several reads of the old document")
        load.until_control("DISABLED")
    world.heartbeat()
    world.put(armed(2, percent=50.0))
    load.until_split(2)
    load.end()
    load.judge()


def test_the_canary_ends_while_no_controller_is_alive(world: World) -> None:
    """If no controller is alive, the canary ends. It comes back once a controller is alive."""
    load = world.load
    world.put(armed(1, percent=50.0))
    load.until_split(1)
    with load.without_canary("controllers dead", within=CONTROL_AFTER + JITTER + SLACK):
        world.no_heartbeat()
        load.until_control("STALE")
    world.heartbeat()
    load.until_split(1)
    with load.without_canary("trip"):
        world.put(tripped(1))
        load.until_control("DISABLED")
    load.end()
    load.judge()
