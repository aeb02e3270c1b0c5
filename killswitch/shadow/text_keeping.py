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
        self._by_rollout = self._read(rules) if rules is not None else {}

    def seconds_for(self, rollout: str) -> float:
        """How long texts of a rollout are kept; 0: not at all, also for a rollout without a rule file."""
        return self._all if self._all is not None else self._by_rollout.get(rollout, 0.0)

    def read_again(self) -> None:
        """Take up changed rule files. While they are refused, what was read last counts."""
        if self._rules is None:
            return
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
