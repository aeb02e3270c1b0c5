"""Whom to page: as a rollout's rule file says, or said before it was removed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from killswitch.controller.known_flags import KnownFlags
from killswitch.model import PageSettings, Rollout


class Recipients:
    """The page settings of every rollout with rules or a flag. ``rollouts`` gives the rule files in force."""

    def __init__(self, rollouts: Callable[[], Mapping[str, Rollout]], known: KnownFlags) -> None:
        self._rollouts = rollouts
        self._known = known
        self._last: dict[str, PageSettings] = {}

    def note(self, rollouts: Mapping[str, Rollout]) -> None:
        """Take over these rule files. Settings of a removed file are kept while its rollout has a flag."""
        latest = {name: rollout.page for name, rollout in rollouts.items()}
        kept = {name: page for name, page in self._last.items() if name in self._known.stored}
        self._last = {**kept, **latest}

    def of(self, *preferred: str) -> PageSettings:
        """The settings of the first preferred rollout that has some, else of the first with a channel of its own."""
        for name in preferred:
            if name in self._last:
                return self._last[name]
        rollouts = self._rollouts()
        pages = [rollouts[name].page for name in sorted(rollouts)]
        named = [page for page in pages if page.slack or page.pagerduty or page.addresses.named]
        return next(iter([*named, *pages]), PageSettings())

    def all(self) -> list[PageSettings]:
        """The settings of every rule file in force; the default ones where there is none."""
        rollouts = self._rollouts()
        return [rollouts[name].page for name in sorted(rollouts)] or [PageSettings()]
