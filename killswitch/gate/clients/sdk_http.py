"""The HTTP under the providers' SDKs: our bounded session, so that each call has a total deadline and a largest answer.

The SDKs take a transport of `httpx` or `httpx2`, whichever they are built on. The key is put into the request here,
read again with each call: the SDK itself never has it.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from killswitch.errors import AccessDenied, BadSettings
from killswitch.gate.call_failures import CallFailure, FailedCall
from killswitch.gate.clients.refusals import failed_response
from killswitch.net.bounded_http import BoundedSession, find_no_answer
from killswitch.net.bounded_http.failures import NoAnswer
from killswitch.net.credentials import TLS, HttpCredentials, Secret
from killswitch.roles.config import RoleEndpoint
from killswitch.wording import plain

MAX_ANSWER: Final = 16 * 1024 * 1024  # bytes
PLACEHOLDER: Final = "the-key-is-put-into-the-request"
# headers of one connection, and those that would hold the placeholder instead of the key
_DROPPED: Final = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "accept-encoding", "authorization", "x-api-key"}
    | {"x-goog-api-key"}
)
_OF_THE_BODY: Final = frozenset({"content-encoding", "content-length", "transfer-encoding"})


def sdk(module: str, extra: str) -> Any:
    """The provider's SDK. Raises BadSettings with the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        fix = f"pip install '.[daemon,gate,{extra}]'"
        raise BadSettings([f"provider {extra} needs its SDK, which is not installed; in the clone: {fix}"]) from None


def key_of(endpoint: RoleEndpoint, *variables: str) -> Secret | None:
    """The key's place: the role's file, or the first of ``variables`` that is set. None where there is none.

    Raises BadSettings where the provider's own address needs one.
    """
    if endpoint.key_file is not None:
        return Secret.from_file(endpoint.key_file)
    found = next((name for name in variables if os.environ.get(name)), None)
    if found is None and endpoint.url is None:
        said = f"provider {endpoint.provider} needs an API key"
        raise BadSettings([f"{said}: write it into a file and name it with `key_file`, or set {variables[0]}"])
    return None if found is None else Secret.from_environment(found)


class SdkHttp:
    """What one client needs of HTTP: a client for its SDK, and its failures in our words.

    ``client``: the class of the SDK's own HTTP client. ``header``: where the key goes; "bearer" is an Authorization.
    ``timeout``: seconds of one call, in total.
    """

    def __init__(
        self, client: type[Any], endpoint: RoleEndpoint, key: Secret | None, header: str, timeout: float
    ) -> None:
        self._session = BoundedSession(
            timeout=timeout,
            max_body=MAX_ANSWER,
            credentials=_credentials(key, header),
            tls=TLS(ca_file=endpoint.ca_file),
            proxy=endpoint.proxy,
        )
        package = _package(client)
        # a redirect could lead the key to another server
        self.client = client(
            transport=_transport(package, self._send(package)), timeout=timeout, follow_redirects=False, trust_env=False
        )

    def _send(self, package: Any) -> Callable[[Any], Any]:
        def send(request: Any) -> Any:
            headers = {name: value for name, value in request.headers.items() if name.lower() not in _DROPPED}
            response = self._session.request(
                request.method, str(request.url), data=request.read(), headers=headers, allow_redirects=False
            )
            kept = [(name, value) for name, value in response.headers.items() if name.lower() not in _OF_THE_BODY]
            return package.Response(response.status_code, headers=kept, content=response.content)

        return send

    def failed(self, error: Exception, *, model: str, sent: Iterable[str]) -> FailedCall:
        """What an SDK's exception means."""
        lost = find_no_answer(error)
        if lost is not None:
            return _lost(lost)
        response = getattr(error, "response", None)
        status = getattr(response, "status_code", None)
        if response is not None and isinstance(status, int) and status >= 300:
            return answered(
                status, response.text, response.headers, url=str(response.request.url), model=model, sent=sent
            )
        said = f"what came for {plain(model, 80)} is no answer of this provider's API"
        return FailedCall(CallFailure.GARBAGE, f"{said}; is the role's `url` right?", billed=True)

    def close(self) -> None:
        self.client.close()
        self._session.close()


def answered(
    status: int, body: str, headers: Mapping[str, str], *, url: str, model: str, sent: Iterable[str]
) -> FailedCall:
    """A response of a status of 300 or more."""
    parts = urlsplit(url)
    where = f"{parts.hostname or ''}"
    if status < 400:
        said = f"{where} answered {status}, a redirect; put the final address into the role's `url`"
        return FailedCall(CallFailure.NO_ACCESS, said, billed=False)
    return failed_response(status, body, headers, model=model, sent=sent, where=where)


def _lost(lost: NoAnswer) -> FailedCall:
    """A call without a response. What was sent may have been answered, and paid for."""
    if isinstance(lost.failure, AccessDenied):
        return FailedCall(CallFailure.NO_ACCESS, str(lost), billed=lost.sent)
    if "more than" in str(lost):
        return FailedCall(CallFailure.GARBAGE, str(lost), billed=True)
    late = lost.sent and "in time" in str(lost)
    return FailedCall(CallFailure.TIMEOUT if late else CallFailure.TRANSIENT, str(lost), billed=lost.sent)


def _credentials(key: Secret | None, header: str) -> HttpCredentials | None:
    if key is None:
        return None
    return HttpCredentials(bearer=key) if header == "bearer" else HttpCredentials(extra={header: key})


def _package(client: type[Any]) -> Any:
    """`httpx` or `httpx2`: the newest releases of the SDKs are built on the second."""
    names = [base.__module__.partition(".")[0] for base in client.__mro__]
    name = next(name for name in names if name in {"httpx", "httpx2"})
    return importlib.import_module(name)


def _transport(package: Any, send: Callable[[Any], Any]) -> Any:
    def handle_request(_self: Any, request: Any) -> Any:
        return send(request)

    return type("BoundedTransport", (package.BaseTransport,), {"handle_request": handle_request})()
