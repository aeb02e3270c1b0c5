"""The socket to Slack: slack-sdk's own Socket Mode client, with our address, our back-off and our bounds.

slack-sdk opens the WebSocket, reads frames, answers pings and notices a silent connection. It would also ask for a new
address itself: without a total deadline, asleep for as long as Slack says, and again every few seconds however often
that fails. And it would speak in the clear to any port but 443. So the address is asked for and checked here, by one
thread that waits longer after each failure. A new connection is made before the old one is closed.

Every replica has a socket; Slack gives each envelope to one of them. An envelope that cannot be taken is not
acknowledged: Slack then shows the person that it failed, and nothing was done.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from slack_sdk.errors import SlackClientError
from slack_sdk.socket_mode.builtin import SocketModeClient
from slack_sdk.socket_mode.client import BaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.web import WebClient

from killswitch.deadline import Deadline
from killswitch.errors import KillswitchError, Refused, Unavailable
from killswitch.interaction.desk import FrontDesk
from killswitch.interaction.slack_api import SlackApi
from killswitch.net.credentials import TLS, Secret

_log = logging.getLogger(__name__)
OPEN_WITHIN = 10.0  # seconds, to be given an address
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0
MAX_ENVELOPE = 256 * 1024  # characters
MAX_WAITING = 100
MAX_SEEN = 1000
PING_EVERY = 10.0  # a connection that answers none of four is closed
_LOOK_EVERY = 0.5
_HOSTS = (".slack.com", ".slack-gov.com")


def checked_address(url: object, base_url: str) -> str:
    """The WebSocket's address, if it is encrypted and Slack's own. Raises Refused for any other.

    With a `base_url` that is not Slack's (a test, a proxy) its host may have the socket too, in the clear if it is
    reached so itself.
    """
    base = urlsplit(base_url)
    try:
        there = urlsplit(url if isinstance(url, str) else "")
        port = there.port
    except ValueError:
        raise Refused("Slack gave an address for its socket that cannot be read") from None
    host = there.hostname or ""
    if there.scheme == "wss" and port in (None, 443) and (host.endswith(_HOSTS) or host == base.hostname):
        return str(url)
    if there.scheme == "ws" and base.scheme == "http" and host == base.hostname:
        return str(url)
    raise Refused(
        f"Slack gave an address for its socket that is not used: {there.scheme}://{host}; check slack_base_url"
    )


class SlackSocket:
    """One replica's connection. ``app_token`` is the app-level token (``xapp-…``). `start` returns at once.

    ``connected`` is called with whether there is a connection, when that changes.
    """

    def __init__(
        self,
        api: SlackApi,
        app_token: Secret,
        desk: FrontDesk,
        *,
        base_url: str,
        connected: Callable[[bool], None],
        chance: random.Random | None = None,
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        self._api = api
        self._app_token = app_token
        self._desk = desk
        self._base_url = base_url
        self._connected = connected
        self._chance = chance or random.Random()  # noqa: S311  spreads replicas, guards nothing
        self._first_pause = first_pause
        self._stopping = threading.Event()
        self._was_connected: bool | None = None
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()
        self._client: _Client | None = None
        self._thread = threading.Thread(target=self._keep, name="slack-socket", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Have the connection closed by the thread that opens it. Never waits."""
        self._stopping.set()

    @property
    def is_connected(self) -> bool:
        return self._client is not None and bool(self._client.is_connected())

    # --- staying connected ----------------------------------------------------------------------

    def _keep(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            client = self._client
            due = client is None or client.wants_another.is_set() or not client.is_connected()
            self._say(self.is_connected)
            pause = _LOOK_EVERY
            if due:
                wish = self._connect()
                failures = 0 if wish is None else failures + 1
                if wish is not None:
                    grown = min(self._first_pause * 2.0 ** min(failures - 1, 10), LONGEST_PAUSE)
                    pause = max(grown * self._chance.uniform(0.5, 1.0), min(wish, LONGEST_PAUSE))
            self._say(self.is_connected)
            self._stopping.wait(pause)
        self._say(connected=False)
        if self._client is not None:
            self._client.close()

    def _connect(self) -> float | None:
        """None where it is connected now, else the seconds that Slack asks us to wait (0 where it says nothing)."""
        try:
            if self._client is None:
                self._client = self._new_client()
            self._client.connect_anew()
        except Unavailable as error:
            _log.warning("Slack's socket is not there: %s", error)
            return error.retry_after or 0.0
        except KillswitchError as error:
            _log.error("Slack's socket cannot be opened: %s", error)
            return 0.0
        except Exception as error:  # noqa: BLE001  slack-sdk raises whatever the socket does
            _log.warning("Slack's socket is not there: %s", type(error).__name__)
            return 0.0
        if not self._client.is_connected():
            _log.warning("Slack's socket did not open")
            return 0.0
        _log.info("connected to Slack's socket")
        return None

    def _new_client(self) -> _Client:
        client = _Client(self._address, TLS())
        client.socket_mode_request_listeners.append(self._received)
        return client

    def _address(self) -> str:
        answer = self._api.call("apps.connections.open", self._app_token, Deadline(OPEN_WITHIN))
        return checked_address(answer.get("url"), self._base_url)

    def _say(self, connected: bool) -> None:  # noqa: FBT001  private
        if connected is not self._was_connected:
            self._was_connected = connected
            self._connected(connected)

    # --- envelopes ------------------------------------------------------------------------------

    def _received(self, client: BaseSocketModeClient, request: SocketModeRequest) -> None:
        """Acknowledge an envelope, once the desk has it. One that was here before is only acknowledged."""
        if request.type not in ("interactive", "slash_commands"):
            self._acknowledge(client, request.envelope_id, None)
            return
        if not self._is_new(request.envelope_id):
            self._acknowledge(client, request.envelope_id, None)
            return
        taken = (self._desk.interaction if request.type == "interactive" else self._desk.command)(request.payload)
        if taken is not None:
            payload = taken.payload if request.accepts_response_payload else None
            self._acknowledge(client, request.envelope_id, None if payload is None else dict(payload))

    def _is_new(self, envelope: str) -> bool:
        with self._lock:
            if envelope in self._seen:
                return False
            self._seen[envelope] = None
            if len(self._seen) > MAX_SEEN:
                self._seen.popitem(last=False)
            return True

    @staticmethod
    def _acknowledge(client: BaseSocketModeClient, envelope: str, payload: dict[str, Any] | None) -> None:
        try:
            client.send_socket_mode_response(SocketModeResponse(envelope, payload))
        except (SlackClientError, OSError, AttributeError) as error:  # AttributeError: there is no session any more
            _log.warning("an acknowledgement did not reach Slack: %s", type(error).__name__)


class _EndingSocket:
    """A socket whose end is an error: slack-sdk takes an empty read for no news, and would read on without a pause."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def recv(self, size: int) -> bytes:
        received: bytes = self._sock.recv(size)
        if not received:
            raise ConnectionResetError("Slack has closed the connection")
        return received

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class _Client(SocketModeClient):
    """slack-sdk's client, which asks us for its address, and asks to be connected again instead of doing so."""

    def __init__(self, address: Callable[[], str], tls: TLS) -> None:
        quiet = logging.getLogger("killswitch.interaction.socket_mode.sdk")
        quiet.setLevel(logging.CRITICAL)  # it logs addresses with their tickets, and what people have typed
        self._ask_address = address
        self.wants_another = threading.Event()
        super().__init__(
            app_token="",  # the address is asked for by `SlackSocket`, which reads the token again each time
            logger=quiet,
            web_client=WebClient(ssl=tls.context(), logger=quiet),
            auto_reconnect_enabled=False,
            ping_interval=PING_EVERY,
            receive_buffer_size=64 * 1024,
            concurrency=2,
        )
        self.proxy = None  # as everywhere here, none from the environment

    def connect_anew(self) -> None:
        """Open another connection, then close the one that there was."""
        self.wants_another.clear()
        with self.connect_operation_lock:
            self.wss_uri = self._ask_address()
            self.connect()
            session = self.current_session
            if session is not None and session.sock is not None:
                session.sock = _EndingSocket(session.sock)  # type: ignore[assignment]  # used as a socket

    def connect_to_new_endpoint(self, force: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002  as slack-sdk has it
        """Slack wants the connection replaced (`disconnect`), or slack-sdk has lost it."""
        self.wants_another.set()

    def enqueue_message(self, message: str) -> None:
        if len(message) > MAX_ENVELOPE or self.message_queue.qsize() >= MAX_WAITING:
            _log.error("Slack sent more than is taken; it was left unacknowledged")
            return
        super().enqueue_message(message)
