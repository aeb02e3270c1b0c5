"""Servers that a test scripts, closed after it, and an authority for their certificates."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.servers.certificates import Authority
from tests.servers.scripted import Script, ScriptedServer


@pytest.fixture
def serve() -> Iterator[Callable[..., ScriptedServer]]:
    with ExitStack() as stack:

        def start(script: Script, context: ssl.SSLContext | None = None) -> ScriptedServer:
            server = ScriptedServer(script, context)
            stack.callback(server.close)
            return server

        yield start


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))
