"""PagerDuty's integration keys: a default key, and one for each team, by name.

Rule files have the names (``page: {pagerduty: search}``). The keys are only in files or environment variables.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path

from killswitch.errors import AccessDenied, KillswitchError, Refused
from killswitch.net.credentials import MAX_SECRET_BYTES, Secret

_log = logging.getLogger(__name__)
_LINE = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,62})\s*:\s*(?P<key>[!-~]{1,200})")


class RoutingKeys:
    """``default`` serves pages that name no key; ``teams`` is a file with one ``name: key`` a line.

    Both are read again for every page, so that rotated keys are used. While the file cannot be read, its last good
    content is used. A team whose key is missing is paged with the default key: a page to the wrong team is better than
    no page.
    """

    def __init__(self, default: Secret | None, teams: Path | None = None) -> None:
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
            _log.warning("%s; the page goes to the default PagerDuty key", error)
            return self._default_key()

    def team_key(self, name: str) -> str:
        """The key of this team, never the default key. Raises Refused: it concerns only this team's pages."""
        if self._teams is None:
            raise Refused(
                f"no file of PagerDuty keys: set KILLSWITCH_PAGERDUTY_TEAM_KEYS_FILE to a file with `{name}: key` in it"
            )
        key = self._read(self._teams).get(name)
        if key is None:
            raise Refused(f"{self._teams} has no PagerDuty key called {name!r}: add a line `{name}: key`")
        return key

    def _default_key(self) -> str:
        if self._default is None:
            raise AccessDenied(
                "no default PagerDuty key: set KILLSWITCH_PAGERDUTY_KEY_FILE, or name a team's key in `page`"
            )
        return self._default.reveal()

    def _read(self, file: Path) -> Mapping[str, str]:
        try:
            self._last_good = _keys_in(file)
        except Refused as error:
            if self._last_good is None:
                raise
            _log.warning("%s; using its last good content", error)
        return self._last_good


def _keys_in(file: Path) -> dict[str, str]:
    """Names and keys. Raises Refused, which names the line but never its text, because that may be a key."""
    try:
        with file.open("rb") as opened:
            text = opened.read(MAX_SECRET_BYTES + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise Refused(f"cannot read the PagerDuty keys in {file}: {why}") from None
    if len(text) > MAX_SECRET_BYTES:
        raise Refused(f"{file} is longer than {MAX_SECRET_BYTES} bytes")
    keys: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _LINE.fullmatch(stripped)
        if match is None:
            raise Refused(f"{file}, line {number}: write `name: key`")
        if match["name"] in keys:
            raise Refused(f"{file}, line {number}: {match['name']} is there twice; keep one")
        keys[match["name"]] = match["key"]
    return keys
