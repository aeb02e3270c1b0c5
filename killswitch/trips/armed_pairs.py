"""The doors by which a candidate of a role can get users: each asks what its generation rests on."""

from __future__ import annotations

from dataclasses import replace

from killswitch.errors import Refused
from killswitch.flags.flag import Flag
from killswitch.roles.armed_pair import ArmedPair, from_document, gives_more, to_document
from killswitch.stores import Put, Store, keys


def stored_pair(store: Store, rollout: str, generation: int) -> ArmedPair | None:
    """What is stored of the generation; None of a rollout of two models. Raises BadDocument for a damaged one."""
    item = store.get(keys.gate_evidence(rollout, generation))
    return None if item is None else from_document(item.value, rollout=rollout, generation=generation)


def pair_of(store: Store, flag: Flag) -> ArmedPair | None:
    """As `stored_pair`, of the flag's generation."""
    return stored_pair(store, flag.rollout, flag.generation)


def put_pair(pair: ArmedPair) -> Put:
    return Put(keys.gate_evidence(pair.rollout, pair.generation), to_document(pair))


def allowed(store: Store, before: Flag | None, after: Flag, *, given: ArmedPair | None, now: float) -> tuple[Put, ...]:
    """What a change of a flag writes besides it. Raises Refused where users would get a candidate without evidence.

    ``given``: the pair with the evidence that the change brings; None: what the generation was armed with counts.
    """
    pair = given
    if pair is None and before is not None:
        if not (gives_more(_share(before), _share(after)) or after.generation != before.generation):
            return ()  # lowering never waits for another wing
        pair = stored_pair(store, before.rollout, before.generation)
    if pair is None:
        return ()
    if (pair.control, pair.canary) != (after.control, after.rollout_canary):
        raise Refused(
            f"{after.rollout} compares {after.control} and {after.rollout_canary}, and role {pair.role} pins "
            f"{pair.control} and {pair.canary}; use `killswitch end {after.rollout}`, then arm it again"
        )
    if gives_more(None if before is None else _share(before), _share(after)):
        why = pair.without_evidence(now)
        if why is not None:
            raise Refused(f"{after.rollout}: no user may get its canary: {why}; {_ways(pair.role)}")
    if given is None and before is not None and before.generation == after.generation:
        return ()
    return (put_pair(replace(pair, generation=after.generation)),)


def _share(flag: Flag) -> tuple[str, float]:
    """Its stage and percent. One that is not armed gives no user the canary."""
    return flag.stage, flag.canary_percent if flag.armed else 0.0


def _ways(role: str) -> str:
    return (
        f"`killswitch gate run {role}` asks both models, `killswitch role approve {role}` approves a run that asks for "
        f"it, and `killswitch role waive {role}` lets it go on for a stated time"
    )
