"""The flag store on etcd 3.4 or later, through its HTTP gateway.

The gateway writes int64 as text, and leaves out 0, false and empty values. It answers a keep-alive of an ended lease
with a 200 without a TTL. Keys are UTF-8 here; `etcd3gw` alone would write Latin-1. `killswitch.stores.etcd.members`
asks the members in turn and says what their failures mean.
"""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from killswitch.deadline import Deadline
from killswitch.errors import BadDocument, Unavailable
from killswitch.net.credentials import TLS, Secret
from killswitch.stores import Committed, Compare, Delete, Item, Lease, Lost, Put, Snapshot, ToldTime
from killswitch.stores.etcd import wire
from killswitch.stores.etcd.members import NOT_FOUND, EtcdRefusal, Member, Members, Repeat
from killswitch.stores.limits import check_commit
from killswitch.stores.url import Endpoint

_PAGE: Final = 128  # keys
# thousands of small documents are read in pages of this many bytes, as the largest so far lets expect
_PAGE_BYTES: Final = 2 * 1024 * 1024
_REVISION_GONE: Final = ("required revision has been compacted", "required revision is a future revision")
_T = TypeVar("_T")


class EtcdStore:
    """`killswitch.stores.Store` on etcd. Safe from any thread; not across a fork.

    ``timeout``: seconds in total per call, all endpoints together. An endpoint that is not the last one
    gets half of the time left. ``clock`` is what leases are measured with.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        *,
        use_tls: bool = False,
        tls: TLS | None = None,
        user: str | None = None,
        password: Secret | None = None,
        timeout: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._members = Members(endpoints, use_tls=use_tls, tls=tls, user=user, password=password, timeout=timeout)
        self._timeout = timeout
        self._clock = clock

    # --- Store

    def get(self, key: str) -> Item | None:
        def ask(member: Member) -> Item | None:
            items, _, _ = _range(member, {"key": wire.key64(key)})
            if len(items) > 1 or any(item.key != key for item in items):
                raise BadDocument(f"etcd: the answer about {key!r} holds other keys")
            return items[0] if items else None

        return self._run_or_raise(ask, Repeat.FREELY)

    def list(self, prefix: str) -> Snapshot:
        deadline = Deadline(self._timeout)
        while True:
            try:
                return self._list(prefix, deadline)
            except EtcdRefusal as refused:
                # the store was compacted or restored between two pages: begin again
                if deadline.expired or not any(words in refused.message for words in _REVISION_GONE):
                    raise refused.failure from refused

    def commit(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> Committed | Lost:
        """As `Store.commit`; also Lost when a lease named in ``writes`` has ended. Raises BadTransaction."""
        check_commit(compares, writes)
        transaction = {
            "compare": [
                {
                    "key": wire.key64(compare.key),
                    "target": "MOD",
                    "result": "EQUAL",
                    "mod_revision": str(compare.mod_revision),
                }
                for compare in compares
            ],
            "success": [_operation(write) for write in writes],
        }

        def ask(member: Member) -> Committed | Lost:
            document = member.transaction(transaction)
            revision = wire.revision_of(document)
            succeeded = document.get("succeeded", False)
            if not isinstance(succeeded, bool):
                raise BadDocument("etcd: `succeeded` is not a boolean")
            return Committed(revision) if succeeded else Lost()

        try:
            return self._members.ask(ask, Repeat.NEVER)
        except EtcdRefusal as refused:
            if refused.code == NOT_FOUND and "lease not found" in refused.message:
                return Lost()
            raise refused.failure from refused

    def grant(self, ttl: float) -> Lease:
        """Raises OutcomeUnknown if a lease may have been made; it ends by itself."""

        def ask(member: Member) -> Lease:
            before = self._clock()
            document = member.post(member.get_url("/lease/grant"), json={"TTL": str(math.ceil(ttl))})
            return _lease(document, before)

        return self._run_or_raise(ask, Repeat.IDEMPOTENT)

    def keep_alive(self, lease: Lease) -> Lease | None:
        def ask(member: Member) -> Lease | None:
            before = self._clock()
            document = member.post(member.get_url("/lease/keepalive"), json={"ID": str(lease.id)})
            result = wire.member(document, "result")
            if wire.integer(result, "ID") != lease.id:
                raise BadDocument("etcd: the answer is about another lease")
            return _lease(result, before) if wire.integer(result, "TTL") > 0 else None

        return self._run_or_raise(ask, Repeat.FREELY)

    def revoke(self, lease: Lease) -> None:
        """End the lease and delete its keys; does nothing if it had ended."""

        def ask(member: Member) -> None:
            member.post(member.get_url("/lease/revoke"), json={"ID": str(lease.id)})

        try:
            self._members.ask(ask, Repeat.IDEMPOTENT)
        except EtcdRefusal as refused:
            if refused.code != NOT_FOUND:
                raise refused.failure from refused

    def close(self) -> None:
        self._members.close()

    def told_time(self) -> ToldTime | None:
        """As `TellsTime`."""
        return self._members.told_time()

    # --- inner workings

    def _list(self, prefix: str, deadline: Deadline) -> Snapshot:
        start, end = prefix.encode() or b"\0", _after(prefix.encode())
        items: list[Item] = []
        revision = 0  # of the first page; the others are read at it, too
        limit, largest = _PAGE, 1

        while True:
            question = {
                "key": _base64(start),
                "range_end": _base64(end),
                "limit": str(limit),
                "revision": str(revision),
            }
            try:
                page, more, at = self._members.ask(lambda member: _range(member, question), Repeat.FREELY, deadline)  # noqa: B023  called at once
            except Unavailable:
                if limit == _PAGE or deadline.expired:
                    raise
                limit = _PAGE  # what follows may be larger than all before, so the page too large to read
                largest = _PAGE_BYTES
                continue
            if any(not item.key.startswith(prefix) for item in page):
                raise Unavailable(f"etcd: the answer about {prefix!r} holds other keys")
            items += page
            revision = revision or at
            if not more or not page:
                return Snapshot(tuple(items), revision)
            start = page[-1].key.encode() + b"\0"
            largest = max(largest, *(len(item.value) for item in page))
            limit = max(_PAGE, _PAGE_BYTES // largest)

    def _run_or_raise(self, ask: Callable[[Member], _T], repeat: Repeat) -> _T:
        try:
            return self._members.ask(ask, repeat)
        except EtcdRefusal as refused:
            raise refused.failure from refused


def _range(member: Member, question: Mapping[str, Any]) -> tuple[list[Item], bool, int]:
    """A linearizable read: the items, whether there are more, and the store's revision."""
    document = member.post(member.get_url("/kv/range"), json=question)
    items = [wire.item_of(entry) for entry in wire.members(document, "kvs")]
    return items, document.get("more") is True, wire.revision_of(document)


def _operation(write: Put | Delete) -> dict[str, Any]:
    key = wire.key64(write.key)
    if isinstance(write, Delete):
        return {"request_delete_range": {"key": key}}
    put = {"key": key, "value": _base64(write.value)}
    if write.lease is not None:
        put["lease"] = str(write.lease.id)
    return {"request_put": put}


def _lease(document: dict[str, Any], before: float) -> Lease:
    ttl, number = wire.integer(document, "TTL"), wire.integer(document, "ID")
    if ttl <= 0 or number == 0:
        raise BadDocument("etcd: the lease has no TTL or no ID")
    return Lease(number, float(ttl), before + ttl)


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _after(prefix: bytes) -> bytes:
    """The first key behind all that begin with ``prefix``; UTF-8 has no 0xff, so its last byte can grow."""
    return prefix[:-1] + bytes([prefix[-1] + 1]) if prefix else b"\0"
