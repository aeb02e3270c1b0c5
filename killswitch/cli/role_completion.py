"""What completing a rollout of prod and candidate does to their role: it is promoted, or loudly not."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from killswitch.cli.armed_pairs import armed_pair
from killswitch.cli.by_hand import Hand
from killswitch.cli.invocation import fail, page_settings, person, print_problems
from killswitch.cli.role_settings import dates_of, role_config
from killswitch.errors import BadDocument, KillswitchError, Refused
from killswitch.flags.flag import Flag
from killswitch.registry.completing import completing
from killswitch.registry.evidence import evidence_of
from killswitch.registry.stored_roles import StoredRoles
from killswitch.roles.armed_pair import ArmedPair, gives_users
from killswitch.roles.role import Role
from killswitch.stores import Compare, Put
from killswitch.wording import plain


@dataclass(frozen=True, slots=True)
class RolePart:
    """What the transaction of a completion compares and writes for a role, and what is ``said`` of it on its page.

    ``promoted``: the role after it; None where none is promoted.
    """

    compares: Sequence[Compare] = ()
    writes: Sequence[Put] = ()
    said: str = ""
    promoted: Role | None = None


def role_part(hand: Hand, flag: Flag, *, reason: str, without_role: str | None) -> RolePart:
    """Ends the command where the role cannot be promoted, unless ``without_role`` says why it is not to be."""
    if without_role is not None:
        return _without(hand, flag, without_role)
    now = time.time()
    try:
        pair = armed_pair(hand, flag)
        if pair is None or not pair.is_candidate:
            return RolePart()
        config = role_config(hand.settings, pair.role)
        made = completing(
            hand.store,
            flag,
            pair,
            reason=reason or f"{flag.rollout} is complete",
            by=person(),
            config=config,
            now=now,
            settings=page_settings(hand.settings, flag.rollout),
            dates=dates_of(config),
        )
    except Refused as error:
        fail(f'{error}; --without-role "why" completes {flag.rollout} and leaves its role as it is')
    if config is None and made.entry.gate_run is not None:
        fail(
            f"there is no role file of {pair.role} in {hand.settings.roles}, so no one can say whether the gate run "
            "has its prompt, schema and bars; name the folder with --roles"
        )
    said = f"role {made.role.name} is promoted with it: prod is {plain(str(made.role.prod), 80)}"
    return RolePart(made.compares, made.writes, said, made.role)


def _without(hand: Hand, flag: Flag, why: str) -> RolePart:
    """No user may get a candidate in this way who would not get it in another."""
    pair = _pair_if_readable(hand, flag)
    if pair is not None and not pair.is_candidate:
        fail(f"{flag.rollout} does not promote its role, so --without-role says nothing; leave it out")
    if pair is not None:
        _check_evidence(hand, flag, pair)
    elif not gives_users(flag.stage, flag.canary_percent):
        fail(f"{flag.rollout}: no user has had {flag.rollout_canary}, and it rests on no gate and no waiver")
    role = "its role" if pair is None else f"role {pair.role}"
    return RolePart(said=f"{role} is NOT promoted, because {plain(why, 500)}: services that ask for it keep its prod")


def _check_evidence(hand: Hand, flag: Flag, pair: ArmedPair) -> None:
    """Ends the command where nothing lets everyone have the canary, whatever the role's slots hold by now.

    What cannot be read holds no one whose users have had it: the registry may be what is broken.
    """
    armed_at = None if pair.gate_run is None else pair.at
    try:
        config = role_config(hand.settings, pair.role)
        role = StoredRoles(hand.store).required(pair.role).role
        assert role is not None
        armed = replace(role, prod=pair.control, candidate=pair.canary)
        evidence_of(hand.store, armed, config=config, now=time.time(), dates=dates_of(config), armed_at=armed_at)
    except KillswitchError as error:
        if isinstance(error, Refused) and not isinstance(error, BadDocument):
            fail(f"{flag.rollout}: not everyone may get {plain(flag.rollout_canary, 80)}: {error}")
        if not gives_users(flag.stage, flag.canary_percent):
            fail(f"{flag.rollout}: no user has had {plain(flag.rollout_canary, 80)}, and {error}")
        print_problems([f"what {flag.rollout} rests on cannot be read: {error}"], style="yellow")


def _pair_if_readable(hand: Hand, flag: Flag) -> ArmedPair | None:
    try:
        return armed_pair(hand, flag)
    except KillswitchError as error:
        print_problems([str(error)], style="yellow")
        return None
