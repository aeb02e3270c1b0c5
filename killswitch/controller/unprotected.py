"""What protects no one: a rule without a verdict, and an armed flag without a rule file.

Both may pass, so they are counted in ticks in a row before someone is paged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from killswitch.flags.flag import Flag
from killswitch.model import Finding, Reason
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.decide import Decision, DecisionKind, blinding

# Two or three may be a late scrape or a pod that has just started; at five someone has to look.
BLIND_TICKS = 5
# Rule files and flags are changed by different hands: a moment without one is no mistake yet.
UNWATCHED_TICKS = 3
# These have pages of their own, sent as soon as they are seen.
_PAGED_AT_ONCE = frozenset({Reason.NEVER_SEEN, Reason.INTERNAL_ERROR})
Key = TypeVar("Key")


class InARow(Generic[Key]):
    """How many looks in a row something has held."""

    def __init__(self) -> None:
        self._counts: Mapping[Key, int] = {}

    def look(self, holding: Iterable[Key], *, unknown: Callable[[Key], bool] = lambda _key: False) -> Mapping[Key, int]:
        """Counts of what holds now. What is ``unknown`` keeps its count; all else starts again."""
        counts = {key: self._counts.get(key, 0) + 1 for key in holding}
        kept = {key: count for key, count in self._counts.items() if key not in counts and unknown(key)}
        self._counts = {**kept, **counts}
        return counts


@dataclass(frozen=True, slots=True)
class BlindRule:
    """A rule without a verdict for ``ticks`` ticks in a row, though its rollout was not blind."""

    armed: ArmedRollout
    finding: Finding
    ticks: int


class Unprotected:
    """One replica's count; it starts again with the process."""

    def __init__(self) -> None:
        self._rules: InARow[tuple[str, int, str]] = InARow()
        self._flags: InARow[tuple[str, int]] = InARow()

    def blind_rules(
        self,
        all_armed: Sequence[ArmedRollout],
        decisions: Mapping[str, Decision],
        findings: Mapping[str, tuple[Finding, ...]],
    ) -> list[BlindRule]:
        """Rules that have had no verdict for long enough to say so; to be asked once a tick."""
        seeing = [armed for armed in all_armed if decisions[armed.rollout.name].action is not DecisionKind.BLIND]
        blind = {
            (armed.rollout.name, armed.flag.generation, finding.rule): (armed, finding)
            for armed in seeing
            for finding in findings[armed.rollout.name]
            if blinding(finding, armed.flag) and finding.reason not in _PAGED_AT_ONCE
        }
        # A rollout that is blind as a whole has a page of its own, and must not hide which rule was blind before.
        dark = {(armed.rollout.name, armed.flag.generation) for armed in all_armed} - {
            (armed.rollout.name, armed.flag.generation) for armed in seeing
        }
        counts = self._rules.look(blind, unknown=lambda key: key[:2] in dark)
        return [BlindRule(*blind[key], count) for key, count in counts.items() if count >= BLIND_TICKS]

    def unwatched(self, flags: Iterable[Flag], watched: frozenset[str]) -> list[Flag]:
        """Armed flags that no replica has had rules for, for long enough to say so; to be asked once a tick."""
        alone = {(flag.rollout, flag.generation): flag for flag in flags if flag.armed and flag.rollout not in watched}
        return [alone[key] for key, count in self._flags.look(alone).items() if count >= UNWATCHED_TICKS]
