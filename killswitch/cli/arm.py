"""``killswitch arm``: let a canary in."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from killswitch import flag as flags
from killswitch.cli.invocation import (
    JsonOption,
    RolloutArgument,
    RulesOption,
    SettingsOption,
    StoreOption,
    YesOption,
    confirm,
    opened,
    rollout_of,
    say,
    show,
)

PercentOption = Annotated[float | None, typer.Option(help="Share of users in the canary, 0 to 100.")]
_KNOWN = ", ".join(f"{name} ({share:g}%)" for name, share in flags.STAGES.items())
StageOption = Annotated[str | None, typer.Option(help=f"{_KNOWN}, or your own name with --percent.")]


def command(
    rollout: RolloutArgument,
    percent: PercentOption = None,
    stage: StageOption = None,
    control: Annotated[str | None, typer.Option(help="Control model.", show_default="from the rule file")] = None,
    canary: Annotated[str | None, typer.Option(help="Canary model.", show_default="from the rule file")] = None,
    salt: Annotated[str, typer.Option(help="Draws other users into the canary.")] = "",
    store: StoreOption = None,
    rules: RulesOption = None,
    settings: SettingsOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Arm a rollout: the canary gets its share of users, and the kill switch watches it."""
    with opened(store, settings, rules) as (loaded, _, switch):
        stage, percent = flags.resolve_stage(stage, percent)
        file = rollout_of(loaded, rollout, required=control is None or canary is None)
        control = control or (file.control if file else "")
        canary = canary or (file.canary if file else "")
        if stage == flags.AA:
            change = f"{percent:g}% of users become the canary cohort, and still get {control}"
        else:
            change = f"{percent:g}% of users will get {canary} instead of {control}"
        confirm(f"{rollout}: {change} (stage {stage}).", yes=yes)
        armed = switch.arm(rollout, control=control, canary=canary, percent=percent, stage=stage, salt=salt)
        show(
            json.loads(flags.to_document(armed)),
            as_json=as_json,
            otherwise=lambda: say(f"{rollout}: armed, generation {armed.generation}, {percent:g}% canary"),
        )
