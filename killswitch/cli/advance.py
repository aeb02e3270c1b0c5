"""``killswitch advance``: take the next step of a plan, if the gate passes or a person says why it is taken anyway."""

from __future__ import annotations

import time
from functools import partial
from typing import Annotated

import typer

from killswitch.cli.armed_pairs import pair_to_raise
from killswitch.cli.by_hand import Hand, by_hand
from killswitch.cli.invocation import ORIGIN, RolloutArgument, UrlOption, fail, page_settings, person
from killswitch.cli.plan_view import planned, unchanged, view_with_proof
from killswitch.cli.terminal import one_line
from killswitch.cli.trip import deliver_if_alone
from killswitch.controller.plan_steps import Proof, commit_step
from killswitch.flags.flag import Flag
from killswitch.flags.transitions import Actor, says_nothing
from killswitch.model import Rollout
from killswitch.pages import plan_events
from killswitch.pages.page import PageKind
from killswitch.plan import Plan, PlanStage
from killswitch.ramps.next_step import Move
from killswitch.ramps.standing import PlanStanding


@by_hand(rules=True, roles=True)
def command(  # long: its options, and what it says before and after
    hand: Hand,
    rollout: RolloutArgument,
    to: Annotated[
        str | None, typer.Option(help="A later stage of the plan.", show_default="the next stage of the plan")
    ] = None,
    despite: Annotated[
        str | None,
        typer.Option(help="Why it goes on though the gate does not pass, or skips a stage; kept in the record."),
    ] = None,
    url: UrlOption = None,
) -> None:
    """Take the next step of a rollout's plan. It is refused while a check of the gate does not pass.

    With --despite, it is taken anyway: the reason, and every check as it was, are kept in the record and shown on the
    page. Verdicts come from a controller (--url).
    """
    if despite is not None and says_nothing(despite):
        fail("--despite needs a reason")
    rollout_rules, plan = planned(hand.settings, rollout)
    stored = hand.switch.required(rollout)
    flag = stored.flag
    assert flag is not None
    look = partial(_looked, hand, rollout_rules, plan, flag, url, to, despite)
    seen = look()[0]
    stage = _wanted(seen, to)
    pair_to_raise(hand, flag, stage.stage, stage.percent)  # is it allowed?
    against = "" if _passes(seen) and not _skips(seen, stage) else f", against its gate ({seen.step.sentence})"
    hand.warn_if_unwatched()
    hand.confirm(f"{rollout}: from {flag.stage} to {stage.stage}, {stage.percent:g}%{against}.")
    # the answer may have come hours later, and the canary may be bad by now
    seen, proof, progress_at = look()
    rests_on = pair_to_raise(hand, flag, stage.stage, stage.percent)
    pinned = () if rests_on is None else rests_on.compares
    raised = commit_step(
        hand.store,
        stored,
        plan,
        stage,
        seen.gate,
        why=seen.step.sentence,
        by=person(),
        origin=ORIGIN,
        actor=Actor.PERSON,
        now=time.time(),
        settings=page_settings(hand.settings, rollout),
        proof=None if despite is not None else proof,
        compares=pinned if despite is not None else (*unchanged(rollout, progress_at), *pinned),
        despite=despite,
        pair=None if rests_on is None else rests_on.pair,
    )
    if raised is None:
        fail(f"{rollout} was changed by someone else just now; look at `killswitch status`, then repeat")
    said = deliver_if_alone(hand, plan_events.page_id(raised, PageKind.ADVANCED))
    hand.answer(raised, f"{rollout}: stage {raised.stage}, {raised.canary_percent:g}% canary; {said}")


def _looked(
    hand: Hand, rules: Rollout, plan: Plan, flag: Flag, url: str | None, to: str | None, despite: str | None
) -> tuple[PlanStanding, Proof | None, int]:
    """As `view_with_proof`, now. Ends the command where only --despite goes on."""
    seen, proof, progress_at = view_with_proof(hand.store, hand.settings, rules, plan, flag, url=url)
    stage = _wanted(seen, to)
    if despite is None and not _passes(seen):
        ready = f"`killswitch ready {flag.rollout}` shows every check"
        fail(one_line(f"{flag.rollout} may not go on: {seen.step.sentence}; {ready}"))
    if despite is None and _skips(seen, stage):
        fail(f"{stage.stage} is not the next stage; to skip ahead add --despite with the reason")
    return seen, proof, progress_at


def _passes(seen: PlanStanding) -> bool:
    return seen.step.move in (Move.READY, Move.PROPOSE, Move.ADVANCE)


def _skips(seen: PlanStanding, stage: PlanStage) -> bool:
    return seen.step.to is None or stage.stage != seen.step.to.stage


def _wanted(seen: PlanStanding, to: str | None) -> PlanStage:
    """The stage that is asked for: a later one of the plan than the rollout is in."""
    stages = {stage.stage: place for place, stage in enumerate(seen.plan.stages)}
    here = stages.get(seen.flag.stage)
    if to is not None and to not in stages:
        fail(f"{to} is no stage of the plan; it has {', '.join(stages)}")
    if to is not None:
        place = stages[to]
    elif here is None:
        fail(f"stage {seen.flag.stage} is not in the plan; name a stage with --to")
    else:
        place = here + 1
    if place >= len(seen.plan.stages):
        fail(f"{seen.flag.stage} is the last stage of the plan")
    if here is not None and place <= here:
        fail(f"{to} is not after {seen.flag.stage}; to go down use `killswitch stage {seen.flag.rollout} {to}`")
    return seen.plan.stages[place]
