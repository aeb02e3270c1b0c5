"""``killswitch pin``: keep a canary at 0 % whatever else is typed or planned, until a person lifts the pin."""

from __future__ import annotations

import typer

from killswitch.cli.by_hand import Hand, by_hand
from killswitch.cli.invocation import EXIT_REFUSED, ReasonOption, RolloutArgument, page_settings
from killswitch.cli.terminal import one_line
from killswitch.cli.trip import deliver_if_alone, request_by_hand
from killswitch.errors import NoFlag
from killswitch.flags.pinning import stopped_in_words
from killswitch.flags.transitions import State
from killswitch.pages import pin_events
from killswitch.trips.request import TripOutcome


@by_hand(rules=True)
def command(hand: Hand, rollout: RolloutArgument, reason: ReasonOption) -> None:
    """Send everyone to the control model, and refuse every arm, re-arm and stage until someone unpins it; and page."""
    flag = hand.switch.stored(rollout).flag
    if flag is None:
        raise NoFlag(rollout, hand.switch.everything()[0])
    now = f"now {flag.canary_percent:g}% get {flag.canary}" if flag.armed else f"it is {flag.state}"
    hand.confirm(f"{rollout}: all users will get {flag.control} until someone unpins it ({now}), because: {reason}")
    page_as = page_settings(hand.settings, rollout)
    result = hand.switch.pin(request_by_hand(rollout, reason, page_as))
    after = hand.switch.stored(rollout).flag
    if result.outcome is TripOutcome.ALREADY_TRIPPED and after is not None and after.state is State.TRIPPED:
        # a controller has tripped it a moment ago: what is asked for is more than a trip
        result = hand.switch.pin(request_by_hand(rollout, reason, page_as))
        after = hand.switch.stored(rollout).flag
    if result.outcome is not TripOutcome.TRIPPED or after is None or after.pin is None:
        said = f"{result.outcome}, not pinned"
        if after is not None and after.pin is not None:
            said = f"{stopped_in_words(after)}; it was pinned already, and nothing was changed"
        hand.answer(after or {"rollout": rollout, "state": "absent"}, one_line(f"{rollout}: {said}"))
        raise typer.Exit(EXIT_REFUSED)
    page_id = result.incident if result.revision else pin_events.pinned(after, settings=page_as).id
    hand.answer(after, f"{rollout}: pinned at 0%; {deliver_if_alone(hand, page_id)}")
