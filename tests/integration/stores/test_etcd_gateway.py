"""An etcd whose JSON gateway is off, or on another port, is named as what it is by the store and by the router."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from killswitch.errors import KillswitchError
from killswitch.stores.etcd.reader import EtcdReader
from killswitch.stores.etcd.store import EtcdStore
from killswitch.stores.url import Endpoint
from tests.servers.etcd import ETCD, free_ports, wait_until

HTTP2_SETTINGS = bytes.fromhex("000006040000000000000500004000")  # what a port for gRPC alone says first


@pytest.fixture
def without_gateway(tmp_path: Path) -> Iterator[Endpoint]:
    client, peer = free_ports(2)
    url, peer_url = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    arguments = [
        *("--name=a", f"--data-dir={tmp_path / 'etcd'}", "--enable-grpc-gateway=false"),
        *(f"--listen-client-urls={url}", f"--advertise-client-urls={url}"),
        *(
            f"--listen-peer-urls={peer_url}",
            f"--initial-advertise-peer-urls={peer_url}",
            f"--initial-cluster=a={peer_url}",
        ),
    ]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([ETCD, *arguments], stdout=log, stderr=log)
    try:
        wait_until(lambda: _answers(f"{url}/health"), "etcd answers")
        yield Endpoint("127.0.0.1", client)
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


@pytest.fixture
def grpc_port() -> Iterator[Endpoint]:
    """A port that speaks HTTP/2 alone, as ``--listen-client-urls`` does beside ``--listen-client-http-urls``."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    connection.sendall(HTTP2_SETTINGS)
                    connection.shutdown(socket.SHUT_WR)
                    # closed with a part of the question unread, it would take its own words back
                    while connection.recv(4096):
                        pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield Endpoint("127.0.0.1", listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def _said(endpoint: Endpoint) -> Iterator[str]:
    for ask in (lambda: EtcdStore([endpoint]).get("/x"), lambda: EtcdReader([endpoint]).read("copilot")):
        with pytest.raises(KillswitchError) as caught:
            ask()
        yield str(caught.value)


def test_a_gateway_that_is_off_is_named_with_its_setting(without_gateway: Endpoint) -> None:
    for said in _said(without_gateway):
        assert "--enable-grpc-gateway" in said


def test_a_grpc_only_port_is_reported_with_the_http_setting(grpc_port: Endpoint) -> None:
    """If the port serves gRPC only, the error names etcd's setting for the HTTP port."""
    for said in _said(grpc_port):
        assert "not in HTTP/1.1" in said or "not HTTP/1.1" in said
        assert "--listen-client-http-urls" in said
