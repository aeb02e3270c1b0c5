"""Turns a shadow down once its comparison is decided: looks at the flag and the recorded pairs again and again.

It only lowers, and each verdict of a generation does so once: whoever raises the shadow again knows the verdict. GO
keeps a tenth, to see a canary that changes. NO_GO keeps nothing, because each further pair is paid for and proves
nothing more, unless ``keep`` asks for the tenth.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from killswitch.errors import BadDocument, KillswitchError
from killswitch.flags.flag import SHADOW, Flag
from killswitch.shadow.decision import GoNoGo, ShadowDecision
from killswitch.wording import counted

log = logging.getLogger(__name__)


class TurnDown(Protocol):
    """Lowers what the flag shadows to ``factor`` times what it was, and gives the flag after it.

    It compares the flag as it was read, and does nothing the second time for one verdict of a generation.
    """

    def __call__(self, *, verdict: str, factor: float, reason: str) -> Flag: ...


# The flag as it is now, None where there is none, and what turns its shadow down.
Look = Callable[[], tuple[Flag | None, TurnDown]]
# What the recorded pairs of the flag's generation prove.
Assess = Callable[[Flag], ShadowDecision]


@dataclass(frozen=True, slots=True)
class Looked:
    """What one look found, in a sentence. ``trouble``: it could not be done."""

    sentence: str
    trouble: bool = False


class Deciding:
    """One rollout's shadow. ``keep``: keep the small share on NO_GO, too."""

    def __init__(self, rollout: str, look: Look, assess: Assess, *, keep: bool = False) -> None:
        self._rollout = rollout
        self._look = look
        self._assess = assess
        self._keep = keep
        self._said = ""

    def run(self, stopped: Callable[[float], bool], every: float) -> None:
        """Look now and then every ``every`` seconds. ``stopped`` waits so many seconds; True ends it."""
        while True:
            self.once()
            if stopped(every):
                return

    def once(self) -> Looked:
        """One look, logged unless the last one said the same. Raises nothing that a later look may do without."""
        try:
            looked = self._looked()
        except BadDocument as error:
            looked = Looked(f"{error}; nothing is changed", trouble=True)
        except KillswitchError as error:
            looked = Looked(f"not decided, nothing is changed: {error}", trouble=True)
        except Exception as error:
            log.exception("%s: unexpected error", self._rollout)
            looked = Looked(f"not decided, nothing is changed: {type(error).__name__}", trouble=True)
        if looked.sentence != self._said:
            level = logging.WARNING if looked.trouble else logging.INFO
            log.log(level, "%s: %s", self._rollout, looked.sentence)
        self._said = looked.sentence
        return looked

    def _looked(self) -> Looked:
        flag, turn_down = self._look()
        idle = _nothing_to_turn(flag)
        if flag is None or idle:
            return Looked(f"{idle}; nothing is changed")
        decision = self._assess(flag)
        pairs = decision.pairs + decision.noise_pairs
        if not pairs:
            return Looked(f"no pair of generation {flag.generation} is recorded yet; nothing is changed")
        if decision.verdict is GoNoGo.NOT_YET:
            more = f", about {counted(decision.more_pairs, 'more pair')} needed" if decision.more_pairs else ""
            why = f" ({decision.one_user})" if decision.one_user else ""
            so_far = f"NOT_YET after {counted(pairs, 'pair')}{more}{why}"
            return Looked(f"{so_far}; {flag.shadow_share} of requests are shadowed")
        none = decision.verdict is GoNoGo.NO_GO and not self._keep
        after = turn_down(
            verdict=decision.verdict.value,
            factor=0.0 if none else decision.advised_share,
            reason=f"{decision.sentence}, after {counted(pairs, 'pair')}",
        )
        if after.shadow_share == flag.shadow_share:
            return Looked(f"{decision.verdict}: turned down for it once already, so {flag.shadow_share} stays")
        return Looked(
            f"{decision.sentence}: the shadow goes from {flag.shadow_share} to {after.shadow_share} of requests"
        )


def _nothing_to_turn(flag: Flag | None) -> str:
    """Why nothing can be turned down; empty where something can."""
    if flag is None:
        return "there is no flag"
    if not flag.armed:
        return "the flag is tripped, so nothing is shadowed"
    if flag.stage != SHADOW:
        return f"the stage is {flag.stage}, so nothing is shadowed"
    return "nothing is shadowed" if flag.shadow_share.nothing else ""
