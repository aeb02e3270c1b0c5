"""The members of an etcd cluster, asked in turn through `etcd3gw`: failover, logins, and what a failure means.

Surprises of the gateway and of the library, and what is done about each:

- A request that timed out may still be applied. So a change is never sent to a second member once the
  first may have received it (`Repeat.NEVER`). If surely nothing was received or applied (no connection,
  "no leader", an expired token), the next member is asked.
- `etcd3gw` sorts failures by HTTP status and drops what etcd said; `Member.post` reads the answer
  itself. It asks ``/version`` before its first call; here the path is given.
- The gateway takes its token in ``Authorization`` without ``Bearer``. The token expires, and a member
  that restarts forgets it.
- "database space exceeded" can come after the change was applied (etcd's quota is checked again when
  it applies), so it does not prove that nothing was done.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Any, Final, TypeVar

from etcd3gw.client import Etcd3Client

from killswitch.deadline import Deadline
from killswitch.errors import (
    AccessDenied,
    BadDocument,
    BadTransaction,
    KillswitchError,
    OutcomeUnknown,
    Refused,
    Unavailable,
)
from killswitch.net.bounded_http import BoundedSession, NoAnswer
from killswitch.net.bounded_http import refusal as http_refusal
from killswitch.net.credentials import TLS, Secret, known
from killswitch.stores import ToldTime
from killswitch.stores.etcd import wire
from killswitch.stores.url import Endpoint

# a list page of full-sized documents in base64 is smaller
_MAX_BODY: Final = 16 * 1024 * 1024
_MAX_TOKEN: Final = 4096
_CONTENT_TOO_LARGE: Final = 413
_T = TypeVar("_T")

# gRPC's codes, as the gateway passes them on
NOT_FOUND: Final = 5
# with these codes etcd has refused the request and applied nothing
_NOT_DONE: Final = frozenset({3, NOT_FOUND, 7, 8, 9, 11, 16})
# these texts say the same, under codes that may also mean that it was applied
_NOT_DONE_WORDS: Final = ("etcdserver: no leader", "raft proposal dropped", "etcdserver: too many requests")
_NO_SPACE: Final = "database space exceeded"


class Repeat(Enum):
    """Whether a request may be repeated when an endpoint gave no answer."""

    FREELY = auto()  # it reads
    IDEMPOTENT = auto()  # it changes something; doing it twice has the same effect
    NEVER = auto()


class EtcdRefusal(Exception):
    """etcd answered, and its answer is an error."""

    def __init__(self, failure: KillswitchError, *, code: int | None, message: str) -> None:
        self.failure = failure
        self.code = code
        self.message = message
        super().__init__(message)

    @property
    def done(self) -> bool:
        """Whether the request may have been applied in spite of the error."""
        if _NO_SPACE in self.message:
            return True
        return self.code not in _NOT_DONE and not any(words in self.message for words in _NOT_DONE_WORDS)

    @property
    def final(self) -> bool:
        """Whether every member would refuse in the same way."""
        return self.code in _NOT_DONE and not self.done and not isinstance(self.failure, wire.LoginNeeded)


class Member(Etcd3Client):  # type: ignore[misc]  # etcd3gw is typed in part only; see pyproject.toml
    """etcd3gw's client for one endpoint; every call of the library's passes through `post`.

    ``date``: the header of the newest answer, and when it was asked for, in monotonic seconds.
    """

    date: tuple[str, float] | None = None

    def post(self, url: str, *args: Any, json: Any = None, **kwargs: Any) -> dict[str, Any]:
        """The answer's document. Raises NoAnswer, `EtcdRefusal`, or BadDocument for garbage."""
        asked_at = time.monotonic()
        response = self.session.post(url, *args, json=json, **kwargs)
        said = response.headers.get("Date")
        self.date = None if said is None else (said, asked_at)
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


def _refusal(response: Any, document: Mapping[str, Any]) -> EtcdRefusal:
    # within a stream (keep-alive) the error is an object of its own
    error = document.get("error")
    described = error if isinstance(error, dict) else document
    said = described.get("grpc_code", described.get("code"))
    code = said if isinstance(said, int) else None
    message = str(described.get("message") or described.get("error") or "")
    if code is None or not message:  # not from etcd but from a proxy before it
        failure: KillswitchError | None = http_refusal(response)
        if not isinstance(failure, AccessDenied):
            failure = wire.refusal(response.status_code, response.content)
        if response.status_code == _CONTENT_TOO_LARGE:
            failure = BadTransaction("a proxy before etcd refuses a request because of its size; let it pass 2 MiB")
        # a proxy that answers 4xx has not passed the request on
        in_between = 400 <= response.status_code < 500 and response.status_code not in {408, 499}
        return EtcdRefusal(failure, code=3 if in_between else None, message=str(failure))
    failure = wire.error_of(dict(described), f"HTTP {response.status_code}")
    if _NO_SPACE in message:
        failure = Unavailable(f"etcd: {message}; compact and defragment it, then `etcdctl alarm disarm`")
    return EtcdRefusal(failure, code=code, message=message)


class _Token:
    """The credentials of the session: etcd's token, once there is one."""

    def __init__(self, password: Secret | None) -> None:
        self.value: str | None = None
        self._password = password

    def headers(self) -> dict[str, str]:
        return {} if self.value is None else {"Authorization": self.value}

    def secrets(self) -> tuple[str, ...]:
        return known(self.value, self._password)


