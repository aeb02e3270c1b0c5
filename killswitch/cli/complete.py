"""``killswitch complete``: end a plan whose last stage is over, and give its model to everyone."""

from __future__ import annotations

import time
from functools import partial
from typing import Annotated

import typer

from killswitch.cli.after_promotion import arm_watches
from killswitch.cli.by_hand import Hand, by_hand
from killswitch.cli.invocation import (
    ORIGIN,
    RolloutArgument,
    UrlOption,
    fail,
    page_settings,
    person,
    print_problems,
)
from killswitch.cli.plan_view import planned, unchanged, view_with_proof
from killswitch.cli.role_completion import role_part
from killswitch.cli.terminal import one_line
from killswitch.cli.trip import deliver_if_alone
from killswitch.controller.plan_steps import Proof, commit_completion
from killswitch.flags.completion import complete
from killswitch.flags.flag import Flag
from killswitch.flags.transitions import Actor, says_nothing
from killswitch.model import Rollout
from killswitch.pages import plan_events
from killswitch.pages.page import PageKind
from killswitch.plan import Plan
from killswitch.ramps.next_step import Move
from killswitch.ramps.standing import PlanStanding


@by_hand(rules=True, roles=True)
def command(  # long: its options, and what it says before and after
    hand: Hand,
    rollout: RolloutArgument,
    reason: Annotated[str, typer.Option(help="Why; kept in the record and shown on the page.")] = "",
    despite: Annotated[
        str | None,
        typer.Option(help="Why it is completed though its last stage is not over, or its gate does not pass."),
    ] = None,
    without_role: Annotated[
        str | None,
        typer.Option(help="Why its role is not promoted with it, where it compares a role's prod and candidate."),
    ] = None,
    url: UrlOption = None,
) -> None:
    """Complete a rollout whose last stage is over: everyone gets the new model, and the switch is off.

    The flag then names the new model as its control, so routers give it to everyone, also without the store and without
    a controller. Nothing is compared any more. `trip` still sends everyone back to the model from before. `end` is
    something else: it removes the flag, so that everyone gets the control model.

    Where the rule file compares a role's prod and candidate, the role is promoted in the same transaction.

    It is refused while the plan's last stage is not over or a check of its gate does not pass, but for --despite.
    Verdicts come from a controller (--url).
    """
    rollout_rules, plan = planned(hand.settings, rollout)
    stored = hand.switch.required(rollout)
    flag, by = stored.flag, person()
    assert flag is not None
    complete(flag, rollout=rollout, reason=reason, now=time.time(), by=by, actor=Actor.PERSON)  # is it allowed?
    if despite is not None and says_nothing(despite):
        fail("--despite needs a reason")
    if without_role is not None and says_nothing(without_role):
        fail("--without-role needs a reason")
    look = partial(_looked, hand, rollout_rules, plan, flag, url, despite)
    seen = look()[0]
    of_role = role_part(hand, flag, reason=reason or despite or "", without_role=without_role)
    against = "" if seen.step.move is Move.COMPLETE else f", though its plan is not over ({seen.step.sentence})"
    models = f"everyone gets {flag.rollout_canary}, also those who have {flag.control} now"
    models += f", and nothing is compared any more{against}"
    hand.confirm(one_line(f"{rollout}: {models}{f'; {of_role.said}' if of_role.said else ''}."))
    # the answer may have come hours later, and the canary may be bad by now
    seen, proof, progress_at = look()
    of_role = role_part(hand, flag, reason=reason or despite or "", without_role=without_role)
    completed = commit_completion(
        hand.store,
        stored,
        plan,
        seen.gate,
        reason=reason,
        by=by,
        origin=ORIGIN,
        now=time.time(),
        settings=page_settings(hand.settings, rollout),
        proof=None if despite is not None else proof,
        compares=(*(() if despite is not None else unchanged(rollout, progress_at)), *of_role.compares),
        despite=despite,
        more=of_role.writes,
        about_role=of_role.said,
    )
    if completed is None:
        fail(f"{rollout} was changed by someone else just now; look at `killswitch status`, then repeat")
    said = deliver_if_alone(hand, plan_events.page_id(completed, PageKind.ROLLED_OUT))
    if without_role is not None:
        print_problems([f"{rollout}: {of_role.said}"])
    if of_role.promoted is not None:
        arm_watches(hand, of_role.promoted)
    of = f"; {of_role.said}" if of_role.said else ""
    hand.answer(completed, f"{rollout}: complete, everyone gets {completed.control}{of}; {said}")


def _looked(
    hand: Hand, rules: Rollout, plan: Plan, flag: Flag, url: str | None, despite: str | None
) -> tuple[PlanStanding, Proof | None, int]:
    """As `view_with_proof`, now. Ends the command where only --despite completes it."""
    seen, proof, progress_at = view_with_proof(hand.store, hand.settings, rules, plan, flag, url=url)
    if despite is None and seen.step.move is not Move.COMPLETE:
        how = f'`killswitch plan {flag.rollout}` shows what is missing, and --despite "why" completes it anyway'
        fail(one_line(f"{flag.rollout} is not over: {seen.step.sentence}; {how}"))
    return seen, proof, progress_at
