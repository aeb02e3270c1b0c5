"""Refuses a name that no rollout has, where a rollout without anything to show would look the same."""

from __future__ import annotations

from killswitch.daemon.settings import Settings
from killswitch.drill.keeping import kept_drills
from killswitch.errors import BadRules, UnknownRollout
from killswitch.stores import Store
from killswitch.trips.flag_history import history_of
from killswitch.trips.incidents import incidents_of
from killswitch.trips.switch import Switch


def check_known(settings: Settings, store: Store, switch: Switch, rollout: str) -> None:
    """Raises UnknownRollout unless a rule file, a flag, an incident, a history or a drill has this name.

    Rule files that cannot be read name no rollout. Raises what reading the store raises.
    """
    flags, broken = switch.everything()
    known = {*flags, *broken, *_of_rule_files(settings)}
    if rollout in known or incidents_of(store, rollout) or history_of(store, rollout) or kept_drills(store, rollout):
        return
    raise UnknownRollout(rollout, known)


def _of_rule_files(settings: Settings) -> set[str]:
    from killswitch.rules.loading import load_folder  # noqa: PLC0415  only where nothing was found

    try:
        return {one.name for one in load_folder(settings.rules).rollouts}
    except BadRules:
        return set()
