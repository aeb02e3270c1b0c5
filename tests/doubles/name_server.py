"""A resolver in this process that answers, hangs, or knows nothing, as told; addresses are nobody's business but the
system's.

::

    names = NameServer(monkeypatch, {"flags.example": ["127.0.0.1"]})
    names.hang()
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

_PATIENCE = 60.0  # seconds after which a resolver that hangs lets a test end all the same


class NameServer:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, names: Mapping[str, Sequence[str]]) -> None:
        self._names = dict(names)
        self._answers = threading.Event()
        self._answers.set()
        self._real = socket.getaddrinfo
        self.asked: list[str] = []
        monkeypatch.setattr(socket, "getaddrinfo", self._getaddrinfo)

    def hang(self) -> None:
        self._answers.clear()

    def go_on(self) -> None:
        self._answers.set()

    def _getaddrinfo(self, host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        if not host.endswith(".example"):
            return self._real(host, port, *args, **kwargs)
        if kwargs.get("flags", 0) & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "not an address")
        self.asked.append(host)
        self._answers.wait(_PATIENCE)
        if host not in self._names:
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        return [found for address in self._names[host] for found in self._real(address, port, *args, **kwargs)]
