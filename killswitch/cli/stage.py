"""``killswitch stage``: move an armed rollout's share."""

from __future__ import annotations

import json

from killswitch import flag as flags
from killswitch.cli.arm import PercentOption, StageOption
from killswitch.cli.invocation import (
    JsonOption,
    RolloutArgument,
    SettingsOption,
    StoreOption,
    YesOption,
    confirm,
    opened,
    say,
    show,
)


def command(
    rollout: RolloutArgument,
    percent: PercentOption = None,
    stage: StageOption = None,
    store: StoreOption = None,
    settings: SettingsOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Raise or lower the canary's share of an armed rollout."""
    with opened(store, settings) as (_, _, switch):
        stage, percent = flags.resolve_stage(stage, percent)
        standing = switch.standing(rollout)
        now = f"{standing.flag.canary_percent:g}%" if standing.flag else "nothing"
        confirm(f"{rollout}: the canary's share goes from {now} to {percent:g}% (stage {stage}).", yes=yes)
        changed = switch.set_stage(rollout, percent=percent, stage=stage)
        show(
            json.loads(flags.to_document(changed)),
            as_json=as_json,
            otherwise=lambda: say(f"{rollout}: stage {stage}, {changed.canary_percent:g}% canary"),
        )
