"""A real mail server (aiosmtpd) for tests: STARTTLS or TLS, a login, refusals, and answers that are lost."""

from __future__ import annotations

import ssl
import threading
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

USER, PASSWORD = "killswitch", "correct horse battery"


class MailDouble:
    """``encryption``: ``none``, ``starttls`` (demanded) or ``tls``, with the server's ``context``.

    ``refuse``: by recipient, the answer to RCPT. ``on_data``: the answer to a message. ``hang``: DATA is not answered
    until `release`. ``lose``: the message is taken and the connection is cut.
    """

    def __init__(self, *, encryption: str = "none", context: ssl.SSLContext | None = None, login: bool = False) -> None:
        self.mails: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.refuse: dict[str, str] = {}
        self.on_data = "250 OK"
        self.lose = False
        self._released = threading.Event()
        self._released.set()
        options: dict[str, Any] = {"hostname": "127.0.0.1", "port": 0, "ready_timeout": 10}
        if login:
            options |= {"authenticator": self._authenticate, "auth_required": True, "auth_require_tls": True}
        if encryption == "tls":
            options |= {"ssl_context": context, "auth_require_tls": False}
        elif encryption == "starttls":
            options |= {"tls_context": context, "require_starttls": True}
        self._controller = _Controller(self, **options)

    @property
    def port(self) -> int:
        return self._controller.port

    def hang(self) -> None:
        self._released.clear()

    def release(self) -> None:
        self._released.set()

    @staticmethod
    def _authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        right = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        return AuthResult(success=right, handled=right)

    async def handle_RCPT(  # noqa: N802  aiosmtpd's name
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> str:
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        await server.loop.run_in_executor(None, self._released.wait, 30)
        if self.on_data.startswith("2"):
            content = envelope.content
            assert isinstance(content, bytes)
            mail = message_from_bytes(content, policy=default)
            assert isinstance(mail, EmailMessage)
            self.mails.append(mail)
            self.recipients.append(list(envelope.rcpt_tos))
        if self.lose:
            assert server.transport is not None
            server.transport.abort()  # type: ignore[attr-defined]  # a transport of a socket
        return self.on_data

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._controller.stop()


class _Controller(Controller):
    """On a free port that the system chooses."""

    def _trigger_server(self) -> None:
        assert self.server is not None
        self.port = self.server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]  # asyncio's own server
        super()._trigger_server()  # type: ignore[no-untyped-call]  # aiosmtpd's
