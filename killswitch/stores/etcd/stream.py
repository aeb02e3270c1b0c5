"""An endless answer of etcd (a watch), line by line, with a bound on how long it may stay silent."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

from killswitch.deadline import Deadline
from killswitch.errors import Unavailable
from killswitch.stores.etcd import wire
from killswitch.stores.etcd.connection import Connection, describe

MAX_LINE = 2 * 1024 * 1024
_CHUNK = 64 * 1024


class NoNews(Unavailable):
    """No line came in the time allowed: the stream has no news, or is dead without a sign."""


class Stream:
    """An endless answer, line by line."""

    def __init__(self, connection: Connection, response: http.client.HTTPResponse) -> None:
        self.endpoint = connection.endpoint
        self._connection = connection
        self._response = response

    def lines(self, silence: float) -> Iterator[bytes]:
        """Lines until the stream ends. Raises NoNews when a line takes longer than ``silence`` seconds, Unavailable
        when the stream breaks, LineTooLong over 2 MiB.
        """
        timed = self._connection.timed
        assert timed is not None
        lines = wire.Lines(MAX_LINE)
        timed.deadline = Deadline(silence)
        while True:
            try:
                chunk = self._response.read1(_CHUNK)
            except (OSError, http.client.HTTPException, ValueError) as error:
                if timed.deadline.expired:
                    raise NoNews(f"{self.endpoint}: no news for {silence:g} s") from error
                raise Unavailable(f"{self.endpoint}: the watch broke ({describe(error)})") from error
            if not chunk:
                return
            for line in lines.feed(chunk):
                timed.deadline = Deadline(silence)
                yield line

    def abort(self) -> None:
        self._connection.abort()

    def close(self) -> None:
        self._response.close()
        self._connection.end()
