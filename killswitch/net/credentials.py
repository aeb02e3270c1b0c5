"""Secrets and TLS files: named in settings, read from files or the environment at each use.

Settings hold only *where* a secret is. It is read again at every use, so a rotated file needs no restart.
If the file cannot be read during a rotation, the last good value is used. Nothing here puts a secret's
value into a repr, a message or a log line.

Standard library only, because the router SDK uses it.
"""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import json
import logging
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from killswitch.errors import AccessDenied, BadSettings

if TYPE_CHECKING:
    import ssl  # imported where it is used: a service without TLS need not load OpenSSL

MAX_SECRET_BYTES: Final = 64 * 1024
SHORTEST_HIDDEN: Final = 6  # characters
# headers that carry secrets; a literal value for one of these is refused
_SECRET_HEADERS: Final = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key", "api-key"})

_log = logging.getLogger(__name__)


class Secret:
    """A secret by its place: ``file:/run/secrets/token`` or ``env:SLACK_TOKEN``; never a literal.

    `reveal` reads it again each time. Equality, repr and str know the place only.
    """

    __slots__ = ("_last_good", "name", "place")

    def __init__(self, place: str, name: str) -> None:
        if place not in {"file", "env"} or not name:
            raise BadSettings(["a secret's place is file:/path or env:NAME"])
        self.place = place
        self.name = name
        self._last_good: str | None = None

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Secret:
        return cls("file", os.fspath(path))

    @classmethod
    def from_environment(cls, name: str) -> Secret:
        return cls("env", name)

    @classmethod
    def parse(cls, text: str) -> Secret:
        """The secret that ``file:/path`` or ``env:NAME`` names.

        Raises BadSettings for anything else, without repeating it: it might be the secret itself.
        """
        place, colon, name = text.partition(":")
        if not colon or place not in {"file", "env"} or not name or name.startswith("//"):
            raise BadSettings(
                ["settings must not hold a secret itself: write file:/path/of/it or env:NAME_OF_VARIABLE"]
            )
        return cls(place, name)

    def reveal(self) -> str:
        """The value, stripped of white space around it, at most 64 KiB.

        Raises AccessDenied if it is empty, holds control characters (a header cannot), or cannot be read and
        never could.
        """
        try:
            value = self._checked(self._read())
        except (OSError, ValueError) as error:
            if self._last_good is None:
                # `from None`: a UnicodeDecodeError holds the bytes it could not decode
                raise AccessDenied(f"cannot read the secret in {self}: {_why(error)}") from None
            _log.warning("cannot read the secret in %s (%s); using its last value", self, _why(error))
            return self._last_good
        self._last_good = value
        return value

    def _read(self) -> bytes:
        if self.place == "env":
            return (
                os.environb.get(self.name.encode(), b"")
                if os.supports_bytes_environ
                else os.environ[self.name].encode()
            )
        with Path(self.name).open("rb") as file:
            return file.read(MAX_SECRET_BYTES + 1)

    @staticmethod
    def _checked(raw: bytes) -> str:
        if len(raw) > MAX_SECRET_BYTES:
            raise ValueError(f"it is longer than {MAX_SECRET_BYTES} bytes")
        try:
            value = raw.decode().strip()
        except UnicodeDecodeError:
            raise ValueError("it is not UTF-8 text") from None
        if not value:
            raise ValueError("it is empty or not set")
        if not value.isprintable():
            raise ValueError("it holds line breaks or control characters; put only the secret there")
        return value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (self.place, self.name) == (other.place, other.name)

    def __hash__(self) -> int:
        return hash((self.place, self.name))

    def __reduce__(self) -> tuple[type[Secret], tuple[str, str]]:
        # what is pickled or copied is the place, not the value last read
        return Secret, (self.place, self.name)

    def __repr__(self) -> str:
        return f"Secret({str(self)!r})"

    def __str__(self) -> str:
        return f"{self.place}:{self.name}"


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error)


def known(*secrets: Secret | str | None) -> tuple[str, ...]:
    """The values that can be read now; a secret that cannot be read was not sent."""
    found: list[str] = []
    for secret in secrets:
        with contextlib.suppress(AccessDenied):
            found += [secret.reveal() if isinstance(secret, Secret) else secret] if secret else []
    return tuple(found)


def without(body: bytes, secrets: Iterable[str]) -> bytes:
    """The answer without the secrets that were sent: some servers repeat what they were sent.

    Secrets shorter than `SHORTEST_HIDDEN` stay, or the answer would become unreadable.
    """
    for secret in secrets:
        if len(secret) >= SHORTEST_HIDDEN:
            for spelling in {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}:
                body = body.replace(spelling.encode(), b"[hidden]")
    return body


