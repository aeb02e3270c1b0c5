"""Probes answer whatever everyone else does to the port: each way to take a pool or a limit, and a probe meanwhile.

A probe that shares what is taken here does not answer at all, so nothing below measures time.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pytest
from prometheus_client import Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from killswitch.flags.flag import Flag
from killswitch.flags.incident import Incident
from killswitch.status.reports import CycleReport, RolloutReport
from killswitch.web import acceptor, rendered
from killswitch.web import server as http_server
from killswitch.web.acceptor import Acceptor
from killswitch.web.server import MAX_HEADER_BYTES
from tests.doubles.pages import armed
from tests.doubles.served import Served, listening
from tests.integration.security.peer import has_ended
from tests.servers.etcd import free_ports, wait_until

PROBES = ("/-/healthy", "/-/ready")
KUBELET = "127.0.0.2"


def probe(port: int, path: str = "/-/healthy", source: str = KUBELET) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20, source_address=(source, 0))
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def both(port: int) -> set[int]:
    """From an address of its own and from the flood's: behind a proxy or on the node itself it has no other."""
    return {probe(port, path, source) for path in PROBES for source in (KUBELET, "127.0.0.1")}


@contextlib.contextmanager
def sending(port: int, data: bytes, sources: Iterable[str]) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        connections = []
        for source in sources:
            one = socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(source, 0))
            connections.append(stack.enter_context(one))
            one.sendall(data)
        yield connections


@pytest.fixture
def stuck() -> Iterator[threading.Event]:
    """Whatever waits for it is stuck until the test has ended."""
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nHo", b"GET /-/healthy HTTP/1.1\r\nHost: a"])
@pytest.mark.parametrize("addresses", [1, 4, 100])
def test_half_sent_requests_of_any_number_of_addresses(
    begun: bytes, addresses: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptor, "MAX_WAITING", 20)
    sources = [f"127.0.1.{1 + number % addresses}" for number in range(100)]
    with listening(Served()) as port, sending(port, begun, sources):
        assert both(port) == {200}


def test_the_oldest_connection_of_the_busiest_peer_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """If too many connections wait, the oldest one of the peer with the most is dropped first."""
    monkeypatch.setattr(acceptor, "MAX_WAITING", 4)
    sources = ["127.0.0.3"] + ["127.0.0.4"] * 4
    with listening(Served()) as port, sending(port, b"GET", sources) as held:
        wait_until(lambda: has_ended(held[1]), "the heaviest peer's oldest is dropped")
        assert not any(has_ended(one) for one in (held[0], *held[2:]))


def test_probes_answer_while_missing_bodies_hold_every_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes are answered while requests whose bodies never come hold all places of the web server."""
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS", 4)
    request = b"POST /-/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
    with listening(Served()) as port, sending(port, request, [f"127.0.1.{number}" for number in range(1, 30)]):
        assert both(port) == {200}


class StuckMetrics(Collector):
    def __init__(self, stuck: threading.Event) -> None:
        self.asked = 0
        self._stuck = stuck

    def collect(self) -> Iterable[Metric]:
        self.asked += 1
        self._stuck.wait(60)
        return ()

    def describe(self) -> Iterable[Metric]:
        return ()


def test_metrics_that_take_for_ever_are_made_once_for_everyone(
    stuck: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendered, "RENDERED_FOR", 60.0)  # on a busy machine the last may ask long after the first
    served, collector = Served(), StuckMetrics(stuck)
    served.registry.register(collector)
    flood = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with listening(served) as port, sending(port, flood, [f"127.0.1.{1 + n % 4}" for n in range(120)]) as asking:
        wait_until(lambda: collector.asked > 0, "the metrics are being made")
        assert both(port) == {200}
        stuck.set()
        assert all(b"200 OK" in one.recv(100) for one in asking)
    assert collector.asked == 1


class StuckIncidents(Served):
    """A store that answers nobody: pages and `explain` wait for it."""

    def __init__(self, stuck: threading.Event) -> None:
        flag = armed("a")
        super().__init__(latest=CycleReport(1.7e9, 0.0, 0.1, {"a": RolloutReport("a", "fine", flag=flag)}))
        self._stuck = stuck

    def tripped_on(self, flags: Sequence[Flag]) -> Mapping[str, Incident]:
        self._stuck.wait(60)
        return super().tripped_on(flags)


@pytest.mark.parametrize("path", ["/", "/api/v1/status", "/api/v1/explain/a"])
def test_pages_that_wait_for_a_store(path: str, stuck: threading.Event) -> None:
    flood = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with listening(StuckIncidents(stuck)) as port, sending(port, flood, ["127.0.0.3"] * 100):
        assert both(port) == {200}
        stuck.set()


def test_a_stuck_web_server_delays_no_probe_and_is_not_flooded(
    stuck: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A web server whose loop is stuck delays no probe and gets a bounded number of requests."""
    monkeypatch.setattr(http_server, "MAX_HANDED_OVER", 5)

    async def route(_: Request) -> Response:
        stuck.wait(60)
        return PlainTextResponse("")

    request = b"GET /stuck HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with listening(Served(), [Route("/stuck", route)]) as port, sending(port, request, ["127.0.0.3"] * 30) as asking:
        wait_until(lambda: b"503" in asking[-1].recv(20), "those for whom there is no place are told")
        assert both(port) == {200}
        stuck.set()


