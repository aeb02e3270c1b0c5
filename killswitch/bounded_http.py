"""An HTTP session that always comes back: bounded in time, in bytes, and in where it goes.

`BoundedSession` is a `requests.Session`, so that client libraries accept it. What it adds:

- one *total* deadline per call. `requests`' own timeout is per socket operation, so that a server that
  drips a byte now and then holds a caller for ever. Here every wait (name lookup, connect, TLS
  handshake, sending, headers, body, redirects) ends at the same point of the monotonic clock.
- a body cap, on the wire and after decompression.
- no retries, whatever adapter a library mounts; no redirect to another origin; no proxies, ``.netrc``
  or CA bundles from the environment (a proxy is an argument); no cookies.
- servers are always verified; TLS files and secrets are taken up again when they change.
- one error, `NoAnswer`, that knows whether the request had been sent, and says in a sentence why.

Every response is read in full before it is returned, under the deadline; ``stream=True`` gives the
same bytes from memory.
"""

from __future__ import annotations

import io
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from types import MappingProxyType
from typing import Any, Final, Protocol
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, NameResolutionError, NewConnectionError
from urllib3.poolmanager import PoolManager

from killswitch.credentials import TLS, RotatingContext
from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, KillswitchError, OutcomeUnknown, Refused, Unavailable

DEFAULT_TIMEOUT: Final = 10.0  # seconds
DEFAULT_MAX_BODY: Final = 8 * 1024 * 1024  # bytes
_CHUNK: Final = 64 * 1024
_MAX_REDIRECTS: Final = 3


class NoAnswer(requests.RequestException):
    """A call ended without a usable response.

    ``failure`` is what to raise outside (Unavailable, or AccessDenied where waiting will not help).
    ``sent`` says that bytes of the request may have reached the server; when false, surely nothing
    was changed there.
    """

    def __init__(self, failure: Unavailable | AccessDenied, *, sent: bool) -> None:
        self.failure = failure
        self.sent = sent
        super().__init__(str(failure))


class Credentials(Protocol):
    """Gives the headers for one request; `killswitch.credentials.HttpCredentials` is one."""

    def headers(self) -> Mapping[str, str]: ...


# --- one call: its deadline and what it has done so far ------------------------------------------


class _BodyTooLargeError(Exception):
    """More bytes came than the cap allows. Not an OSError: urllib3 must not take it for a lost line."""


class _Call:
    """What the sockets of one call need to know. A call lives in one thread."""

    def __init__(self, deadline: Deadline, connect_within: float | None, max_body: int) -> None:
        self.deadline = deadline
        self._connect_by = deadline if connect_within is None else Deadline(min(connect_within, deadline.remaining()))
        self.sent = False
        # framing and headers cost something beside the body; nothing honest needs twice as much
        self.bytes_left = 2 * max_body + 1024 * 1024

    def remaining(self) -> float:
        """Seconds left; raises TimeoutError rather than return 0, which sockets take for "do not wait"."""
        left = self.deadline.remaining()
        if left <= 0:
            raise TimeoutError("the call's deadline has passed")
        return left

    def remaining_to_connect(self) -> float:
        """The same for the time until a connection stands, TLS included."""
        left = min(self._connect_by.remaining(), self.remaining())
        if left <= 0:
            raise TimeoutError("no connection in the time set for it")
        return left

    def received(self, size: int) -> None:
        self.bytes_left -= size
        if self.bytes_left < 0:
            raise _BodyTooLargeError


_current = threading.local()


def _call() -> _Call | None:
    call: _Call | None = getattr(_current, "call", None)
    return call


class _BoundedSocket(socket.socket):
    """A TCP socket whose every wait is cut at the current call's deadline."""

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        call = _call()
        if call is None:
            return super().recv_into(*args, **kwargs)
        self.settimeout(call.remaining())
        size = super().recv_into(*args, **kwargs)
        call.received(size)
        return size

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        call = _call()
        if call is not None:
            self.settimeout(call.remaining())
        super().sendall(*args, **kwargs)


