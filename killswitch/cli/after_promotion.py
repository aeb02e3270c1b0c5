"""Right after a promotion: the rollouts that watch it are armed, as the role's file says."""

from __future__ import annotations

from killswitch.cli.armed_pairs import pair_to_arm
from killswitch.cli.by_hand import Hand
from killswitch.cli.invocation import print_problems, rollout_of, say
from killswitch.cli.role_settings import role_config
from killswitch.errors import BadRules, KillswitchError, Refused
from killswitch.flags import flag as flags
from killswitch.flags.flag import Flag
from killswitch.flags.shadow_share import NO_SHADOW, shadow_share
from killswitch.flags.transitions import STOPPED
from killswitch.registry.raising import slots_of
from killswitch.registry.stored_roles import StoredRoles
from killswitch.roles.pairs import PairKind
from killswitch.roles.role import Role
from killswitch.trips.armed_pairs import stored_pair

_ATTEMPTS = 3  # a trip or a step of an earlier watch may come between reading its flag and replacing it


def arm_watches(hand: Hand, role: Role) -> bool:
    """Arm the rollouts that the role's file names to watch its new prod; whether all of them are armed.

    Never raises what can go wrong: the promotion stands. What failed is said, with the command that does it.
    """
    try:
        config = role_config(hand.settings, role.name)
    except KillswitchError as error:
        why = "; ".join(error.problems[:3]) if isinstance(error, BadRules) else str(error)
        return _loudly(role, None, why, f"fix the role file, then `killswitch role watch {role.name}`")
    watch = None if config is None else config.watch
    if watch is None:
        return True
    if role.previous is None:
        return True  # the first model of a role: there is none to compare with
    wanted = [(watch.rollout, PairKind.WATCH, watch.percent)]
    if watch.shadow_rollout is not None:
        wanted.append((watch.shadow_rollout, PairKind.SHADOW_WATCH, watch.shadow_percent))
    done = True
    for rollout, kind, percent in wanted:
        try:
            armed = _armed(hand, role, rollout, kind, percent)
        except KillswitchError as error:
            why = "; ".join(error.problems[:3]) if isinstance(error, BadRules) else str(error)
            done = _loudly(role, rollout, why, f"`killswitch role watch {role.name}` tries again")
        else:
            share = f"{armed.canary_percent:g}% of users" if kind is PairKind.WATCH else "requests are shadowed"
            said = f"{rollout}: armed, generation {armed.generation}, {share}"
            if not hand.as_json:
                say(f"{said}; it watches {role.prod} against {role.previous}")
    return done


def warn_of_lost_rollback(hand: Hand, flag: Flag) -> None:
    """Before a tripped watch is ended: its trip rolls the role back only while its flag is there."""
    if flag.state not in STOPPED:
        return
    try:
        pair = stored_pair(hand.store, flag.rollout, flag.generation)
        role = None if pair is None else StoredRoles(hand.store).stored(pair.role).role
    except KillswitchError:
        return  # ending must stay possible
    if pair is None or role is None or pair.kind is not PairKind.WATCH:
        return
    if (flag.control, flag.rollout_canary) == (role.previous, role.prod):
        said = f"role {role.name} is not rolled back yet, and without this flag no controller does it"
        print_problems([f'{said}; wait some seconds, or use `killswitch role rollback {role.name} --reason "why"`'])


def _armed(hand: Hand, role: Role, rollout: str, kind: PairKind, percent: float) -> Flag:
    file = rollout_of(hand.settings, rollout, required=True)
    slots = slots_of(file)
    if slots is None or (slots.role, slots.kind) != (role.name, kind):
        control, canary = ("previous", "prod") if kind is PairKind.WATCH else ("prod", "previous")
        where = "" if file is None else f"{file.file}: "
        raise Refused(
            f"{where}{rollout} is no watch of role {role.name}; write `control: role:{role.name}.{control}` and "
            f"`canary: role:{role.name}.{canary}` into its rule file"
        )
    shadow = NO_SHADOW
    if kind is PairKind.WATCH:
        stage, share = flags.resolve_stage(None, percent)
    else:
        stage, share, shadow = flags.SHADOW, 0.0, shadow_share(percent, {})
    for attempt in range(_ATTEMPTS):
        armable = pair_to_arm(hand, rollout, slots, stage, share)
        if (armable.pair.control, armable.pair.canary) not in {(role.previous, role.prod), (role.prod, role.previous)}:
            raise Refused(f"role {role.name} has changed again since; look at `killswitch role show {role.name}`")
        try:
            return hand.switch.arm(
                rollout,
                control=armable.pair.control,
                canary=armable.pair.canary,
                percent=share,
                stage=stage,
                salt="",
                shadow=shadow,
                pair=armable.pair,
                also=armable.compares,
                replaces=True,
            )
        except Refused:
            if attempt + 1 == _ATTEMPTS:
                raise
    raise AssertionError


def _loudly(role: Role, rollout: str | None, why: str, fix: str) -> bool:
    what = "no rollout watches it" if rollout is None else f"{rollout} is NOT armed, so nothing watches it there"
    print_problems([f"role {role.name} is promoted, but {what}: {why}", f"fix: {fix}"])
    return False
