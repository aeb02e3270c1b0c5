"""Whether the flag store answers, and the pages about it that cannot go through the outbox."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from killswitch.controller.known_flags import KnownFlags
from killswitch.controller.recipients import Recipients
from killswitch.errors import BadTransaction, NameTaken
from killswitch.fleet.session import Session
from killswitch.fleet.store_outage import StoreOutage
from killswitch.model import Rollout
from killswitch.pages import events
from killswitch.pages.page import Page
from killswitch.status.self_metrics import SelfMetrics

log = logging.getLogger(__name__)


class StoreHealth:
    """Takes in every answer and every failure of the store. Any thread may call it.

    ``outage`` decides when an outage is paged; ``send`` delivers a page without the flag store; ``rollouts`` gives
    the rule files in force; ``wall`` gives Unix seconds.
    """

    def __init__(
        self,
        outage: StoreOutage,
        session: Session,
        *,
        controller_id: str,
        known: KnownFlags,
        recipients: Recipients,
        rollouts: Callable[[], Mapping[str, Rollout]],
        send: Callable[[Page], None],
        metrics: SelfMetrics,
        wall: Callable[[], float],
    ) -> None:
        self._outage = outage
        self._session = session
        self._id = controller_id
        self._known = known
        self._recipients = recipients
        self._rollouts = rollouts
        self._send = send
        self._metrics = metrics
        self._wall = wall
        self._sent: set[str] = set()

    @property
    def outage_under_way(self) -> bool:
        return self._outage.under_way

    def failed(self, error: Exception, *, writing: bool = False, rollout: str = "") -> None:
        """A call failed: the store is down, no store takes the transaction, or the name is another process's.

        ``writing``: a call that was to change something; ``rollout``: the one it was about, where it was about one.
        """
        if isinstance(error, BadTransaction):
            self._page_directly(events.transaction_refused, str(error), rollout)
        elif isinstance(error, NameTaken):
            if self._session.taken:
                self._page_directly(events.name_taken, str(error))
            log.error("%s", error)
        else:
            self._metrics.store_up.set(0)
            self._outage.failed(str(error), writing=writing)

    def answered(self, *, writing: bool = False) -> None:
        """A call succeeded; ``writing``: one that changed something."""
        if self._outage.under_way:
            self._outage.answered(list(self._known.flags.values()), writing=writing)
        self._metrics.store_up.set(not self._outage.under_way)

    def check(self, trips: Mapping[str, str]) -> None:
        """Page the outage if it is time to. ``trips``: by rollout, why it is to trip and has not yet."""
        if not self._outage.is_due(waiting=trips):
            return
        self._outage.check(
            sorted(self._known.stored) or sorted(self._rollouts()),
            [f"{name}: {reason}" for name, reason in sorted(trips.items())],
            concerned=self._recipients.all(),
            in_danger=[self._recipients.of(name) for name in sorted(trips)],
        )

    def _page_directly(self, build: Callable[..., Page], why: str, rollout: str = "") -> None:
        """Without the store, and once a day for one fault of one process."""
        settings = self._recipients.of(*([rollout] if rollout else []))
        page = build(why, rollout=rollout, controller=self._id, at=self._wall(), settings=settings)
        if page.id not in self._sent:
            self._sent.add(page.id)
            self._send(page)
