"""``killswitch trip``: a person pulls the switch. Works with the daemon down, page included."""

from __future__ import annotations

import time

from killswitch import __version__, message
from killswitch.cli.by_hand import Hand, by_hand
from killswitch.cli.invocation import ReasonOption, RolloutArgument, page_settings, person
from killswitch.deadline import Deadline
from killswitch.errors import KillswitchError, UnknownRollout
from killswitch.flag import Actor, Flag
from killswitch.incident import Incident
from killswitch.message import Page
from killswitch.model import PageSettings
from killswitch.settings import Settings
from killswitch.stores import Store, keys
from killswitch.switch import TripOutcome, TripRequest

DELIVER_WITHIN = 30.0


@by_hand(rules=True)
def command(hand: Hand, rollout: RolloutArgument, reason: ReasonOption) -> None:
    """Send everybody back to the control model, now, and page."""
    flag = hand.switch.standing(rollout).flag
    if flag is None:
        raise UnknownRollout(rollout, hand.switch.everything()[0])
    if flag.armed:
        hand.confirm(
            f"{rollout}: all users get {flag.control} from now on (now {flag.canary_percent:g}% get {flag.canary}), "
            f"because: {reason}"
        )
    result = hand.switch.trip(_request(rollout, reason, page_settings(hand.settings, rollout)))
    if result.outcome is TripOutcome.TRIPPED:
        said = f"tripped, all traffic to control; {deliver_if_alone(hand.settings, hand.store, result.incident)}"
    else:
        said = f"{result.outcome.value} (incident {result.incident}); nothing was changed"
    now = hand.switch.standing(rollout).flag
    hand.answer(now if now is not None else {"rollout": rollout, "state": "absent"}, f"{rollout}: {said}")


def _request(rollout: str, reason: str, page_as: PageSettings) -> TripRequest:
    now = time.time()

    def documents(flag: Flag, _incident: str) -> tuple[Incident, Page]:
        incident = Incident(
            rollout=rollout,
            generation=flag.generation,
            automatic=False,
            by=person(),
            reason=reason,
            rules=(),
            findings=(),
            decided_at=now,
            control=flag.control,
            canary=flag.rollout_canary,
            percent_before=flag.canary_percent,
            stage_before=flag.stage,
            version=__version__,
        )
        return incident, message.tripped(incident, page_as)

    return TripRequest(
        rollout=rollout,
        generation=None,
        reason=reason,
        rules=(),
        actor=Actor.PERSON,
        by=person(),
        at=now,
        documents=documents,
    )


def deliver_if_alone(settings: Settings, store: Store, page_id: str) -> str:
    """Deliver a page that stands in the outbox if no controller is alive to do it; says who does."""
    try:
        alive = store.list(keys.CONTROLLERS).items
    except KillswitchError:
        alive = ()
    if alive:
        return "a controller delivers the page"
    from killswitch.assembly import build_pagers  # noqa: PLC0415  after the flip, and only where nobody else pages
    from killswitch.pager import PageDelivery  # noqa: PLC0415

    pagers, fallback = build_pagers(settings)
    delivery = PageDelivery(store, pagers, owner=person(), fallback=fallback)
    try:
        delivered = delivery.deliver_now([page_id], Deadline(DELIVER_WITHIN)).get(page_id)
    finally:
        delivery.close()
    if delivered is not None and delivered.reached:
        return f"no controller is alive, so this command paged {', '.join(delivered.reached)}"
    return "no controller is alive and no receiver took the page yet; it stays in the outbox for the next controller"
