"""Reads and watches etcd through its JSON gateway, with the standard library alone.

The watch is read line by line, because a network chunk is not a document. It asks for a leader, because an isolated
member would otherwise stay silent for ever. After a break it continues after its last revision on any endpoint that
answers. A watch is only a hint: a follower also reads again at intervals (see `killswitch.router.follow`).
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from killswitch.errors import AccessDenied, BadDocument, KillswitchError, Unavailable
from killswitch.stores import Lease
from killswitch.stores.access import Access
from killswitch.stores.etcd import wire
from killswitch.stores.etcd.gateway import Gateway
from killswitch.stores.etcd.stream import NoNews, Stream
from killswitch.stores.reader import READ_TIMEOUT, Connected, Disconnected, ReadView, Resync, WatchEvent
from killswitch.stores.url import Endpoint

SILENCE = 60.0  # seconds without a line after which a watch is set up again
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0  # seconds between attempts to watch


class EtcdReader:
    """A `Reader` and `LeaseWriter` on etcd. Its calls may be made from any thread."""

    sees_controllers = True

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        access: Access | None = None,
        *,
        use_tls: bool = False,
        timeout: float = READ_TIMEOUT,
        silence: float = SILENCE,
    ) -> None:
        self._gateway = Gateway(tuple(endpoints), access if access is not None else Access(), use_tls=use_tls)
        # a thousand routers with the same list of endpoints should not all begin with the first
        self._gateway.prefer(random.randrange(len(endpoints)))  # noqa: S311  # no secret
        self._timeout = timeout
        self._silence = silence

    def describe(self) -> str:
        return "etcd at " + ", ".join(map(str, self._gateway.endpoints))

    def read(
        self,
        names: Sequence[str],
        *,
        prefixes: Sequence[str] = (),
        counted: Sequence[str] = (),
        changed_after: int = 0,
        timeout: float | None = None,
    ) -> ReadView:
        """See `Reader.read`; one transaction of reads, so one revision, linearizable."""
        question = wire.read_question(names, prefixes, counted, changed_after)
        return self._gateway.call(
            "/v3/kv/txn",
            question,
            self._timeout if timeout is None else timeout,
            # an answer that is not understood counts as none: the next endpoint is asked
            lambda answer: wire.parse_view(answer, names, prefixes, counted, changed_after),
        )

    def watch(self, name: str, *, after: int, prefix: bool = False) -> EtcdWatch:
        return EtcdWatch(self._gateway, name, after, prefix=prefix, timeout=self._timeout, silence=self._silence)

    def grant(self, ttl: float) -> Lease:
        """A lease of ``ttl`` seconds, counted from before the request."""
        asked_at = time.monotonic()

        def granted(answer: dict[str, Any]) -> Lease:
            seconds, lease_id = wire.integer(answer, "TTL"), wire.integer(answer, "ID")
            if seconds < 1 or lease_id == 0:
                raise Unavailable(f"etcd: no lease was granted ({str(answer.get('error', ''))[:80]})")
            return Lease(lease_id, float(seconds), asked_at + seconds)

        return self._gateway.call("/v3/lease/grant", wire.encode({"TTL": str(round(ttl))}), self._timeout, granted)

    def keep_alive(self, lease: Lease) -> Lease | None:
        """The renewed lease, or None if it has ended (etcd then answers 200 without a TTL)."""
        asked_at = time.monotonic()
        left = self._gateway.call(
            "/v3/lease/keepalive",
            wire.encode({"ID": str(lease.id)}),
            self._timeout,
            lambda answer: wire.integer(wire.member(answer, "result"), "TTL"),
        )
        return Lease(lease.id, float(left), asked_at + left) if left > 0 else None

    def put(self, name: str, value: bytes, lease: Lease) -> int:
        """Write one key under a lease; the revision it was written at. Repeated if the answer was lost."""
        question = wire.put_question(name, value, lease.id)
        return self._gateway.call("/v3/kv/put", question, self._timeout, wire.revision_of)

    def revoke(self, lease: Lease) -> None:
        self._gateway.call("/v3/lease/revoke", wire.encode({"ID": str(lease.id)}), self._timeout, wire.revision_of)

    def forget(self) -> None:
        self._gateway.forget()

    def close(self) -> None:
        self._gateway.close()


class EtcdWatch:
    """One key of etcd, or all keys under a prefix, being watched; see `Watch`."""

    def __init__(
        self, gateway: Gateway, name: str, after: int, *, prefix: bool = False, timeout: float, silence: float
    ) -> None:
        self._gateway = gateway
        self._name = name
        self._prefix = prefix
        self._after = after
        self._timeout = timeout
        self._silence = silence
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._stream: Stream | None = None
        self._attempts = 0
        self._turn = gateway.endpoints.index(gateway.preferred)
        self._epoch = 0  # how often `restart` was called

    def __iter__(self) -> Iterator[WatchEvent]:
        while not self._closed.is_set():
            epoch, quiet = self._epoch, False
            try:
                yield from self._one_stream(epoch)
                reason = "etcd ended the watch"
            except (Unavailable, AccessDenied, BadDocument) as error:
                if isinstance(error, wire.LoginNeeded):
                    self._gateway.log_out()
                reason, quiet = str(error), isinstance(error, NoNews)
            if self._closed.is_set():
                return
            yield Disconnected(reason, quiet=quiet)
            self._turn = self._next_turn()
            if epoch == self._epoch:
                self._closed.wait(self._pause())

    def restart(self, after: int) -> None:
        with self._lock:
            self._epoch += 1
            self._after = after
            stream = self._stream
        if stream is not None:
            stream.abort()

    def close(self) -> None:
        self._closed.set()
        with self._lock:
            stream = self._stream
        if stream is not None:
            stream.abort()

    def _next_turn(self) -> int:
        """The endpoint that answers reads, unless it has just failed."""
        endpoints = self._gateway.endpoints
        preferred = endpoints.index(self._gateway.preferred)
        failed = self._turn % len(endpoints)
        return preferred if preferred != failed else failed + 1

    def _pause(self) -> float:
        """Seconds before the next attempt: doubling, with jitter, so that routers do not all return at once."""
        longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self._attempts, 10))
        self._attempts += 1
        return random.uniform(longest / 2, longest)  # noqa: S311  # no secret

    def _one_stream(self, epoch: int) -> Iterator[WatchEvent]:
        endpoint = self._gateway.endpoints[self._turn % len(self._gateway.endpoints)]
        question = wire.watch_question(self._name, self._after, prefix=self._prefix)
        stream = self._gateway.stream(endpoint, "/v3/watch", question, self._timeout)
        try:
            with self._lock:
                if epoch != self._epoch or self._closed.is_set():
                    return  # `restart` has named a newer revision meanwhile
                self._stream = stream
            yield from self._events(stream, epoch)
        finally:
            with self._lock:
                self._stream = None
            stream.close()

    def _events(self, stream: Stream, epoch: int) -> Iterator[WatchEvent]:
        try:
            for line in stream.lines(self._silence):
                message = wire.parse_watch_line(line)
                if message.cancelled:
                    raise _end_of(message)
                if message.created:
                    self._attempts = 0
                    yield Connected(message.revision)
                for change in message.changes:
                    if change.key != self._name and not (self._prefix and change.key.startswith(self._name)):
                        raise BadDocument(
                            f"{stream.endpoint}: a change of {change.key!r:.80} in a watch of another key"
                        )
                    if not self._advance(change.revision, epoch):
                        return
                    yield change
        except wire.LineTooLong as error:
            raise Resync(str(error)) from error

    def _advance(self, revision: int, epoch: int) -> bool:
        """Note that everything up to ``revision`` was yielded. False if `restart` was called meanwhile."""
        with self._lock:
            if epoch != self._epoch or self._closed.is_set():
                return False
            self._after = max(self._after, revision)
            return True


def _end_of(message: wire.WatchLine) -> KillswitchError:
    if message.compacted:
        return Resync(f"etcd has compacted its history up to revision {message.compacted}")
    return message.error if message.error is not None else Unavailable("etcd cancelled the watch")
