"""The rule files in force: loaded whole, replaced whole, or left as they are.

A Kubernetes ConfigMap arrives as a symlink swap; a person's edit as a changed file. Both change the
fingerprint of the folder, and that is all that is watched.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from killswitch.errors import BadRules
from killswitch.model import PageSettings
from killswitch.rules.loading import Rules, load_folder
from killswitch.spend.prices import PriceList
from killswitch.spend.rule_files import price_files, read_prices
from killswitch.status.self_metrics import SelfMetrics
from killswitch.wording import counted

log = logging.getLogger(__name__)
NO_LINKS = PageSettings()
_MOST_NAMED = 20


class RulesInForce:
    """Thread-safe. ``on_refused`` gets the problems of a refused set. ``links``: what pages link to."""

    def __init__(
        self,
        folder: Path,
        *,
        metrics: SelfMetrics,
        wall: Callable[[], float],
        on_refused: Callable[[list[str]], None],
        links: PageSettings = NO_LINKS,
    ) -> None:
        self._folder = folder
        self._metrics = metrics
        self._wall = wall
        self._on_refused = on_refused
        self._links = links
        self._lock = threading.Lock()
        self._seen = folder_state(self._folder)
        self._price_files: Mapping[Path, object] = {}  # as last seen; they may be in another folder
        self._rules, self._prices = self._load()  # raises BadRules: a daemon without rules does not start
        self._took_over()

    def current(self) -> Rules:
        return self._rules

    def prices(self) -> Mapping[str, PriceList]:
        """What tokens cost, by rollout, where its rule file names a file of prices."""
        return self._prices

    def look(self) -> None:
        """Reload if anything in the folder, or a file of prices, has changed since the last look."""
        prices = {path: _state_of(path) for path in self._price_files}
        if folder_state(self._folder) != self._seen or prices != self._price_files:
            self.reload()

    def reload(self) -> list[str]:
        """Take over the files as they are now, or keep the last good set and return the problems."""
        with self._lock:
            self._seen = folder_state(self._folder)
            try:
                rules, prices = self._load()
            except BadRules as error:
                problems = list(error.problems)
            else:
                lost = sorted(self._rules.rollouts.keys() - rules.rollouts.keys())
                self._rules, self._prices = rules, prices
                self._took_over()
                log.info("rules reloaded: %s, %s", counted(len(rules.rollouts), "rollout"), rules.digest[:12])
                _say_lost(lost)
                return []
        self._metrics.rules_reload_ok.set(0)
        log.error("rules refused, the last good set stays in force:\n%s", "\n".join(problems))
        self._on_refused(problems)
        return problems

    def _load(self) -> tuple[Rules, Mapping[str, PriceList]]:
        loaded = load_folder(self._folder)
        for warning in loaded.warnings:
            log.warning("rules: %s", warning)
        self._price_files = {path: _state_of(path) for path in price_files(loaded.rollouts).values()}
        prices = read_prices(loaded.rollouts)
        rollouts = (replace(one, page=self._linked(one.page)) for one in loaded.rollouts)
        return Rules({rollout.name: rollout for rollout in rollouts}, loaded.digest), prices

    def _linked(self, page: PageSettings) -> PageSettings:
        dashboard = page.dashboard or self._links.dashboard
        return replace(page, public_url=self._links.public_url, dashboard=dashboard)

    def _took_over(self) -> None:
        self._metrics.rules_reload_ok.set(1)
        self._metrics.rules_reloaded_at.set(self._wall())


def _say_lost(names: Sequence[str]) -> None:
    """A file that an upgrade left out is no error of the files that are there: only this and an armed flag show it."""
    if names:
        more = len(names) - _MOST_NAMED
        shown = ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
        log.warning(
            "rules: %s had a rule file until now, and has none any more: no rule judges it. Put the file back (was it "
            "left out of an upgrade?), or end the rollout with `killswitch end`",
            shown,
        )


def folder_state(folder: Path) -> tuple[object, ...]:
    """What `stat` says of every entry, links followed; a folder that cannot be listed is one state too."""
    try:
        with os.scandir(folder) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
    except OSError as error:
        return (str(error),)
    # only links lead elsewhere: to resolve a thousand files every few seconds costs a tenth of a second a cycle
    found: list[object] = [os.path.realpath(folder)]
    for entry in entries:
        try:
            stat = entry.stat()
            real = os.path.realpath(entry.path) if entry.is_symlink() else entry.name
        except OSError as error:
            found.append((entry.name, str(error)))
        else:
            found.append((entry.name, real, stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return tuple(found)


def _state_of(path: Path) -> object:
    """What `stat` says of a file, links followed."""
    try:
        stat = path.stat()
    except OSError as error:
        return str(error)
    return os.path.realpath(path), stat.st_ino, stat.st_size, stat.st_mtime_ns
