"""The flag store on etcd 3.4 or later, through its HTTP gateway and `etcd3gw`.

What the gateway and the library do that one would not expect, and where it is met:

- A request that timed out may still be applied: `EtcdStore.commit` never asks a second endpoint once
  the first may have heard it, and raises OutcomeUnknown. Where surely nothing was heard or applied
  (no connection, "no leader", an expired token) it goes on.
- `etcd3gw` sorts failures by HTTP status and drops what etcd said; `_Member.post` reads the answer
  itself. It asks ``/version`` before its first call; here the path is given. It encodes text keys as
  Latin-1; here keys are bytes in UTF-8.
- int64 are text, 0 and false are left out, empty values too. A keep-alive of a dead lease is a 200
  without a TTL. The gateway's token stands in ``Authorization`` without ``Bearer``; it expires, and a
  member that restarts forgets it.
"""

from __future__ import annotations

import base64
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum, auto
from typing import Any, Final, TypeVar

from etcd3gw.client import Etcd3Client

from killswitch.bounded_http import BoundedSession, NoAnswer
from killswitch.bounded_http import refusal as http_refusal
from killswitch.credentials import TLS, Secret
from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, BadDocument, KillswitchError, OutcomeUnknown, Refused, Unavailable
from killswitch.stores import Committed, Compare, Delete, Item, Lease, Lost, Put, Snapshot
from killswitch.stores import etcd_wire as wire
from killswitch.stores.limits import check_commit
from killswitch.stores.url import Endpoint

# A page of full-sized documents, in base64, stays below the cap.
_PAGE: Final = 128
_MAX_BODY: Final = 16 * 1024 * 1024
_T = TypeVar("_T")

# gRPC's codes, as the gateway passes them on
_NOT_FOUND: Final = 5
# these mean that etcd looked at the request and did not do it
_NOT_DONE: Final = frozenset({3, _NOT_FOUND, 7, 8, 9, 11, 16})
# and these say so in words, under codes that also mean "perhaps"
_NOT_DONE_WORDS: Final = ("etcdserver: no leader", "raft proposal dropped", "etcdserver: too many requests")
_REVISION_GONE: Final = ("required revision has been compacted", "required revision is a future revision")


class _Repeat(Enum):
    """What may be done when an endpoint was asked and gave no answer."""

    FREELY = auto()  # it reads
    IDEMPOTENT = auto()  # it changes something, and twice is as good as once
    NEVER = auto()


class _EtcdRefusal(Exception):  # noqa: N818  it is one, and never leaves this module
    """etcd answered, and its answer is an error."""

    def __init__(self, failure: KillswitchError, *, code: object, message: str) -> None:
        self.failure = failure
        self.code = code
        self.message = message
        super().__init__(message)

    @property
    def done(self) -> bool:
        """Whether what was asked may have been done all the same."""
        return self.code not in _NOT_DONE and not any(words in self.message for words in _NOT_DONE_WORDS)


class _Member(Etcd3Client):  # type: ignore[misc]  # etcd3gw is typed in part only; see pyproject.toml
    """etcd3gw's client for one endpoint; every call of the library's passes through `post`."""

    def post(self, url: str, *args: Any, json: Any = None, **kwargs: Any) -> dict[str, Any]:
        """The answer's document. Raises NoAnswer, `_EtcdRefusal`, or BadDocument for garbage."""
        response = self.session.post(url, *args, json=json, **kwargs)
        if response.status_code == 200:
            document = wire.parse_object(response.content)
            if "error" not in document:
                return document
        else:
            try:
                document = wire.parse_object(response.content)
            except BadDocument:
                document = {}
        raise _refusal(response, document)


def _refusal(response: Any, document: Mapping[str, Any]) -> _EtcdRefusal:
    # within a stream (keep-alive) the error is an object of its own
    error = document.get("error")
    described = error if isinstance(error, dict) else document
    code = described.get("grpc_code", described.get("code"))
    message = str(described.get("message") or described.get("error") or "")
    if code is None or not message:  # not from etcd, but from something in between
        failure: KillswitchError | None = http_refusal(response)
        if not isinstance(failure, AccessDenied):
            failure = wire.refusal(response.status_code, response.content)
        # what stands in between and says 4xx has not passed it on
        in_between = 400 <= response.status_code < 500 and response.status_code not in {408, 499}
        return _EtcdRefusal(failure, code=3 if in_between else None, message=str(failure))
    failure = wire.error_of(dict(described), f"HTTP {response.status_code}")
    if "database space exceeded" in message:
        failure = Unavailable(f"etcd: {message}; compact and defragment it, then `etcdctl alarm disarm`")
    return _EtcdRefusal(failure, code=code, message=message)


