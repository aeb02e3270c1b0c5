"""The bounded session, and its adapter, which sends one request and reads its whole answer."""

from __future__ import annotations

import io
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final, Protocol
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError
from urllib3.poolmanager import PoolManager

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, Unavailable
from killswitch.net.bounded_http.failures import NoAnswer, no_answer, origin_of
from killswitch.net.bounded_http.sockets import POOLS, BodyTooLargeError, BoundedTLSSocket, Call, current_call, serving
from killswitch.net.credentials import TLS, RotatingContext, without

DEFAULT_TIMEOUT: Final = 10.0  # seconds
DEFAULT_MAX_BODY: Final = 8 * 1024 * 1024  # bytes
_CHUNK: Final = 64 * 1024
_MAX_REDIRECTS: Final = 3


class Credentials(Protocol):
    """Gives the headers for one request; `killswitch.net.credentials.HttpCredentials` is one."""

    def headers(self) -> Mapping[str, str]: ...

    def secrets(self) -> Sequence[str]:
        """The secrets in these headers, which no message may repeat."""
        ...


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
        verify: Any,  # noqa: ARG002  no library may switch it off
        cert: Any = None,  # noqa: ARG002
    ) -> tuple[Any, Any]:
        host: Mapping[str, Any]
        host, _ = super().build_connection_pool_key_attributes(request, verify=True, cert=None)
        if host["scheme"] != "https":
            return host, {}
        context = self._tls.current()
        if context is not self._context:
            # connections made with the old files are not used again
            context.sslsocket_class = BoundedTLSSocket
            self._context = context
            self.poolmanager.clear()
        return host, {"ssl_context": context}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Nothing: the context verifies, and what the base class does would add public authorities to it."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        call = current_call()
        assert call is not None, "a bounded adapter is used by its session alone"
        target = origin_of(request.url or "")
        try:
            kwargs["timeout"] = None  # the sockets know the deadline
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
        except BodyTooLargeError:
            raise self._too_large(target) from None
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            raise no_answer(error, target, call) from error
        # as `Response.content` does after it has read everything
        if response.status_code != requests.codes.ok:
            # an answer with data is not changed: a password can be a word that also occurs in labels
            body = without(body, call.secrets)
            response.reason = without((response.reason or "").encode(), call.secrets).decode()
        for name, value in response.headers.items():
            response.headers[name] = without(value.encode(), call.secrets).decode()
        response._content = body  # noqa: SLF001
        response._content_consumed = True  # type: ignore[attr-defined]  # noqa: SLF001
        response.raw = io.BytesIO(body)
        return response

    def _read(self, response: requests.Response) -> bytes:
        target = origin_of(response.url)
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
            call = current_call()
            if call is not None:
                call.remaining()  # decompression is bounded in time, too
        return b"".join(parts)

    def _too_large(self, target: str) -> NoAnswer:
        return NoAnswer(
            Unavailable(f"{target} answered with more than {self._max_body / 1048576:g} MiB; the rest was not read"),
            sent=True,
        )


def _use_bounded_pools(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = dict(POOLS)


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
        """In the block, every call of this thread ends at ``deadline``.

        ``connect_within`` limits, in seconds, the time until a connection is made, so that another
        server can be tried while there is time.
        """
        before = getattr(self._limits, "now", None)
        self._limits.now = (deadline, connect_within)
        try:
            yield
        finally:
            self._limits.now = before

    def showable(self, body: bytes) -> bytes:
        """The answer without the secrets that were sent, for messages. Raises AccessDenied (see `Secret`)."""
        return body if self._credentials is None else without(body, self._credentials.secrets())

    def get_adapter(self, url: str | bytes) -> HTTPAdapter:
        """Keeps our own adapter: prometheus-api-client would mount one with retries."""
        scheme = urlsplit(url if isinstance(url, str) else url.decode()).scheme
        if scheme not in {"http", "https"}:
            raise requests.exceptions.InvalidSchema(f"only http and https, not {scheme!r}")
        return self._adapter

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """The next URL, on the same origin. Raises NoAnswer for another origin, which must not get our secrets."""
        target = super().get_redirect_target(resp)
        if target is None:
            return None
        here, there = origin_of(resp.url), origin_of(urljoin(resp.url, target))
        if here != there:
            raise NoAnswer(
                AccessDenied(f"{here} redirects to {there}; put the final address into the settings"), sent=True
            )
        return str(target)

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        if current_call() is not None:  # a redirect, within the same call
            return super().send(request, **kwargs)
        call = self._new_call(kwargs.pop("timeout", None))
        try:
            if self._credentials is not None:
                request.headers.update(self._credentials.headers())
                call.secrets = tuple(self._credentials.secrets())
            with serving(call):
                return super().send(request, **kwargs)
        except NoAnswer:
            raise
        except AccessDenied as error:
            raise NoAnswer(error, sent=False) from error
        except (requests.RequestException, ValueError) as error:
            # redirects in a circle or to what is no URL
            where = origin_of(request.url or "")
            raise NoAnswer(
                Unavailable(f"{where} cannot be followed ({type(error).__name__}); check the address"), sent=call.sent
            ) from error

    def _new_call(self, timeout: Any) -> Call:
        seconds = self._default_timeout
        if isinstance(timeout, tuple):
            timeout = sum(part for part in timeout if part is not None) or None
        if timeout is not None:
            seconds = min(seconds, float(timeout))
        limits: tuple[Deadline, float | None] | None = getattr(self._limits, "now", None)
        if limits is None:
            return Call(Deadline(seconds), None, self._max_body)
        outer, connect_within = limits
        return Call(Deadline(min(seconds, outer.remaining())), connect_within, self._max_body)

    def close(self) -> None:
        super().close()
        self._adapter.close()
