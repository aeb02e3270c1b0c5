"""Which rollouts keep the texts of pairs that differ, and for how long: by their rule files, or one answer for all."""

from __future__ import annotations

import logging
from pathlib import Path

from killswitch.errors import BadRules
from killswitch.rules.loading import load_folder

log = logging.getLogger(__name__)


class TextKeeping:
    """``rules``: a folder of rule files whose ``shadow: keep_text`` counts. ``seconds``: the same for every rollout.

    Without either no text is kept. Rule files are read at the beginning and by `read_again`.
    Raises BadRules if they are refused at the beginning.
    """

    def __init__(self, *, rules: Path | None = None, seconds: float | None = None) -> None:
        self._rules = rules
        self._all = seconds
        self._stamps = None if rules is None else _stamps_of(rules)
        self._by_rollout = self._read(rules) if rules is not None else {}

    def seconds_for(self, rollout: str) -> float:
        """How long texts of a rollout are kept; 0: not at all, also for a rollout without a rule file."""
        return self._all if self._all is not None else self._by_rollout.get(rollout, 0.0)

    def read_again(self) -> None:
        """Take up changed rule files. While they are refused, what was read last counts, and is said once a change."""
        if self._rules is None:
            return
        stamps = _stamps_of(self._rules)
        if stamps is not None and stamps == self._stamps:
            return
        self._stamps = stamps
        try:
            self._by_rollout = self._read(self._rules)
        except BadRules as error:
            log.warning("shadow worker: rule files are refused, so the last ones count: %s", error.problems[0])

    @staticmethod
    def _read(folder: Path) -> dict[str, float]:
        return {
            rollout.name: rollout.shadow.keep_text_for
            for rollout in load_folder(folder).rollouts
            if rollout.shadow.keep_text == "differences"
        }


def _stamps_of(folder: Path) -> list[tuple[object, ...]] | None:
    """They differ once a file of the folder has changed; None where that cannot be known."""
    try:
        found = [(file.name, file.stat()) for file in folder.iterdir()]
    except OSError:
        return None
    return sorted((name, one.st_mtime_ns, one.st_ino, one.st_size) for name, one in found)