class Members:
    """The members, asked in turn by `ask`. Safe from any thread, not across a fork."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        *,
        use_tls: bool,
        tls: TLS | None,
        user: str | None,
        password: Secret | None,
        timeout: float,
    ) -> None:
        assert endpoints, "StoreUrl.parse gives at least one"
        self._token = _Token(password)
        self._session = BoundedSession(timeout=timeout, max_body=_MAX_BODY, tls=tls, credentials=self._token)
        self._members = [
            Member(
                host=endpoint.host,
                port=endpoint.port,
                protocol="https" if use_tls else "http",
                api_path="/v3/",
                session=self._session,
            )
            for endpoint in endpoints
        ]
        self._preferred = 0  # the member that answered last; races between threads are harmless
        self._user = user
        self._password = password
        self._login_lock = threading.Lock()
        self._timeout = timeout

    def close(self) -> None:
        self._session.close()

    def told_time(self) -> ToldTime | None:
        """What the member that answered last says of its clock."""
        date = self._members[self._preferred].date
        if date is None:
            return None
        try:
            shown = parsedate_to_datetime(date[0]).timestamp()
        except ValueError:
            return None
        return ToldTime(shown + 1.0, date[1])  # the header has whole seconds, rounded down

    def ask(self, ask: Callable[[Member], _T], repeat: Repeat, deadline: Deadline | None = None) -> _T:
        """Ask the members in turn, the one that answered last first.

        Raises `EtcdRefusal` for an error that every member would give, else Unavailable,
        AccessDenied (if every member refuses us), or OutcomeUnknown.
        """
        deadline = deadline or Deadline(self._timeout)
        failures: list[KillswitchError] = []
        heard = False
        for number, share in self._turns(deadline):
            member = self._members[number]
            turn = Deadline(share)
            try:
                with self._session.deadline(turn):
                    answer = self._ask(member, ask, turn)
            except EtcdRefusal as refused:
                if refused.final:
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
            if heard_now and repeat is Repeat.NEVER:
                break
        raise _verdict(failures, outcome_unknown=heard and repeat is not Repeat.FREELY)

    def _turns(self, deadline: Deadline) -> Iterator[tuple[int, float]]:
        """Each member's number once, with the seconds it may take."""
        count = len(self._members)
        first = self._preferred
        for turn in range(count):
            left = deadline.remaining()
            if left <= 0:
                return
            yield (first + turn) % count, left if turn == count - 1 else left / 2

    def _ask(self, member: Member, ask: Callable[[Member], _T], turn: Deadline) -> _T:
        """Ask; if etcd wants a login, log in and ask once more, since it applied nothing."""
        token = self._token.value
        try:
            return ask(member)
        except EtcdRefusal as refused:
            if not isinstance(refused.failure, wire.LoginNeeded) or self._user is None:
                raise
        self._log_in(member, token, turn)
        return ask(member)

    def _log_in(self, member: Member, stale: str | None, turn: Deadline) -> None:
        """Get a new token. A failure here never means that the request itself was received.

        Raises Unavailable or AccessDenied.
        """
        # of several threads with the same stale token, one logs in
        if not self._login_lock.acquire(timeout=turn.remaining()):
            raise Unavailable("etcd: the login of another thread takes too long")
        try:
            if self._token.value == stale:
                self._token.value = None
                self._token.value = self._new_token(member)
        except NoAnswer as error:
            raise error.failure from error
        except BadDocument as error:
            raise Unavailable(str(error)) from error
        except EtcdRefusal as refused:
            if not isinstance(refused.failure, wire.AuthNotEnabled):
                raise refused.failure from refused
        finally:
            self._login_lock.release()

    def _new_token(self, member: Member) -> str:
        assert self._password is not None
        question = {"name": self._user, "password": self._password.reveal()}
        token = member.post(member.get_url("/auth/authenticate"), json=question).get("token")
        if (
            not isinstance(token, str)
            or not token.isprintable()
            or not token.isascii()
            or not 0 < len(token) <= _MAX_TOKEN
        ):
            raise BadDocument("etcd: the answer to the login has no token")
        return token


def _verdict(failures: Sequence[KillswitchError], *, outcome_unknown: bool) -> KillswitchError:
    said = "; ".join(dict.fromkeys(str(failure) for failure in failures)) or "no time left"
    if outcome_unknown:
        return OutcomeUnknown(f"flag store: {said}; the change may have been made: read again, then decide")
    if failures and all(isinstance(failure, Refused) for failure in failures):
        return AccessDenied(f"flag store: {said}")
    return Unavailable(f"flag store: {said}")


def _failure(error: NoAnswer | KillswitchError) -> tuple[KillswitchError, bool]:
    """The error to report, and whether the member may have received the request."""
    if isinstance(error, NoAnswer):
        other_protocol = isinstance(error.failure, Unavailable) and "not in HTTP/1.1" in str(error)
        failure = Unavailable(f"{error}; {wire.NO_GATEWAY}") if other_protocol else error.failure
        return failure, error.sent
    if isinstance(error, BadDocument):  # an answer that is not understood is the server's failure, not the caller's
        return Unavailable(str(error)), True
    return error, False
