"""How etcd lets us in: user, password and TLS files, given or from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from killswitch.errors import BadSettings
from killswitch.net.credentials import TLS, Secret


@dataclass(frozen=True, slots=True)
class Access:
    """How to be let in by etcd: a user with password, our own certificate, and whose certificates we trust."""

    user: str | None = None
    password: Secret | None = None
    tls: TLS = field(default_factory=TLS)

    def __post_init__(self) -> None:
        if (self.user is None) != (self.password is None):
            raise BadSettings(["give the store's user and its password together, or neither"])

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Access:
        """From KILLSWITCH_STORE_USER, _PASSWORD_FILE, _CA_FILE, _CERT_FILE and _KEY_FILE, as the daemon's settings."""
        found = os.environ if environment is None else environment

        def path(name: str) -> Path | None:
            value = found.get(f"KILLSWITCH_STORE_{name}")
            return Path(value) if value else None

        password = path("PASSWORD_FILE")
        return cls(
            user=found.get("KILLSWITCH_STORE_USER") or None,
            password=Secret.from_file(password) if password is not None else None,
            tls=TLS(path("CA_FILE"), path("CERT_FILE"), path("KEY_FILE")),
        )
