"""Name look-ups that end: the system's resolver knows no timeout, and may hang for minutes, or for ever.

Each runs in a thread of its own, which cannot be cut off, only left. So whoever asks for a name that is being looked
up waits for the answer under way, and a resolver that hangs for an hour holds one thread a name.

Standard library only: the router SDK uses this, too.
"""

from __future__ import annotations

import codecs
import os
import socket
import threading
from collections.abc import Sequence
from typing import Any

# now, and not at the first look-up, in a thread: a process forked in the middle of that would never know the codec
codecs.lookup("idna")

Addresses = Sequence[tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]]


class _LookUp:
    """One question to the resolver, and whoever waits for its answer."""

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
    """`socket.getaddrinfo` for streams, within ``seconds``. An address is no name and is looked up nowhere.

    Raises OSError: gaierror when the name is not known, or nobody says so in time.
    """
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (socket.gaierror, UnicodeError):
        pass  # a name, not a number
    asked = _asked(host, port)
    if not asked.answered.wait(seconds):
        raise socket.gaierror(socket.EAI_AGAIN, f"no answer from the name server in {seconds:.1f} s")
    if isinstance(asked.answer, OSError):
        raise asked.answer.with_traceback(None)  # several may wait for it
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
    """After a fork: the threads that would answer are the parent's, and so may be who holds the lock."""
    global _lock  # noqa: PLW0603  # it is the process's own
    _lock = threading.Lock()
    _under_way.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