class _Token:
    """The credentials of the session: etcd's token, once there is one."""

    def __init__(self) -> None:
        self.value: str | None = None

    def headers(self) -> dict[str, str]:
        return {} if self.value is None else {"Authorization": self.value}


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
        assert endpoints, "StoreUrl.parse gives at least one"
        self._token = _Token()
        self._session = BoundedSession(timeout=timeout, max_body=_MAX_BODY, tls=tls, credentials=self._token)
        self._members = [
            _Member(
                host=endpoint.host,
                port=endpoint.port,
                protocol="https" if use_tls else "http",
                api_path="/v3/",
                session=self._session,
            )
            for endpoint in endpoints
        ]
        self._preferred = 0  # the member that answered last; a race between threads does no harm
        self._user = user
        self._password = password
        self._login_lock = threading.Lock()
        self._timeout = timeout
        self._clock = clock

    # --- Store

    def get(self, key: str) -> Item | None:
        def ask(member: _Member) -> Item | None:
            items, _, _ = _range(member, {"key": wire.key64(key)})
            if len(items) > 1 or any(item.key != key for item in items):
                raise BadDocument(f"etcd: other keys in the answer about {key!r}")
            return items[0] if items else None

        return self._run_or_raise(ask, _Repeat.FREELY)

    def list(self, prefix: str) -> Snapshot:
        deadline = Deadline(self._timeout)
        while True:
            try:
                return self._list(prefix, deadline)
            except _EtcdRefusal as refused:
                # compacted, or restored from a backup, between two pages: begin again
                if deadline.expired or not any(words in refused.message for words in _REVISION_GONE):
                    raise refused.failure from refused

    def commit(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> Committed | Lost:
        """As `Store.commit`; also Lost when a lease named in ``writes`` has ended. Raises Refused if too large."""
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

        def ask(member: _Member) -> Committed | Lost:
            document = member.transaction(transaction)
            revision = wire.revision_of(document)
            succeeded = document.get("succeeded", False)
            if not isinstance(succeeded, bool):
                raise BadDocument("etcd: `succeeded` is no boolean")
            return Committed(revision) if succeeded else Lost()

        try:
            return self._run(ask, _Repeat.NEVER)
        except _EtcdRefusal as refused:
            if refused.code == _NOT_FOUND and "lease not found" in refused.message:
                return Lost()
            raise refused.failure from refused

    def grant(self, ttl: float) -> Lease:
        """Raises OutcomeUnknown when a lease may have been made; nobody holds it, and it ends by itself."""

        def ask(member: _Member) -> Lease:
            before = self._clock()
            document = member.post(member.get_url("/lease/grant"), json={"TTL": str(math.ceil(ttl))})
            return _lease(document, before)

        return self._run_or_raise(ask, _Repeat.IDEMPOTENT)

    def keep_alive(self, lease: Lease) -> Lease | None:
        def ask(member: _Member) -> Lease | None:
            before = self._clock()
            document = member.post(member.get_url("/lease/keepalive"), json={"ID": str(lease.id)})
            result = wire.member(document, "result")
            if wire.integer(result, "ID") != lease.id:
                raise BadDocument("etcd: a keep-alive of another lease")
            return _lease(result, before) if wire.integer(result, "TTL") > 0 else None

        return self._run_or_raise(ask, _Repeat.FREELY)

    def revoke(self, lease: Lease) -> None:
        """End the lease and delete its keys; nothing when it had ended."""

        def ask(member: _Member) -> None:
            member.post(member.get_url("/lease/revoke"), json={"ID": str(lease.id)})

        try:
            self._run(ask, _Repeat.IDEMPOTENT)
        except _EtcdRefusal as refused:
            if refused.code != _NOT_FOUND:
                raise refused.failure from refused

    def close(self) -> None:
        self._session.close()

    # --- how

    def _list(self, prefix: str, deadline: Deadline) -> Snapshot:
        start, end = prefix.encode() or b"\0", _after(prefix.encode())
        items: list[Item] = []
        revision = 0  # of the first page; all others are read at the same

        while True:
            question = {
                "key": _base64(start),
                "range_end": _base64(end),
                "limit": str(_PAGE),
                "revision": str(revision),
            }
            page, more, at = self._run(lambda member: _range(member, question), _Repeat.FREELY, deadline)  # noqa: B023  called at once
            if any(not item.key.startswith(prefix) for item in page):
                raise Unavailable(f"etcd: other keys in the answer about {prefix!r}")
            items += page
            revision = revision or at
            if not more or not page:
                return Snapshot(tuple(items), revision)
            start = page[-1].key.encode() + b"\0"

    def _run_or_raise(self, ask: Callable[[_Member], _T], repeat: _Repeat) -> _T:
        try:
            return self._run(ask, repeat)
        except _EtcdRefusal as refused:
            raise refused.failure from refused

    def _run(self, ask: Callable[[_Member], _T], repeat: _Repeat, deadline: Deadline | None = None) -> _T:
        """Ask the members in turn, the one that answered last first.

        Raises `_EtcdRefusal` for an error of etcd's that no other member would change, else Unavailable,
        AccessDenied (if every member refuses us), or OutcomeUnknown.
        """
        deadline = deadline or Deadline(self._timeout)
        failures: list[KillswitchError] = []
        heard = False
        for number, share in self._turns(deadline):
            member = self._members[number]
            try:
                with self._session.deadline(Deadline(share)):
                    answer = self._ask(member, ask)
            except _EtcdRefusal as refused:
                if refused.code in _NOT_DONE and not isinstance(refused.failure, wire.LoginNeeded):
                    raise
                failure, heard_now = refused.failure, refused.done
            except (NoAnswer, KillswitchError) as error:
                failure, heard_now = _failure(error)
            else:
                self._preferred = number
                return answer
            self._preferred = (number + 1) % len(self._members)
            failures.append(failure)
            heard = heard or heard_now
            if heard_now and repeat is _Repeat.NEVER:
                break
        raise _verdict(failures, outcome_unknown=heard and repeat is not _Repeat.FREELY)

    def _turns(self, deadline: Deadline) -> Iterator[tuple[int, float]]:
        """Each member's number once, with the seconds it may take."""
        count = len(self._members)
        first = self._preferred
        for turn in range(count):
            left = deadline.remaining()
            if left <= 0:
                return
            yield (first + turn) % count, left if turn == count - 1 else left / 2

    def _ask(self, member: _Member, ask: Callable[[_Member], _T]) -> _T:
        """Ask, and once more after a login where etcd wants one: what it refuses so, it has not done."""
        token = self._token.value
        try:
            return ask(member)
        except _EtcdRefusal as refused:
            if not isinstance(refused.failure, wire.LoginNeeded) or self._user is None:
                raise
        self._log_in(member, token)
        return ask(member)

    def _log_in(self, member: _Member, stale: str | None) -> None:
        """A fresh token; no failure here means that the question itself was heard.

        Raises Unavailable or AccessDenied.
        """
        # threads that meet the same stale token log in once
        if not self._login_lock.acquire(timeout=self._timeout):
            raise Unavailable("etcd: another thread's login takes too long")
        try:
            if self._token.value == stale:
                self._token.value = None
                self._token.value = self._new_token(member)
        except NoAnswer as error:
            raise error.failure from error
        except BadDocument as error:
            raise Unavailable(str(error)) from error
        except _EtcdRefusal as refused:
            if not isinstance(refused.failure, wire.AuthNotEnabled):
                raise refused.failure from refused
        finally:
            self._login_lock.release()

    def _new_token(self, member: _Member) -> str:
        assert self._password is not None
        question = {"name": self._user, "password": self._password.reveal()}
        token = member.post(member.get_url("/auth/authenticate"), json=question).get("token")
        if not isinstance(token, str) or not token.isprintable() or not token.isascii() or not 0 < len(token) <= 4096:
            raise BadDocument("etcd: a login without a token")
        return token


def _verdict(failures: Sequence[KillswitchError], *, outcome_unknown: bool) -> KillswitchError:
    said = "; ".join(dict.fromkeys(str(failure) for failure in failures)) or "no time left to ask"
    if outcome_unknown:
        return OutcomeUnknown(f"flag store: {said}; the change may have been made, or may be yet: read again")
    if failures and all(isinstance(failure, Refused) for failure in failures):
        return AccessDenied(f"flag store: {said}")
    return Unavailable(f"flag store: {said}")


def _failure(error: NoAnswer | KillswitchError) -> tuple[KillswitchError, bool]:
    """What to tell, and whether the member may have heard the question."""
    if isinstance(error, NoAnswer):
        return error.failure, error.sent
    if isinstance(error, BadDocument):  # garbage is the server's failure, not the caller's mistake
        return Unavailable(str(error)), True
    return error, False


def _range(member: _Member, question: Mapping[str, Any]) -> tuple[list[Item], bool, int]:
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
        raise BadDocument("etcd: a lease without a TTL or an ID")
    return Lease(number, float(ttl), before + ttl)


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _after(prefix: bytes) -> bytes:
    """The first key behind all that begin with ``prefix``; UTF-8 has no 0xff, so its last byte can grow."""
    return prefix[:-1] + bytes([prefix[-1] + 1]) if prefix else b"\0"
