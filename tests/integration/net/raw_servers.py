"""Servers that answer with bytes of a test's choice, and sessions that fail on them."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from killswitch.errors import Unavailable
from killswitch.net.bounded_http import NoAnswer
from tests.servers.certificates import Authority

PATIENT = 30.0
SHORT = 0.5


def hang(connection: socket.socket, request: bytes) -> None:
    connection.recv(1)


@contextmanager
def failing(*, sent: bool, match: str, kind: type[Exception] = Unavailable) -> Iterator[None]:
    with pytest.raises(NoAnswer, match=match) as caught:
        yield
    assert type(caught.value.failure) is kind
    assert caught.value.sent is sent


def server_context(authority: Authority, **how: object) -> ssl.SSLContext:
    certificate = authority.issue(f"server-{os.urandom(4).hex()}", **how)  # type: ignore[arg-type]  # its keywords
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    return context
