"""Name look-ups that end in time: the system's resolver has no timeout, and may hang for minutes or for ever.

Each look-up runs in a thread of its own. Such a thread cannot be stopped, only left behind. So callers that ask for the
same name share one look-up, and a resolver that hangs holds one thread for each name.

Standard library only, because the router SDK uses it.
"""

from __future__ import annotations

import codecs
import os
import socket
import threading
from collections.abc import Sequence
from typing import Any

# loaded now, not in a look-up's thread: a process forked during that would never have the codec
codecs.lookup("idna")

Addresses = Sequence[tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]]


class _LookUp:
    """One request to the resolver, and the event that its callers wait for."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.answered = threading.Event()
        self.answer: Addresses | OSError = ()

    def ask(self) -> None:
        try:
            self.answer = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except OSError as error:
            self.answer = error
        except UnicodeError as error:  # a label that is empty or too long
            self.answer = socket.gaierror(socket.EAI_NONAME, str(error))
        with _lock:
            _under_way.pop((self.host, self.port), None)
        self.answered.set()


_lock = threading.Lock()
_under_way: dict[tuple[str, int], _LookUp] = {}


def look_up(host: str, port: int, seconds: float) -> Addresses:
    """`socket.getaddrinfo` for streams, within ``seconds``. An address needs no look-up.

    Raises OSError; it is gaierror if the name is unknown or there is no answer in time.
    """
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (socket.gaierror, UnicodeError):
        pass  # a name, not a number
    asked = _asked(host, port)
    if not asked.answered.wait(seconds):
        raise socket.gaierror(socket.EAI_AGAIN, f"no answer from the name server in {seconds:.1f} s")
    if isinstance(asked.answer, OSError):
        raise asked.answer.with_traceback(None)  # several callers may share it
    return asked.answer


def _asked(host: str, port: int) -> _LookUp:
    with _lock:
        found = _under_way.get((host, port))
        if found is not None:
            return found
        new = _under_way[host, port] = _LookUp(host, port)
        try:
            threading.Thread(target=new.ask, name=f"look-up-{host}", daemon=True).start()
        except RuntimeError as error:  # no more threads
            del _under_way[host, port]
            raise OSError(f"{host} cannot be looked up: {error}") from error
        return new


def _forget_in_child() -> None:
    """After a fork: the threads that would answer, and may hold the lock, exist in the parent only."""
    global _lock  # noqa: PLW0603  # each process needs its own
    _lock = threading.Lock()
    _under_way.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
