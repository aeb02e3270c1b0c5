"""``killswitch end``: a rollout is over."""

from __future__ import annotations

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
    store: StoreOption = None,
    settings: SettingsOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """End a rollout: its flag is removed, and routers send everybody to control."""
    with opened(store, settings) as (_, _, switch):
        confirm(f"{rollout}: its flag is removed; everybody gets the control model. Nobody is paged.", yes=yes)
        switch.end(rollout)
        show(
            {"rollout": rollout, "state": "absent"},
            as_json=as_json,
            otherwise=lambda: say(f"{rollout}: ended"),
        )
