"""Secrets by name: a default one, and one for each team. PagerDuty's and Opsgenie's keys, the URLs of Teams' channels.

Rule files have the names (``page: {pagerduty: search}``). The secrets are only in files or environment variables.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from killswitch.errors import AccessDenied, KillswitchError, Refused
from killswitch.net.credentials import MAX_SECRET_BYTES, Secret

_log = logging.getLogger(__name__)
_LINE = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,62})\s*:\s*(?P<key>[!-~]{1,2000})")


@dataclass(frozen=True, slots=True)
class SecretKind:
    """What messages call such a secret, and the settings that name the places of the default and of the others."""

    what: str
    default_setting: str
    names_setting: str


PAGERDUTY_KEYS = SecretKind("PagerDuty key", "KILLSWITCH_PAGERDUTY_KEY_FILE", "KILLSWITCH_PAGERDUTY_TEAM_KEYS_FILE")
OPSGENIE_KEYS = SecretKind("Opsgenie key", "KILLSWITCH_OPSGENIE_KEY_FILE", "KILLSWITCH_OPSGENIE_TEAM_KEYS_FILE")
TEAMS_URLS = SecretKind("Teams URL", "KILLSWITCH_TEAMS_URL_FILE", "KILLSWITCH_TEAMS_URLS_FILE")


class NamedSecrets:
    """``default`` serves pages that name none; ``teams`` is a file with one ``name: secret`` a line.

    Both are read again for every page, so that rotated keys are used. While the file cannot be read, its last good
    content is used. A team whose secret is missing is paged by the default one: a page to the wrong team is better
    than no page.
    """

    def __init__(self, kind: SecretKind, default: Secret | None, teams: Path | None = None) -> None:
        self._kind = kind
        self._default = default
        self._teams = teams
        self._last_good: Mapping[str, str] | None = None

    @property
    def has_default(self) -> bool:
        return self._default is not None

    def key(self, name: str | None) -> str:
        """The key of this name; of None the default key. Raises AccessDenied or Refused, which say what to set."""
        if name is None:
            return self._default_key()
        try:
            return self.team_key(name)
        except KillswitchError as error:
            if self._default is None:
                raise
            _log.warning("%s; the page goes to the default %s", error, self._kind.what)
            return self._default_key()

    def team_key(self, name: str) -> str:
        """The key of this team, never the default key. Raises Refused: it concerns only this team's pages."""
        if self._teams is None:
            raise Refused(
                f"no file of {self._kind.what}s: set {self._kind.names_setting} to a file with a line that begins "
                f"with `{name}:`"
            )
        key = self._read(self._teams).get(name)
        if key is None:
            raise Refused(
                f"{self._teams} has no {self._kind.what} called {name!r}: add a line that begins with `{name}:`"
            )
        return key

    def problem_of(self, name: str | None, *, check: Callable[[str], object] = bool) -> str | None:
        """What is wrong with the secret of this name (None: the default one); None if it is usable. Sends nothing.

        ``check`` raises a KillswitchError for a secret of a wrong form.
        """
        try:
            check(self._default_key() if name is None else self.team_key(name))
        except KillswitchError as error:
            return str(error)
        return None

    def _default_key(self) -> str:
        if self._default is None:
            raise AccessDenied(
                f"no default {self._kind.what}: set {self._kind.default_setting}, or name a team's one in `page`"
            )
        return self._default.reveal()

    def _read(self, file: Path) -> Mapping[str, str]:
        try:
            self._last_good = _secrets_in(file, self._kind.what)
        except Refused as error:
            if self._last_good is None:
                raise
            _log.warning("%s; using its last good content", error)
        return self._last_good


def _secrets_in(file: Path, what: str) -> dict[str, str]:
    """Names and keys. Raises Refused, which names the line but never its text, because that may be a secret."""
    try:
        with file.open("rb") as opened:
            text = opened.read(MAX_SECRET_BYTES + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise Refused(f"cannot read the {what}s in {file}: {why}") from None
    if len(text) > MAX_SECRET_BYTES:
        raise Refused(f"{file} is longer than {MAX_SECRET_BYTES} bytes")
    keys: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _LINE.fullmatch(stripped)
        if match is None:
            raise Refused(f"{file}, line {number}: write `name: {what}`")
        if match["name"] in keys:
            raise Refused(f"{file}, line {number}: {match['name']} is there twice; keep one")
        keys[match["name"]] = match["key"]
    return keys