@pytest.mark.parametrize("size", [MAX_HEADER_BYTES + 1, 3_000_000])
def test_headers_that_are_too_large_are_refused_to_probes_as_well(size: int) -> None:
    with listening(Served()) as port:
        begun = b"GET /-/healthy HTTP/1.1\r\nX-Pad: "
        # it may hang up before all is sent
        with sending(port, begun, ["127.0.0.3"]) as (one,), contextlib.suppress(ConnectionError):
            one.sendall(b"x" * size)
            assert b"431" in one.recv(100)
        assert both(port) == {200}


def test_an_answer_comes_whole_to_a_peer_that_is_still_sending() -> None:
    """Closing with unread bytes would reset the connection and take the answer with it."""
    with listening(Served()) as port:
        for _ in range(20):
            with sending(port, b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n" + b"x" * 200_000, ["127.0.0.3"]) as (one,):
                assert one.recv(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize(
    ("request_line", "status", "body"),
    [
        (b"GET /-/healthy HTTP/1.1", b"200", True),
        (b"GET /-/healthy?from=kubelet HTTP/1.0", b"200", True),
        (b"HEAD /-/ready HTTP/1.1", b"200", False),
        (b"POST /-/healthy HTTP/1.1", b"405", True),
        (b"GET /-/healthyx HTTP/1.1", b"404", True),
    ],
)
def test_what_is_a_probe(request_line: bytes, status: bytes, body: bool) -> None:
    with listening(Served()) as port:
        head = b"\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        with sending(port, request_line + head, ["127.0.0.3"]) as (one,):
            answer = b""
            while piece := one.recv(65536):
                answer += piece
    assert answer.split()[1] == status
    assert (answer.partition(b"\r\n\r\n")[2] != b"") == body
    assert b"x-content-type-options: nosniff" in answer.lower()


def test_a_probe_is_503_when_the_loop_hangs_or_the_check_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A probe answers 503 with the reason if the loop hangs, or if the check itself fails."""

    class Hung(Served):
        def unhealthy(self) -> str | None:
            return "the loop has not come round for 91 s"

        def unready(self) -> str | None:
            raise RuntimeError("a bug")

    with listening(Hung()) as port, caplog.at_level(logging.ERROR):
        assert [probe(port, path) for path in PROBES] == [503, 503]
    assert "a bug" in caplog.text


def test_without_file_descriptors_a_probe_is_answered_all_the_same() -> None:
    program = """
import resource, socket, sys
from tests.doubles.served import Served, listening
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
with listening(Served()) as port:
    print(port, flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as daemon:
        assert daemon.stdout is not None
        port = int(daemon.stdout.readline())
        with sending(port, b"GET", [f"127.0.1.{1 + number % 9}" for number in range(90)]):
            assert both(port) == {200}
        daemon.communicate(b"")


def test_an_acceptor_closes_what_it_holds_and_frees_its_port() -> None:
    port = free_ports(1)[0]

    def hand_over(connection: socket.socket, _: bytes) -> bool:
        connection.close()
        return True

    for _ in range(2):
        one = Acceptor(
            "127.0.0.1",
            port,
            probes={"/-/healthy": lambda: (200, "fine")},
            hand_over=hand_over,
            max_header_bytes=100,
            request_within=lambda: 10.0,
            headers={},
        )
        one.start()
        assert probe(port) == 200
        with sending(port, b"GET", ["127.0.0.1"]) as (held,):
            one.close()
            wait_until(lambda: has_ended(held), "what waits is closed")


def test_a_request_that_never_ends_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "REQUEST_WITHIN", 0.5)
    with listening(Served()) as port, sending(port, b"GET / HTTP/1.1\r\n", ["127.0.0.3"]) as (one,):
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while not has_ended(one):
                one.sendall(b"x")
                assert time.monotonic() - began < 30
