"""A real partition: a replica in a network namespace of its own, its link taken away. Needs root; skipped elsewhere."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.fleet import Fleet
from tests.servers.etcd import wait_until
from tests.servers.tcp_proxy import TcpProxy

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Island:
    """A network namespace that knows one neighbour: ``host``, our end of its only link."""

    name: str
    host: str
    link: str

    def cut(self) -> None:
        """Every packet is lost; nothing is refused, no connection is closed."""
        _run("ip", "link", "set", self.link, "down")

    def heal(self) -> None:
        _run("ip", "link", "set", self.link, "up")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def island() -> Iterator[Island]:
    mark = f"{os.getpid() % 60000}{next(_numbers)}"
    name, link, peer = f"ks-{mark}", f"ks{mark}h", f"ks{mark}p"
    net = f"10.{os.getpid() // 250 % 250}.{os.getpid() % 250}"
    try:
        _run("ip", "netns", "add", name)
        _run("ip", "link", "add", link, "type", "veth", "peer", "name", peer)
        _run("ip", "link", "set", peer, "netns", name)
        _run("ip", "addr", "add", f"{net}.1/24", "dev", link)
        _run("ip", "link", "set", link, "up")
        _run("ip", "netns", "exec", name, "ip", "addr", "add", f"{net}.2/24", "dev", peer)
        for device in (peer, "lo"):
            _run("ip", "netns", "exec", name, "ip", "link", "set", device, "up")
    except (OSError, subprocess.CalledProcessError) as error:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        pytest.skip(f"network namespaces cannot be made here (root is needed): {error}")
    yield Island(name, f"{net}.1", link)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def test_a_partitioned_replica_does_not_act_until_it_is_back(tmp_path: Path, island: Island) -> None:
    """Safety 5 and row 8 with lost packets instead of a proxy."""
    with Fleet(tmp_path, replicas=2, members=3) as fleet:
        lonely, other = fleet.replicas
        _move(lonely.environment, island, fleet)
        lonely._command[:] = ["ip", "netns", "exec", island.name, *lonely._command]
        lonely.host = island.host.removesuffix(".1") + ".2"
        fleet.start()
        island.cut()
        fleet.for_cycles(6, other)
        assert fleet.flips() == []  # and nobody was called blind whom the other saw: `safety.violations`
        fleet.fail()
        fleet.until_tripped()
        island.heal()
        fleet.for_cycles(2)
        assert len(fleet.flips()) == len(fleet.incidents()) == 1
        wait_until(lambda: len(fleet.pages("tripped, ")) == 1, "the page")


def _move(environment: dict[str, str], island: Island, fleet: Fleet) -> None:
    """Let the replica's addresses be those of our end of its link."""
    lonely = fleet.replicas[0]
    for proxy in lonely.proxies:
        proxy.close()
    lonely.to_etcd = [TcpProxy(("127.0.0.1", m.client_port), host=island.host) for m in fleet.etcd.members]
    port = int(fleet.prometheus.url.rpartition(":")[2])
    lonely.to_prometheus = TcpProxy(("127.0.0.1", port), host=island.host)
    lonely.to_slack = TcpProxy(("127.0.0.1", fleet.slack.port), host=island.host)
    environment |= {
        "KILLSWITCH_STORE": f"etcd://{','.join(proxy.endpoint for proxy in lonely.to_etcd)}",
        "KILLSWITCH_SOURCE": f"prometheus+http://{lonely.to_prometheus.endpoint}",
        "KILLSWITCH_SLACK_BASE_URL": f"http://{lonely.to_slack.endpoint}/api/",
    }