@dataclass(frozen=True, slots=True)
class HttpCredentials:
    """What a request carries to be accepted: a bearer token, a user with password, further headers.

    ``headers`` values are `Secret`, or plain text if it is not secret (``X-Scope-OrgID: team-a``).
    Raises BadSettings for both schemes at once, or a literal in a header that carries secrets.
    """

    bearer: Secret | None = None
    basic: tuple[str, Secret] | None = None
    extra: Mapping[str, Secret | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = []
        if self.bearer is not None and self.basic is not None:
            problems.append("give a bearer token or a user with password, not both")
        if self.basic is not None and (":" in self.basic[0] or not self.basic[0].isprintable()):
            problems.append("a basic-auth user name holds no colon and no control characters")
        for name, value in self.extra.items():
            if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
                problems.append(f"{name!r} is not an HTTP header's name")
            if isinstance(value, str) and name.lower() in _SECRET_HEADERS:
                problems.append(f"header {name}: its value is a secret; write file:/path or env:NAME")
            elif isinstance(value, str) and not (value.isprintable() and value.isascii()):
                problems.append(f"header {name}: its value holds characters that HTTP headers must not")
        if problems:
            raise BadSettings(problems)

    def headers(self) -> dict[str, str]:
        """The headers for one request, secrets read now. Raises AccessDenied (see `Secret.reveal`)."""
        headers = {
            name: value if isinstance(value, str) else _ascii(value.reveal(), value)
            for name, value in self.extra.items()
        }
        if self.bearer is not None:
            headers["Authorization"] = f"Bearer {_ascii(self.bearer.reveal(), self.bearer)}"
        if self.basic is not None:
            user, password = self.basic
            pair = base64.b64encode(f"{user}:{password.reveal()}".encode())
            headers["Authorization"] = f"Basic {pair.decode()}"
        return headers

    def secrets(self) -> tuple[str, ...]:
        """The secrets in these headers, which no message may repeat; read now."""
        held = [value for value in self.extra.values() if isinstance(value, Secret)]
        found = [secret.reveal() for secret in (self.bearer, *held) if secret is not None]
        if self.basic is not None:
            user, password = self.basic
            found += [base64.b64encode(f"{user}:{password.reveal()}".encode()).decode(), password.reveal()]
        return tuple(found)


def _ascii(value: str, secret: Secret) -> str:
    if not value.isascii():
        raise AccessDenied(f"the secret in {secret} is not ASCII; HTTP headers must be ASCII")
    return value


@dataclass(frozen=True, slots=True)
class TLS:
    """Files (PEM) for TLS: whom we trust, and who we are. Servers are always verified.

    Without ``ca_file`` the system's authorities are trusted (``SSL_CERT_FILE`` names others);
    with it, only those in it.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def __post_init__(self) -> None:
        if self.key_file is not None and self.cert_file is None:
            raise BadSettings(["a TLS key file also needs its certificate file"])

    def context(self) -> ssl.SSLContext:
        """A fresh context from the files as they are now. Raises AccessDenied naming the bad file."""
        import ssl  # noqa: PLC0415

        try:
            context = ssl.create_default_context(cafile=self.ca_file or _fallback_authorities())
        except (OSError, ssl.SSLError) as error:
            raise AccessDenied(f"cannot use the TLS CA file {self.ca_file}: {_tls_reason(error)}") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.cert_file is not None:
            try:
                # else OpenSSL asks for an encrypted key's passphrase on the terminal, and the daemon hangs
                context.load_cert_chain(self.cert_file, self.key_file, password=_no_passphrase)
            except (OSError, ssl.SSLError, ValueError) as error:
                raise AccessDenied(
                    f"cannot use the TLS certificate {self.cert_file} with key {self.key_file or self.cert_file}: "
                    f"{_tls_reason(error)}"
                ) from error
        return context

    def stamps(self) -> tuple[tuple[int, ...] | None, ...]:
        """A value that changes when one of the files does."""
        return tuple(_stamp(path) for path in (self.ca_file, self.cert_file, self.key_file))


def _no_passphrase() -> str:
    raise ValueError("the key is encrypted; store it without a passphrase, readable by this user only")


def _tls_reason(error: Exception) -> str:
    import ssl  # noqa: PLC0415

    if isinstance(error, ssl.SSLError):  # checked first: it is an OSError, too
        if error.reason == "KEY_VALUES_MISMATCH":
            return "the key does not belong to the certificate"
        return f"not PEM as expected ({error.reason or error})"
    return _why(error)


def _stamp(path: Path | None) -> tuple[int, ...] | None:
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return ()
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)


def _fallback_authorities() -> str | None:
    """Certifi's bundle if this Python finds no authorities of the system (some builds do not)."""
    import ssl  # noqa: PLC0415

    paths = ssl.get_default_verify_paths()
    if paths.cafile or paths.capath or importlib.util.find_spec("certifi") is None:
        return None
    import certifi  # noqa: PLC0415  not part of the base install

    return certifi.where()


class RotatingContext:
    """The TLS context of `TLS`, built again when one of its files changes. Safe from any thread.

    While the changed files do not match (in the middle of a rotation), the last good context is used.
    """

    def __init__(self, tls: TLS) -> None:
        self._tls = tls
        self._lock = threading.Lock()
        self._stamps: tuple[tuple[int, ...] | None, ...] | None = None
        self._context: ssl.SSLContext | None = None

    def current(self) -> ssl.SSLContext:
        """Raises AccessDenied if there never was a usable one."""
        with self._lock:
            stamps = self._tls.stamps()
            if self._context is None or stamps != self._stamps:
                try:
                    self._context = self._tls.context()
                except AccessDenied as error:
                    if self._context is None:
                        raise
                    _log.warning("%s; using the TLS files as last read", error)
                else:
                    self._stamps = stamps
            return self._context
