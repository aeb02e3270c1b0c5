"""Pages that go out once a generation: dry-run trips, rules without verdicts, flags without rules or meaning."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial

from killswitch.controller.known_flags import KnownFlags
from killswitch.controller.recipients import Recipients
from killswitch.controller.store_health import StoreHealth
from killswitch.controller.tick_reader import Findings
from killswitch.controller.unprotected import Unprotected
from killswitch.errors import KillswitchError
from killswitch.flags.flag import SHADOW, Flag
from killswitch.flags.incident import Incident
from killswitch.model import Finding, Reason
from killswitch.pages import events
from killswitch.pages.notices import Notice, Notices
from killswitch.pages.page import Page
from killswitch.stores import keys
from killswitch.trips.switch import Switch
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.decide import Decision

log = logging.getLogger(__name__)

# By the notice's kind, the reason of the findings it is about, and its page.
_OF_FINDINGS: tuple[tuple[str, Reason, Callable[..., Page]], ...] = (
    ("control_too", Reason.CONTROL_TOO, events.control_too),
    ("traffic_split", Reason.TRAFFIC_SPLIT, events.traffic_split),
    ("never_seen", Reason.NEVER_SEEN, events.never_seen),
    ("internal_error", Reason.INTERNAL_ERROR, events.internal_error),
)


class Announcements:
    """Collects the notices of one cycle and sends them together at its end. ``interval`` between ticks, in seconds."""

    def __init__(
        self,
        notices: Notices,
        switch: Switch,
        *,
        known: KnownFlags,
        recipients: Recipients,
        health: StoreHealth,
        interval: float,
    ) -> None:
        self._notices = notices
        self._switch = switch
        self._known = known
        self._recipients = recipients
        self._health = health
        self._interval = interval
        self._unprotected = Unprotected()
        self._revisions: dict[str, tuple[str, int]] = {}
        self._to_send: list[Notice] = []

    def add(self, flag: Flag, kind: str, page: Callable[[], Page], record: Incident | None = None) -> None:
        """The notice of this kind for this generation; its page is built only where it has not been sent."""
        self._add(keys.notice(flag.rollout, flag.generation, kind), page, record)

    def note_findings(self, armed: ArmedRollout, findings: Sequence[Finding], tick: float) -> None:
        """What findings say besides their verdicts, such as that control got worse too."""
        for kind, reason, build in _OF_FINDINGS:
            # paged once a generation: in stage shadow no user needs the rule, and the later stages may need the page
            if armed.flag.stage == SHADOW and reason is Reason.NEVER_SEEN:
                continue
            concerned = [finding for finding in findings if finding.reason is reason]
            if concerned:
                self.add(armed.flag, kind, partial(build, armed.flag, concerned, at=tick, settings=armed.rollout.page))

    def note_blind_rules(
        self, all_armed: Sequence[ArmedRollout], decisions: Mapping[str, Decision], findings: Findings, tick: float
    ) -> None:
        for blind in self._unprotected.blind_rules(all_armed, decisions, findings):
            flag, settings = blind.armed.flag, blind.armed.rollout.page
            lasted = blind.ticks * self._interval
            page = partial(events.rule_blind, flag, blind.finding, lasted=lasted, at=tick, settings=settings)
            self.add(flag, f"rule_blind.{blind.finding.rule}", page)

    def note_flags(self, rollouts: AbstractSet[str], watched: frozenset[str], tick: float) -> None:
        """Armed flags that no replica judges, and flags that cannot be read.

        ``rollouts``: those with rules here; ``watched``: those that some replica judges.
        """
        for flag in self._unprotected.unwatched(self._known.flags.values(), watched | rollouts):
            page = partial(events.unwatched, flag, at=tick, settings=self._recipients.of(flag.rollout))
            self.add(flag, "unwatched", page)
        for rollout, problem in self._known.unreadable.items():
            if rollout not in rollouts:
                continue  # only logged and shown: garbage without a rule file must not delay the pages that matter
            revision = self._revision(rollout, problem)
            if revision:
                settings = self._recipients.of(rollout)
                page = partial(events.flag_unreadable, rollout, problem, at=tick, revision=revision, settings=settings)
                self._add(keys.notice(rollout, 0, f"flag_unreadable.{revision}"), page)

    def note_unreadable(self) -> None:
        """Log the flags that cannot be read now, and forget those that can be read again."""
        bad = self._known.unreadable
        self._revisions = {rollout: known for rollout, known in self._revisions.items() if rollout in bad}
        for rollout, problem in bad.items():
            log.error("%s: %s; routers send its traffic to control", rollout, problem)

    def send(self) -> None:
        """Put the pages of this cycle's notices into the outbox."""
        notices, self._to_send = self._to_send, []
        try:
            self._notices.tell(notices)
        except KillswitchError as error:
            self._health.failed(error, writing=True)

    def forget(self, watched: AbstractSet[str]) -> None:
        """Drop what was sent about rollouts that are neither watched nor have a flag."""
        self._notices.forget(watched | self._known.stored.keys() | self._known.unreadable.keys())

    def _add(self, key: str, page: Callable[[], Page], record: Incident | None = None) -> None:
        # In an outage it is said when the store is back: a cycle must not wait for the store once a notice.
        if not self._health.outage_under_way and not self._notices.has_told(key):
            self._to_send.append(Notice(key, page(), record))

    def _revision(self, rollout: str, problem: str) -> int:
        """Which document is unreadable, asked of the store once for each problem; 0 where it does not answer."""
        known, revision = self._revisions.get(rollout, ("", 0))
        if known != problem or not revision:
            try:
                revision = self._switch.revision(rollout)
            except KillswitchError as error:
                self._health.failed(error)
                return 0
            self._revisions[rollout] = (problem, revision)
        return revision
