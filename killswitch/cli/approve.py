"""``killswitch approve``: agree that a rollout leaves its stage, where the plan asks for it."""

from __future__ import annotations

from typing import Annotated

import typer

from killswitch.cli.by_hand import Hand, by_hand
from killswitch.cli.invocation import RolloutArgument, fail
from killswitch.cli.plan_view import planned


@by_hand(rules=True)
def command(
    hand: Hand,
    rollout: RolloutArgument,
    name: Annotated[str, typer.Option("--as", help="A name of the stage's `approve`.", show_default=False)],
) -> None:
    """Approve that a rollout leaves the stage that it is in, for example `--as @llm-leads`.

    The approval is for this visit to the stage alone. Who typed it is kept with it; that the person belongs to the
    group is not checked.
    """
    _, plan = planned(hand.settings, rollout)
    stored = hand.switch.required(rollout)
    flag = stored.flag
    assert flag is not None
    stage = next((stage for stage in plan.stages if stage.stage == flag.stage), None)
    asked = () if stage is None else stage.approve
    if name not in asked:
        known = ", ".join(asked) or "no one"
        later = next((stage.stage for stage in plan.stages if name in stage.approve), None)
        fix = f"; {later} asks for it: repeat this once the rollout is there" if later is not None else ""
        fail(f"stage {flag.stage} of {rollout} asks for the approval of {known}, not of {name}{fix}")

    def agree() -> None:
        hand.confirm(f"{rollout}: {name} approves that it leaves {flag.stage} ({flag.canary_percent:g}%).")

    given = hand.holding.approve(rollout, stored, name=name, agree=agree)
    document = {"rollout": rollout, "stage": flag.stage, "approval": name, "by": given.by}
    hand.answer(document, f"{rollout}: approved as {name}, for stage {flag.stage}")
