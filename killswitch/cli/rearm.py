"""``killswitch rearm``: the one way out of tripped."""

from __future__ import annotations

import json

from killswitch import flag as flags
from killswitch import message
from killswitch.cli.arm import PercentOption, StageOption
from killswitch.cli.invocation import (
    JsonOption,
    ReasonOption,
    RolloutArgument,
    RulesOption,
    SettingsOption,
    StoreOption,
    YesOption,
    confirm,
    opened,
    page_settings,
    person,
    say,
    show,
)
from killswitch.cli.trip import deliver_if_alone


def command(
    rollout: RolloutArgument,
    reason: ReasonOption,
    percent: PercentOption = None,
    stage: StageOption = None,
    store: StoreOption = None,
    rules: RulesOption = None,
    settings: SettingsOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let a tripped canary back in, with a reason; to ramp_1 unless told otherwise."""
    with opened(store, settings, rules) as (loaded, opened_store, switch):
        if stage is None and percent is None:
            stage = "ramp_1"
        stage, percent = flags.resolve_stage(stage, percent)
        confirm(
            f"{rollout}: {percent:g}% of users will get the canary again (stage {stage}), because: {reason}", yes=yes
        )
        page_as = page_settings(loaded, rollout)
        armed = switch.rearm(
            rollout,
            reason=reason,
            percent=percent,
            stage=stage,
            page=lambda flag: message.re_armed(flag, reason=reason, by=person(), settings=page_as),
        )
        page = message.re_armed(armed, reason=reason, by=person(), settings=page_as)
        said = deliver_if_alone(loaded, opened_store, page.id)
        show(
            json.loads(flags.to_document(armed)),
            as_json=as_json,
            otherwise=lambda: say(
                f"{rollout}: armed again, generation {armed.generation}, {percent:g}% canary; {said}"
            ),
        )
