"""Where mail is handed over. Settings name it, so nothing here loads what speaks to a server."""

from __future__ import annotations

from dataclasses import dataclass

from killswitch.net.credentials import Secret


@dataclass(frozen=True, slots=True)
class MailServer:
    """``encryption``: ``tls`` from the first byte, ``starttls`` (demanded, never optional), or ``none``."""

    host: str
    port: int
    encryption: str
    user: str | None = None
    password: Secret | None = None

    def __str__(self) -> str:
        return f"{'smtps' if self.encryption == 'tls' else 'smtp'}://{self.host}:{self.port}"
