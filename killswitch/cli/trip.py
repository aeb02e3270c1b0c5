"""``killswitch trip``: a person trips a rollout. It works without the daemon, and pages too."""

from __future__ import annotations

import shlex
import sys
import time

from killswitch import __version__
from killswitch.cli.by_hand import Hand, by_hand, living_controllers
from killswitch.cli.invocation import ReasonOption, RolloutArgument, page_settings, person, print_problems
from killswitch.daemon.settings import Settings, without_secrets
from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, BadSettings, KillswitchError, NoFlag, OutcomeUnknown, Unavailable
from killswitch.flags.flag import SHADOW, Flag
from killswitch.flags.incident import IncidentDraft
from killswitch.flags.transitions import Actor
from killswitch.model import PageSettings
from killswitch.stores import keys
from killswitch.stores.url import StoreUrl
from killswitch.trips.request import TripOutcome, TripRequest, TripResult
from killswitch.wording import duration_in_words

DELIVER_WITHIN = 30.0


@by_hand(rules=True)
def command(hand: Hand, rollout: RolloutArgument, reason: ReasonOption) -> None:
    """Send everyone back to the control model now, and page."""
    try:
        result = _tripped(hand, rollout, reason)
    except (Unavailable, AccessDenied, OutcomeUnknown):
        print_problems(without_the_store(hand.settings, rollout), style="yellow")
        raise
    # the flip is in the store: no later failure may look as if it were not
    if result.outcome is TripOutcome.TRIPPED:
        said = f"tripped, all traffic to control; {deliver_if_alone(hand, result.incident)}"
    else:
        said = f"{result.outcome.value} (incident {result.incident}); nothing was changed"
    document: Flag | dict[str, str]
    try:
        document = hand.switch.stored(rollout).flag or {"rollout": rollout, "state": "absent"}
    except KillswitchError:
        document = {"rollout": rollout, "state": "tripped"}
    hand.answer(document, f"{rollout}: {said}")


def _tripped(hand: Hand, rollout: str, reason: str) -> TripResult:
    flag = hand.switch.stored(rollout).flag
    if flag is None:
        raise NoFlag(rollout, hand.switch.everything()[0])
    if flag.completion is not None:
        change = f"all users will get {flag.completion.control_before} again (now all have {flag.control})"
        hand.confirm(f"{rollout}: {change}, because: {reason}")
    elif flag.armed:
        change = f"all users will get {flag.control} (now {flag.canary_percent:g}% get {flag.canary})"
        if flag.stage == SHADOW:
            change = f"no more requests will be shadowed (now {flag.shadow_share}); all users keep {flag.control}"
        hand.confirm(f"{rollout}: {change}, because: {reason}")
    return hand.switch.trip(request_by_hand(rollout, reason, page_settings(hand.settings, rollout)))


def without_the_store(settings: Settings, rollout: str) -> list[str]:
    """What to do by hand if the flag store does not take the trip: the exact commands, the surest first."""
    from killswitch.router.failsafe import StalePolicy  # noqa: PLC0415  needed only if the store is down

    where = StoreUrl.parse(settings.store)
    key = keys.flag(rollout)
    grace = StalePolicy()
    lines = [
        f"The trip may not be in the flag store. If {without_secrets(settings.store)} is the wrong one, use --store.",
        "Otherwise do this by hand, in this order:",
    ]
    if where.kind == "etcd":
        scheme = "https" if where.tls else "http"
        endpoints = ",".join(f"{scheme}://{endpoint}" for endpoint in where.endpoints)
        options = "".join(
            f" {option}={value}"
            for option, value in (
                ("--cacert", settings.store_ca_file),
                ("--cert", settings.store_cert_file),
                ("--key", settings.store_key_file),
                ("--user", settings.store_user),
            )
            if value is not None
        )
        lines.append(
            f"  1. from a machine that reaches etcd: etcdctl --endpoints={endpoints}{options} del {shlex.quote(key)}"
            " (no flag means control for everyone; afterwards it can be armed again)"
        )
    elif where.kind == "sqlite":
        lines.append(
            f"  1. if the file {where.path} cannot be opened, fix its permissions or its disk, or move it away:"
            " routers that cannot read it go to control"
        )
    by_then = duration_in_words(grace.stale_grace + grace.stale_jitter)
    lines += [
        f"  2. wait {by_then}: routers that cannot read the store go to control by then, or after their `stale_grace`",
        "  3. start the service with only the control model, without the router",
        f"  then check: killswitch status {rollout}",
    ]
    return lines


def request_by_hand(rollout: str, reason: str, page_as: PageSettings) -> TripRequest:
    """A trip of whatever generation is armed, by the person at this terminal."""
    now = time.time()
    draft = IncidentDraft(
        rollout=rollout,
        automatic=False,
        by=person(),
        reason=reason,
        rules=(),
        findings=(),
        decided_at=now,
        version=__version__,
    )
    return TripRequest(draft, generation=None, actor=Actor.PERSON, at=now, page=page_as)


def deliver_if_alone(hand: Hand, page_id: str) -> str:
    """Deliver a page of the outbox if no controller is alive to do so. Returns who delivers it, in words."""
    alive = living_controllers(hand.store)
    if alive:
        return "a controller delivers the page"
    known = "no controller is alive" if alive == 0 else "whether a controller is alive is UNKNOWN"
    from killswitch.daemon.wiring import build_pagers  # noqa: PLC0415  after the flip, if no controller pages
    from killswitch.pages.delivery import PageDelivery  # noqa: PLC0415

    try:
        # with --json standard output holds the document alone
        pagers, fallback = build_pagers(hand.settings, console=sys.stderr if hand.as_json else None)
    except BadSettings as error:
        return f"{known}, and this command cannot page: {error}; the page stays in the outbox for the next controller"
    delivery = PageDelivery(hand.store, pagers, owner=person(), fallback=fallback)
    try:
        delivered = delivery.deliver_now([page_id], Deadline(DELIVER_WITHIN)).get(page_id)
    finally:
        delivery.close()
    if delivered is not None and delivered.reached:
        return f"{known}, so this command paged {', '.join(delivered.reached)}"
    return f"{known}, and no receiver took the page yet; it stays in the outbox for the next controller"
