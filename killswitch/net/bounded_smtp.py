"""Handing mail to a server: bounded in time and bytes, TLS always verified, and with a certain outcome.

`smtplib` speaks the protocol. Its timeout is per socket operation, so the sockets here are those of `BoundedSession`:
every wait ends at one deadline. Until the end of the message has been sent the server must not deliver anything (RFC
5321, 4.1.1.4), so any earlier failure is Unavailable, and a later one OutcomeUnknown.
"""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, KillswitchError, OutcomeUnknown, Refused, Unavailable
from killswitch.net.bounded_http.failures import excerpt, hiding, no_answer
from killswitch.net.bounded_http.sockets import BodyTooLargeError, BoundedTLSSocket, Call, connect, serving
from killswitch.net.credentials import TLS, RotatingContext
from killswitch.net.mail_server import MailServer

_MAX_ANSWERS = 64 * 1024  # bytes
_LOCAL = re.compile(r"[A-Za-z0-9.-]{1,253}\Z")
_ACCEPTED = frozenset({250, 251})
_SEND_MAIL_DATA = 354
_NEEDS_AUTHENTICATION = 530


class BoundedMail:
    """Hands messages to one server, a connection each. May be used from several threads."""

    def __init__(self, server: MailServer, tls: TLS | None = None) -> None:
        self._server = server
        self._context = RotatingContext(tls or TLS())

    def deliver(
        self, sender: str, recipients: Sequence[str], message: bytes, deadline: Deadline
    ) -> Mapping[str, tuple[int, str]]:
        """Hand over one message (lines end in CR LF). Returns the recipients that were refused, with code and words.

        Raises Unavailable, AccessDenied, Refused (of every recipient, or of the message), OutcomeUnknown.
        """
        with self._session(deadline) as client:
            self._demand(client.mail(sender), f"the sender {sender}")
            refused = {}
            for recipient in recipients:
                code, said = client.rcpt(recipient)
                if code not in _ACCEPTED:
                    refused[recipient] = (code, self._words(said))
            if len(refused) == len(recipients):
                raise self._problem(*next(iter(refused.values())), f"every recipient ({', '.join(recipients)})")
            self._demand(client.docmd("DATA"), "a message", wanted=_SEND_MAIL_DATA)
            client.handed_over = True
            client.send(re.sub(rb"(?m)^\.", b"..", message) + b".\r\n")
            reply = client.getreply()
            client.handed_over = False
            self._demand(reply, "the message")
            return refused

    def answers(self, deadline: Deadline) -> None:
        """Connect and log in. Sends nothing. Raises as `deliver`."""
        with self._session(deadline) as client:
            self._demand(client.noop(), "a greeting")

    @contextmanager
    def _session(self, deadline: Deadline) -> Iterator[_Client]:
        call = Call(deadline, None, _MAX_ANSWERS)
        client = _Client(self._server, self._context, call)
        try:
            with serving(call):
                try:
                    self._log_in(client)
                    yield client
                    with suppress(OSError, BodyTooLargeError, smtplib.SMTPException, ValueError):
                        client.quit()
                finally:
                    client.close()
        except KillswitchError:
            raise
        except (OSError, BodyTooLargeError, smtplib.SMTPException, ValueError) as error:
            raise self._failure(error, client, call) from None

    def _log_in(self, client: _Client) -> None:
        server = self._server
        self._demand(client.connect(server.host, server.port), "our connection", wanted=220)
        client.connected()
        client.ehlo_or_helo_if_needed()
        if server.encryption == "starttls":
            if not client.has_extn("starttls"):
                raise AccessDenied(f"{server} offers no STARTTLS; turn TLS on there, or use smtps://")
            self._demand(client.starttls(context=client.tls()), "STARTTLS", wanted=220)
            client.ehlo_or_helo_if_needed()
        if server.user is not None and server.password is not None:
            client.login(server.user, server.password.reveal())

    def _failure(self, error: Exception, client: _Client, call: Call) -> KillswitchError:
        """What an error of the protocol or of the connection means."""
        if isinstance(error, smtplib.SMTPAuthenticationError):
            return self._problem(error.smtp_code, self._words(error.smtp_error), "our user and password", login=True)
        if isinstance(error, smtplib.SMTPNotSupportedError):
            return AccessDenied(f"{self._server} offers no way to log in that we know; leave the user out")
        if isinstance(error, smtplib.SMTPResponseException):
            return self._problem(error.smtp_code, self._words(error.smtp_error), "our greeting")
        # smtplib says "disconnected" of a time-out as well; the cause says which it was
        cause = error.__context__ if isinstance(error, smtplib.SMTPServerDisconnected) else error
        if isinstance(cause, OSError) and not isinstance(cause, smtplib.SMTPException):
            failure: KillswitchError = no_answer(cause, str(self._server), call).failure
        else:
            failure = Unavailable(f"{self._server} closed the connection or gave no answer of SMTP")
        if client.handed_over:
            return OutcomeUnknown(f"{failure}; the message may have been taken")
        return failure

    def _demand(self, reply: tuple[int, bytes], what: str, *, wanted: int = 250) -> None:
        code, said = reply
        if code != wanted:
            raise self._problem(code, self._words(said), what)

    def _problem(self, code: int, said: str, what: str, *, login: bool = False) -> KillswitchError:
        text = f"{self._server} refuses {what}: {code} {said}"
        if code == _NEEDS_AUTHENTICATION or (login and code >= 500):
            return AccessDenied(f"{text}; check smtp_user and its password")
        return Refused(text) if code >= 500 else Unavailable(text)

    def _words(self, said: bytes | str) -> str:
        """What the server says, on one line, without the password."""
        text = said.decode(errors="replace") if isinstance(said, bytes) else said
        held = []
        if self._server.password is not None:
            with suppress(AccessDenied):
                held.append(self._server.password.reveal())
        return excerpt(hiding(text, held))


class _Client(smtplib.SMTP):
    """smtplib's client on our sockets."""

    def __init__(self, server: MailServer, context: RotatingContext, call: Call) -> None:
        name = socket.gethostname()
        # given, because smtplib would look our own name up, without a deadline
        super().__init__(local_hostname=name if _LOCAL.match(name) else "localhost")
        self._host = server.host  # the name that the certificate must have
        self._tls_from_the_start = server.encryption == "tls"
        self._rotating = context
        self._call = call
        self.handed_over = False  # the whole message may have reached the server

    def connected(self) -> None:
        """From here on a time-out is not one of connecting."""
        self._call.sent = True

    def tls(self) -> ssl.SSLContext:
        context = self._rotating.current()
        context.sslsocket_class = BoundedTLSSocket
        return context

    def _get_socket(self, host: str, port: int, timeout: Any) -> socket.socket:  # noqa: ARG002  smtplib's own hook
        sock = connect(host, port, self._call, ())
        return self.tls().wrap_socket(sock, server_hostname=host) if self._tls_from_the_start else sock
