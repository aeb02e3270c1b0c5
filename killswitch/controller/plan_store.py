"""What the flag store has of a plan: progress, hold, approvals and the shadow's decision, each or why it is missing.

``get`` reads a key: `Store.get` for one rollout, or `all_at_once` for those of a whole cycle. A store that does not
answer raises Unavailable: the thread that judges would wait for it once for each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from killswitch.errors import KillswitchError, Unavailable
from killswitch.flags.flag import SHADOW, Flag
from killswitch.model import Rollout, Verdict
from killswitch.ramps.gate_inputs import Approval, Hold, Missing, SignalNow
from killswitch.ramps.progress import StageProgress, from_document
from killswitch.ramps.records import approvals_from_document, hold_from_document
from killswitch.slow.standing import SignalStanding
from killswitch.slow.standing import from_document as standing_from_document
from killswitch.stores import Item, Store, keys
from killswitch.timestamps import DAY, HOUR, to_iso
from killswitch.trips.shadow_decisions import shadow_decisions

Value = TypeVar("Value")
# seconds: a day that has 25 hours, and time for the next evaluation
OLDEST_EVALUATION = DAY + 4 * HOUR
Get = Callable[[str], Item | None]


def all_at_once(store: Store) -> Get:
    """All that gates look at, of every rollout, in a handful of reads. Raises what the store raises."""
    prefixes = (keys.HOLDS, keys.APPROVALS, keys.SLOW_STANDINGS, keys.SHADOW_DECISIONS)
    return {item.key: item for prefix in prefixes for item in store.list(prefix).items}.get


def progress_as_stored(get: Get, rollout: str) -> tuple[StageProgress | Missing, int]:
    """The progress, or why it cannot be had, and the revision of its document (0: none was read)."""

    def read() -> tuple[StageProgress | Missing, int]:
        item = get(keys.plan_progress(rollout))
        if item is None:
            return Missing("no controller has written progress yet"), 0
        return from_document(item.value, rollout=rollout), item.mod_revision

    found = _or_why(read)
    return (found, 0) if isinstance(found, Missing) else found


def hold_or_why(get: Get, rollout: str) -> Hold | Missing | None:
    def read() -> Hold | None:
        item = get(keys.hold(rollout))
        return None if item is None else hold_from_document(item.value, rollout=rollout)

    return _or_why(read)


def approvals_or_why(get: Get, flag: Flag) -> tuple[Approval, ...] | Missing:
    def read() -> tuple[Approval, ...]:
        item = get(keys.approvals(flag.rollout, flag.generation))
        return () if item is None else approvals_from_document(item.value, rollout=flag.rollout)

    return _or_why(read)


def slow_or_why(get: Get, rollout: Rollout, flag: Flag, now: float) -> Mapping[str, SignalNow] | Missing:
    """Each slow signal of the rule file as the daily job has found it last; ``now``: Unix seconds."""
    settings = rollout.slow
    if settings is None:
        return {}

    def read() -> Mapping[str, SignalNow]:
        item = get(keys.slow_standing(rollout.name))
        found = None if item is None else standing_from_document(item.value, rollout=rollout.name)
        of_this = found is not None and found.generation == flag.generation
        known = {one.signal: one for one in found.signals} if found is not None and of_this else {}
        at = now if found is None else found.evaluated_at
        return {one.name: _signal_now(known.get(one.name), at, now) for one in settings.signals}

    return _or_why(read)


def _signal_now(standing: SignalStanding | None, evaluated_at: float, now: float) -> SignalNow:
    if standing is None:
        return SignalNow(None, "no evaluation of this generation yet; there is one a day")
    over = {Verdict.BREACH: True, Verdict.HEALTHY: False}.get(standing.verdict)
    if over is False and not 0.0 <= now - evaluated_at <= OLDEST_EVALUATION:
        said = f"it was judged last for {to_iso(evaluated_at)}; there should be an evaluation a day"
        return SignalNow(None, f"{said}: look for `slow signals` in the controllers' logs")
    return SignalNow(over, standing.sentence)


def shadow_or_why(get: Get, flag: Flag) -> str | Missing:
    """GO or NO_GO as `killswitch shadow decide` has written it for this generation, NO_GO if both."""

    def read() -> str | Missing:
        verdicts = shadow_decisions(get, flag)[0].verdicts
        if "NO_GO" in verdicts:
            return "NO_GO"
        if "GO" in verdicts:
            return "GO"
        return Missing(f"run `killswitch shadow decide {flag.rollout} --records …`")

    return _or_why(read) if flag.stage == SHADOW else Missing(f"the stage is not {SHADOW}")


def _or_why(read: Callable[[], Value]) -> Value | Missing:
    try:
        return read()
    except Unavailable:
        raise
    except KillswitchError as error:
        return Missing(str(error))