class _BoundedTLSSocket(ssl.SSLSocket):
    """The same over TLS; OpenSSL's own loop ends at the socket's timeout, counted in total."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002  signature of the base class
        call = _call()
        if call is not None:
            self.settimeout(call.remaining_to_connect())
        super().do_handshake(block)

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        call = _call()
        if call is None:
            return super().recv_into(*args, **kwargs)
        self.settimeout(call.remaining())
        size = super().recv_into(*args, **kwargs)
        call.received(size)
        return size

    def send(self, *args: Any, **kwargs: Any) -> int:
        call = _call()
        if call is not None:
            self.settimeout(call.remaining())
        return super().send(*args, **kwargs)


# --- name lookup and connect, bounded ------------------------------------------------------------

_Addresses = Sequence[tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]]


def _look_up(host: str, port: int, seconds: float) -> _Addresses:
    """`socket.getaddrinfo` with an end: the resolver knows no timeout, so it runs in a thread of its own."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (socket.gaierror, UnicodeError):
        pass  # a name, not a number
    answer: queue.SimpleQueue[_Addresses | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answer.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            answer.put(error)
        except UnicodeError as error:  # a label that is empty or too long
            answer.put(socket.gaierror(socket.EAI_NONAME, str(error)))

    threading.Thread(target=ask, name=f"look-up-{host}", daemon=True).start()
    try:
        found = answer.get(timeout=seconds)
    except queue.Empty:
        raise socket.gaierror(socket.EAI_AGAIN, f"no answer from the name server in {seconds:.1f} s") from None
    if isinstance(found, OSError):
        raise found
    return found


def _connect(host: str, port: int, call: _Call, socket_options: Any) -> socket.socket:
    """A connected socket; the addresses of a name are tried in turn and share the time there is."""
    addresses = _look_up(host, port, call.remaining_to_connect())
    last: OSError = TimeoutError("no time left to connect")
    for position, (family, kind, protocol, _, address) in enumerate(addresses):
        left = call.remaining_to_connect()
        sock = _BoundedSocket(family, kind, protocol)
        try:
            for option in socket_options or ():
                sock.setsockopt(*option)
            sock.settimeout(left / (len(addresses) - position))
            sock.connect(address)
        except OSError as error:
            sock.close()
            last = error
        else:
            return sock
    raise last


class _BoundedConnection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        call = _call()
        assert call is not None, "a bounded connection is used by its session alone"
        try:
            return _connect(self._dns_host, self.port, call, self.socket_options)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except OSError as error:
            raise NewConnectionError(self, str(error)) from error

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        call = _call()
        if call is not None:
            call.sent = True
        super().send(data)


class _BoundedTLSConnection(_BoundedConnection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _BoundedConnection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _BoundedTLSConnection


_POOLS: Final = MappingProxyType({"http": _Pool, "https": _TLSPool})


class _BoundedAdapter(HTTPAdapter):
    """Sends one request and reads its whole answer, within the current call."""

    def __init__(self, tls: TLS, max_body: int) -> None:
        self._tls = RotatingContext(tls)
        self._context: ssl.SSLContext | None = None
        self._max_body = max_body
        super().__init__(max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:  # noqa: FBT001, FBT002  signature of the base class
        super().init_poolmanager(connections, maxsize, block, **kwargs)
        _use_bounded_pools(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        _use_bounded_pools(manager)
        return manager

    def build_connection_pool_key_attributes(
        self,
        request: requests.PreparedRequest,
        verify: Any,  # noqa: ARG002  not for a library to switch off
        cert: Any = None,  # noqa: ARG002
    ) -> tuple[Any, Any]:
        host: Mapping[str, Any]
        host, _ = super().build_connection_pool_key_attributes(request, verify=True, cert=None)
        if host["scheme"] != "https":
            return host, {}
        context = self._tls.current()
        if context is not self._context:
            # connections made under the old files are not used again
            context.sslsocket_class = _BoundedTLSSocket
            self._context = context
            self.poolmanager.clear()
        return host, {"ssl_context": context}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Nothing: the context verifies, and what the base class does would add public authorities to it."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        call = _call()
        assert call is not None, "a bounded adapter is used by its session alone"
        target = _origin(request.url or "")
        try:
            kwargs["timeout"] = None  # the sockets know better
            kwargs["stream"] = True
            response = super().send(request, *args, **kwargs)
            try:
                body = self._read(response)
            finally:
                response.close()
        except NoAnswer:
            raise
        except AccessDenied as error:
            raise NoAnswer(error, sent=False) from error
        except _BodyTooLargeError:
            raise self._too_large(target) from None
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            raise _no_answer(error, target, call) from error
        # what `Response.content` itself does once it has read everything
        response._content = body  # noqa: SLF001
        response._content_consumed = True  # type: ignore[attr-defined]  # noqa: SLF001
        response.raw = io.BytesIO(body)
        return response

    def _read(self, response: requests.Response) -> bytes:
        target = _origin(response.url)
        announced = response.headers.get("Content-Length", "")
        if announced.isdecimal() and int(announced[:20]) > self._max_body:
            raise self._too_large(target)
        parts: list[bytes] = []
        size = 0
        for part in response.raw.stream(_CHUNK, decode_content=True):
            size += len(part)
            if size > self._max_body:
                raise self._too_large(target)
            parts.append(part)
            call = _call()
            if call is not None:
                call.remaining()  # decompression is bounded in time, too
        return b"".join(parts)

    def _too_large(self, target: str) -> NoAnswer:
        return NoAnswer(
            Unavailable(f"{target} answered with more than {self._max_body / 1048576:g} MiB; the rest was not read"),
            sent=True,
        )


def _use_bounded_pools(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = dict(_POOLS)


class BoundedSession(requests.Session):
    """See the module's docstring. May be used from several threads at once.

    ``timeout`` is the total per call in seconds, ``max_body`` in bytes. ``proxy`` is a URL for all
    requests (the environment's proxies are not used). A ``timeout=`` given per request is a total,
    too; the earliest of all deadlines counts.
    """

    def __init__(
        self,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        max_body: int = DEFAULT_MAX_BODY,
        credentials: Credentials | None = None,
        tls: TLS | None = None,
        proxy: str | None = None,
    ) -> None:
        super().__init__()
        self._adapter = _BoundedAdapter(tls or TLS(), max_body)
        self._credentials = credentials
        self._default_timeout = timeout
        self._max_body = max_body
        self._limits = threading.local()
        self.trust_env = False
        self.max_redirects = _MAX_REDIRECTS
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        if proxy is not None:
            self.proxies = {"http": proxy, "https": proxy}

    @contextmanager
    def deadline(self, deadline: Deadline, *, connect_within: float | None = None) -> Iterator[None]:
        """Within the block every call of this thread ends by ``deadline``.

        ``connect_within`` limits, in seconds, the time until a connection stands, so that another
        server can be tried while there is time.
        """
        before = getattr(self._limits, "now", None)
        self._limits.now = (deadline, connect_within)
        try:
            yield
        finally:
            self._limits.now = before

    def get_adapter(self, url: str | bytes) -> HTTPAdapter:
        """Always our own: prometheus-api-client mounts one with retries over whatever it is given."""
        scheme = urlsplit(url if isinstance(url, str) else url.decode()).scheme
        if scheme not in {"http", "https"}:
            raise requests.exceptions.InvalidSchema(f"only http and https, not {scheme!r}")
        return self._adapter

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """The next URL on the same origin. Raises NoAnswer for one elsewhere: our secrets stay here."""
        target = super().get_redirect_target(resp)
        if target is None:
            return None
        here, there = _origin(resp.url), _origin(urljoin(resp.url, target))
        if here != there:
            raise NoAnswer(
                AccessDenied(f"{here} redirects to {there}; put the final address into the settings"), sent=True
            )
        return str(target)

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        if _call() is not None:  # a redirect, within the same call
            return super().send(request, **kwargs)
        call = self._new_call(kwargs.pop("timeout", None))
        _current.call = call
        try:
            if self._credentials is not None:
                request.headers.update(self._credentials.headers())
            return super().send(request, **kwargs)
        except NoAnswer:
            raise
        except AccessDenied as error:
            raise NoAnswer(error, sent=False) from error
        except (requests.RequestException, ValueError) as error:
            # redirects in a circle or to what is no URL
            where = _origin(request.url or "")
            raise NoAnswer(
                Unavailable(f"{where} cannot be followed ({type(error).__name__}); check the address"), sent=call.sent
            ) from error
        finally:
            _current.call = None

    def _new_call(self, timeout: Any) -> _Call:
        seconds = self._default_timeout
        if isinstance(timeout, tuple):
            timeout = sum(part for part in timeout if part is not None) or None
        if timeout is not None:
            seconds = min(seconds, float(timeout))
        limits: tuple[Deadline, float | None] | None = getattr(self._limits, "now", None)
        if limits is None:
            return _Call(Deadline(seconds), None, self._max_body)
        outer, connect_within = limits
        return _Call(Deadline(min(seconds, outer.remaining())), connect_within, self._max_body)

    def close(self) -> None:
        super().close()
        self._adapter.close()


# --- what went wrong, in a sentence -------------------------------------------------------------

_CERTIFICATE: Final[Mapping[int, str]] = {
    9: "its certificate is not valid yet (check both clocks)",
    10: "its certificate has expired; renew it on the server",
    18: "its certificate is signed by itself; give its CA as the TLS CA file",
    19: "its certificate comes from a CA we do not trust; give that CA as the TLS CA file",
    20: "its certificate comes from a CA we do not trust; give that CA as the TLS CA file",
    21: "its certificate comes from a CA we do not trust; give that CA as the TLS CA file",
    62: "its certificate is for another name; use a name that stands in it",
    64: "its certificate is for another address; use a name or address that stands in it",
}


def _no_answer(error: BaseException, target: str, call: _Call) -> NoAnswer:
    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = _CERTIFICATE.get(cause.verify_code, cause.verify_message)
            return NoAnswer(AccessDenied(f"TLS with {target} failed: {why}"), sent=False)
        if isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or ""):
            # With TLS 1.3 the server's view of our certificate comes when the request is under way;
            # a server that says so has not looked at the request.
            alert = re.sub(r".*ALERT_", "", cause.reason or "").replace("_", " ").lower()
            return NoAnswer(
                AccessDenied(f"{target} refuses our TLS certificate or its absence ({alert}); see its TLS settings"),
                sent=False,
            )
        if isinstance(cause, ssl.SSLError) and cause.reason in {
            "WRONG_VERSION_NUMBER",
            "HTTP_REQUEST",
            "RECORD_LAYER_FAILURE",
        }:
            return NoAnswer(AccessDenied(f"{target} does not speak TLS; use http:// or turn TLS on there"), sent=False)
    return NoAnswer(Unavailable(f"{target} {_unavailable_because(chain, call)}"), sent=call.sent)


# (what happened, how to say it before the request was sent, and after)
_WHY: Final[tuple[tuple[type[OSError] | tuple[type[OSError], ...], str, str], ...]] = (
    (socket.gaierror, "cannot be found ({why}); check the name and DNS", "cannot be found ({why})"),
    (ConnectionRefusedError, "refuses the connection; is it running and is the port right?", "refuses the connection"),
    (TimeoutError, "cannot be reached in time (no connection could be made)", "did not answer in time"),
    (
        (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError),
        "cut the connection at once; does this port speak TLS if the URL says so?",
        "cut the connection",
    ),
)


def _unavailable_because(chain: list[BaseException], call: _Call) -> str:
    for cause in chain:
        for kinds, before, after in _WHY:
            if isinstance(cause, kinds):
                return (after if call.sent else before).format(why=getattr(cause, "strerror", None))
    if call.deadline.expired:
        return "did not answer in time"
    names = " / ".join(dict.fromkeys(type(cause).__name__ for cause in chain))
    return f"gave no usable HTTP answer ({names})" if call.sent else f"cannot be reached ({names})"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and everything beneath it; the libraries nest in ``__cause__``, ``reason`` and ``args``."""
    seen: set[int] = set()
    stack: list[object] = [error]
    while stack:
        item = stack.pop()
        if not isinstance(item, BaseException) or id(item) in seen:
            continue
        seen.add(id(item))
        yield item
        stack += [item.__context__, item.__cause__, getattr(item, "reason", None), *item.args]


def _origin(url: str) -> str:
    """``https://host:port``, for messages and comparisons: no path, no query, no user."""
    parts = urlsplit(url)
    try:
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        port = None
    host = parts.hostname or ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


# --- for adapters -------------------------------------------------------------------------------


@contextmanager
def killswitch_errors(*, change: bool = False) -> Iterator[None]:
    """Turns `NoAnswer`, from whatever depth of a client library, into the errors of `killswitch.errors`.

    With ``change`` a request that had been sent and got no answer raises OutcomeUnknown; else, and
    for anything surely not sent, Unavailable or AccessDenied.
    """
    try:
        yield
    except KillswitchError:
        raise
    except Exception as error:
        no_answer = find_no_answer(error)
        if no_answer is None and isinstance(error, (requests.JSONDecodeError, RecursionError)):
            no_answer = NoAnswer(Unavailable("the answer is not JSON; is the address right?"), sent=True)
        if no_answer is None:
            raise
        if change and no_answer.sent:
            raise OutcomeUnknown(f"{no_answer}; the change may have been made: read again") from error
        raise no_answer.failure from error


def find_no_answer(error: BaseException) -> NoAnswer | None:
    """The `NoAnswer` an error was made from, however a client library has wrapped it."""
    return next((cause for cause in _causes(error) if isinstance(cause, NoAnswer)), None)


def refusal(response: requests.Response) -> Unavailable | Refused | None:
    """What a status of 400 or more means for the caller, None for any other; a pure look at the status.

    401, 403 and 407 are AccessDenied; 408, 425, 429 and 5xx are Unavailable with ``retry_after``; the
    rest is Refused. The message holds the first 200 printable characters of the body.
    """
    status = response.status_code
    if status < requests.codes.bad_request:
        return None
    where = f"{_origin(response.url)}{urlsplit(response.url).path}"
    said = f"{where} answered {status} {excerpt(response.reason or '', 60)}: {excerpt(response.content)}"
    if status in {401, 403, 407}:
        return AccessDenied(f"{said}; check the credentials and what they permit")
    if status in {408, 425, 429} or status >= requests.codes.server_error:
        return Unavailable(said, retry_after=retry_after(response))
    return Refused(said)


def retry_after(response: requests.Response) -> float | None:
    """The wait in seconds that ``Retry-After`` asks for (a number or a date); None where it is absent or nonsense."""
    text = response.headers.get("Retry-After", "").strip()[:64]
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text, re.ASCII):
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def excerpt(text: str | bytes, length: int = 200) -> str:
    """The beginning of what a server said, fit for a log line."""
    if isinstance(text, bytes):
        text = text[: 4 * length].decode(errors="replace")
    flat = " ".join(text.split())
    shown = "".join(character if character.isprintable() else "?" for character in flat[:length])
    return shown + ("…" if len(flat) > length else "")
