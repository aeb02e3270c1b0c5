"""Slow signals as the status shows them: value, limit, verdict and age of each, UNKNOWN where there is none. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from killswitch.model import Verdict
from killswitch.slow.findings import amount, points
from killswitch.slow.standing import SignalStanding, SlowStanding
from killswitch.slow_settings import SlowSettings
from killswitch.timestamps import to_iso
from killswitch.wording import span_in_words

_NOT_YET = "no evaluation of this generation yet; there is one a day"


@dataclass(frozen=True, slots=True)
class SignalShown:
    """One signal of a rule file. ``evaluated_at``: the instant that was evaluated; ``now``: both in Unix seconds."""

    standing: SignalStanding
    evaluated_at: float | None
    now: float

    def document(self) -> dict[str, Any]:
        """As JSON: the numbers, and each also in words."""
        one, age = self.standing, None if self.evaluated_at is None else max(self.now - self.evaluated_at, 0.0)
        return {
            "signal": one.signal,
            "verdict": one.verdict.value,
            "reason": None if one.reason is None else one.reason.value,
            "sentence": one.sentence,
            "canary": one.canary,
            "control": one.control,
            "worse": one.worse,
            "limit": one.limit,
            "evaluated_at": None if self.evaluated_at is None else to_iso(self.evaluated_at),
            "age_seconds": None if age is None else round(age),
            "unknown_since": None if one.unknown_since is None else to_iso(one.unknown_since),
            "words": {
                "canary": "-" if one.canary is None else amount(one.canary, as_share=one.as_share),
                "control": "-" if one.control is None else amount(one.control, as_share=one.as_share),
                "worse": "-" if one.worse is None else amount(one.worse, as_share=one.as_share, sign=True),
                "limit": "-" if one.limit is None else points(one.limit, as_share=one.as_share),
                "age": "-" if age is None else span_in_words(age),
            },
        }


def signals_shown(
    settings: SlowSettings, found: SlowStanding | None, generation: int, now: float, problem: str = ""
) -> tuple[SignalShown, ...]:
    """Every signal of the rule file, in its order. ``problem``: why ``found`` could not be read."""
    return tuple(_shown(settings, found, generation, now, problem))


def _shown(
    settings: SlowSettings, found: SlowStanding | None, generation: int, now: float, problem: str
) -> Iterator[SignalShown]:
    of_this = found if found is not None and found.generation == generation else None
    known = {} if of_this is None else {one.signal: one for one in of_this.signals}
    for signal in settings.signals:
        if signal.name in known and of_this is not None:
            yield SignalShown(known[signal.name], of_this.evaluated_at, now)
        else:
            none = SignalStanding(signal.name, Verdict.UNKNOWN, None, problem or _NOT_YET)
            yield SignalShown(none, None, now)
