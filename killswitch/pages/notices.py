"""Pages that are sent once a generation, whichever replica comes first: a trip that would be, a rule that is blind.

And when it is time for two of them: a rule without verdicts and an armed flag without a rule file protect
nothing, and both may be a passing thing, so ticks in a row are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from killswitch.errors import BadTransaction, OutcomeUnknown
from killswitch.flags.flag import Flag
from killswitch.flags.incident import Incident, to_document
from killswitch.model import Finding, Reason
from killswitch.pages.outbox import new_entry
from killswitch.pages.outbox import to_document as outbox_document
from killswitch.pages.page import Page
from killswitch.stores import Committed, Compare, Lost, Put, Store, keys
from killswitch.stores.limits import Part, portions
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.judge import Decision, DecisionKind, blinding

# Two or three may be a late scrape or a pod that has just started; at five somebody has to look.
BLIND_TICKS = 5
# Rule files and flags are changed by different hands: a moment without one is no mistake yet.
UNWATCHED_TICKS = 3
# These are told as soon as they are seen, with advice of their own.
_TOLD_OTHERWISE = frozenset({Reason.NEVER_SEEN, Reason.INTERNAL_ERROR})

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Notice:
    """``key``: one of `keys.notice`; where it stands in the store, the page has been told."""

    key: str
    page: Page
    record: Incident | None = None


class Notices:
    """Remembers what it has told; what another replica told stands in the store."""

    def __init__(self, store: Store, *, wall: Callable[[], float]) -> None:
        self._store = store
        self._wall = wall
        self._told: set[str] = set()

    def has_told(self, notice: str) -> bool:
        """Whether there is nothing left to do, so that the page need not even be written."""
        return notice in self._told

    def tell(self, notices: Iterable[Notice]) -> None:
        """Put the pages into the outbox, each with its record, unless that has been done. Raises as the store does.

        As many in one transaction as fit: a thousand rollouts may all have something to say at one tick.
        """
        fresh = {notice.key: notice for notice in notices if notice.key not in self._told}
        refused: BadTransaction | None = None
        for portion in portions(self._part(notice) for notice in fresh.values()):
            try:
                self._tell_portion(portion)
            except BadTransaction as error:
                refused = error
        if refused is not None:
            raise refused

    def _part(self, notice: Notice) -> Part[Notice]:
        body = to_document(notice.record) if notice.record is not None else b"{}"
        entry = outbox_document(new_entry(notice.page, at=self._wall()))
        puts = (Put(notice.key, body), Put(keys.outbox(notice.page.id), entry))
        return Part(notice, (Compare(notice.key, 0),), puts)

    def _tell_portion(self, portion: Sequence[Part[Notice]]) -> None:
        try:
            outcome = self._store.commit(
                [compare for part in portion for compare in part.compares],
                [write for part in portion for write in part.writes],
            )
        except OutcomeUnknown:
            return  # looked up again at the next tick
        except BadTransaction:
            if len(portion) == 1:
                raise
            outcome = Lost()
        if isinstance(outcome, Committed) or len(portion) == 1:
            self._told.update(part.subject.key for part in portion)  # where it was lost, another replica told it
            return
        for part in portion:  # some of them were told already, perhaps before we began
            if self._store.get(part.subject.key) is None:
                self._tell_portion((part,))
            else:
                self._told.add(part.subject.key)

    def forget(self, rollouts: set[str]) -> None:
        """Drop what concerns rollouts that nobody watches and that have no flag."""
        kept = {notice for notice in self._told if notice.removeprefix(keys.NOTICES).partition("/")[0] in rollouts}
        self._told = kept


class InARow(Generic[Key]):
    """How many looks in a row something has held."""

    def __init__(self) -> None:
        self._counts: Mapping[Key, int] = {}

    def look(self, holding: Iterable[Key], *, unknown: Callable[[Key], bool] = lambda _key: False) -> Mapping[Key, int]:
        """Counts of what holds now. What is ``unknown`` keeps its count; all else begins anew."""
        counts = {key: self._counts.get(key, 0) + 1 for key in holding}
        kept = {key: count for key, count in self._counts.items() if key not in counts and unknown(key)}
        self._counts = {**kept, **counts}
        return counts


@dataclass(frozen=True, slots=True)
class BlindRule:
    """A rule without a verdict for ``ticks`` ticks in a row, though its rollout was not blind."""

    case: ArmedRollout
    finding: Finding
    ticks: int


class Unprotected:
    """One replica's count, begun anew when it starts."""

    def __init__(self) -> None:
        self._rules: InARow[tuple[str, int, str]] = InARow()
        self._flags: InARow[tuple[str, int]] = InARow()

    def blind_rules(
        self,
        cases: Sequence[ArmedRollout],
        decisions: Mapping[str, Decision],
        findings: Mapping[str, tuple[Finding, ...]],
    ) -> list[BlindRule]:
        """Rules that have had no verdict for long enough to say so; to be asked once a tick."""
        seeing = [case for case in cases if decisions[case.rollout.name].action is not DecisionKind.BLIND]
        blind = {
            (case.rollout.name, case.flag.generation, finding.rule): (case, finding)
            for case in seeing
            for finding in findings[case.rollout.name]
            if blinding(finding, case.flag) and finding.reason not in _TOLD_OTHERWISE
        }
        # A rollout that is blind as a whole has a page of its own, and must not hide which rule was blind before.
        dark = {(case.rollout.name, case.flag.generation) for case in cases} - {
            (case.rollout.name, case.flag.generation) for case in seeing
        }
        counts = self._rules.look(blind, unknown=lambda key: key[:2] in dark)
        return [BlindRule(*blind[key], count) for key, count in counts.items() if count >= BLIND_TICKS]

    def unwatched(self, flags: Iterable[Flag], watched: frozenset[str]) -> list[Flag]:
        """Armed flags that no replica has had rules for, for long enough to say so; to be asked once a tick."""
        alone = {(flag.rollout, flag.generation): flag for flag in flags if flag.armed and flag.rollout not in watched}
        return [alone[key] for key, count in self._flags.look(alone).items() if count >= UNWATCHED_TICKS]
