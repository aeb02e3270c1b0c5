"""A real etcd, a workspace of Slack with its socket, and a rollout that was tripped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.doubles.clock import VirtualClock
from tests.doubles.slack_socket import SlackSocketDouble
from tests.doubles.slack_workspace import SlackWorkspace
from tests.integration.interaction.replicas import Replica, cleared
from tests.servers.etcd import EtcdCluster
from tests.unit.interaction.pressed import Scene


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with EtcdCluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def socket() -> Iterator[SlackSocketDouble]:
    with SlackSocketDouble() as double:
        yield double


@pytest.fixture
def slack(clock: VirtualClock, socket: SlackSocketDouble) -> Iterator[SlackWorkspace]:
    with SlackWorkspace(now=clock.monotonic, socket_url=socket.url) as double:
        yield double


@pytest.fixture
def scene(etcd: EtcdCluster, clock: VirtualClock) -> Iterator[Scene]:
    with cleared(etcd.url) as store:
        scene = Scene(store, clock)
        scene.arm()
        scene.trip()
        yield scene


@pytest.fixture
def two(etcd: EtcdCluster, scene: Scene, slack: SlackWorkspace) -> Iterator[tuple[Replica, Replica]]:
    """Two replicas on one etcd and one workspace, each with connections and threads of its own."""
    with ExitStack() as stack:
        first, second = (stack.enter_context(Replica(etcd.url, scene, slack)) for _ in range(2))
        yield first, second


@pytest.fixture
def one(two: tuple[Replica, Replica]) -> Replica:
    return two[0]
