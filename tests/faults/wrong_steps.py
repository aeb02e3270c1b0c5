"""The properties of steps up, as questions to the store's history: every change of every key, oldest first.

1. No step up follows a trip, a pin or an end: the flag that is raised was armed, and stays in its generation.
2. An automatic step is one transaction with one record in which every check passes, and no one holds the plan.
3. One visit to a stage is one step, and one tick is one step.
4. A step rests on the newest tick that is recorded: the stage's own, healthy, and at most two intervals old.
5. The process that takes it has a session.
6. What was watched never goes back, and no tick adds more than an interval.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from killswitch.errors import BadDocument
from killswitch.flags.document import from_document as flag_from_document
from killswitch.flags.flag import Flag
from killswitch.ramps.progress import StageProgress, from_document
from killswitch.stores import keys
from tests.faults.safety import Changed

BY_PLAN = "plan ("
_ROUNDING = 0.01  # seconds; documents keep milliseconds


def by_a_plan(flag: Flag) -> bool:
    return flag.updated_by.startswith(BY_PLAN)


@dataclass
class _Seen:
    """The store as it was before a transaction, as far as steps are concerned."""

    flag: Flag | None = None
    progress: StageProgress | None = None
    held: bool = False
    sessions: set[str] = field(default_factory=set)


def wrong_steps(
    history: Sequence[Changed],
    rollout: str,
    *,
    interval: float,
    oldest: float,
    healthy: Callable[[float], bool] = lambda _tick: True,
) -> list[str]:
    """What was wrong about the steps up of one rollout, in words.

    ``oldest``: the greatest age of verdicts, in seconds, where the history has times. ``healthy``: whether every rule
    was healthy at a tick.
    """
    seen, found = _Seen(), list[str]()
    visits: Counter[tuple[int, str, float]] = Counter()
    ticks: Counter[tuple[int, float]] = Counter()
    for revision, group in groupby(history, key=lambda change: change.revision):
        together = list(group)
        values = {change.key: change.value for change in together}
        at = next((at for change in together if (at := getattr(change, "at", None)) is not None), None)
        flag = _flag(values, rollout, seen.flag)
        if flag is not None and _raises(seen.flag, flag):
            where = f"revision {revision}"
            found += [f"{where}: {wrong}" for wrong in _of_a_raise(seen, flag, values, at, oldest, healthy)]
            if by_a_plan(flag) and seen.flag is not None and seen.progress is not None:
                entry = seen.flag.stages[-1]
                visits[(seen.flag.generation, entry.stage, entry.at)] += 1
                ticks[(seen.flag.generation, seen.progress.tick)] += 1
        found += _of_progress(seen, values, rollout, interval)
        _take(seen, values, rollout, flag)
    found += [f"{count} steps up of one visit to {visit[1]}" for visit, count in visits.items() if count > 1]
    found += [f"{count} steps up at one tick" for count in ticks.values() if count > 1]
    return found


def steps(history: Sequence[Changed], rollout: str) -> list[dict[str, Any]]:
    """The records of steps as first written, oldest first, of all generations."""
    prefix = f"{keys.ADVANCES}{rollout}/"
    return [json.loads(change.value) for change in history if change.key.startswith(prefix) and change.value]


def _raises(before: Flag | None, flag: Flag) -> bool:
    if not flag.armed or (before is None and not by_a_plan(flag)):
        return False  # armed by a person
    old = 0.0 if before is None else before.canary_percent
    same_life = before is not None and before.generation == flag.generation
    return flag.canary_percent > old and (same_life or by_a_plan(flag))


def _of_a_raise(
    seen: _Seen,
    flag: Flag,
    values: Mapping[str, bytes | None],
    at: float | None,
    oldest: float,
    healthy: Callable[[float], bool],
) -> list[str]:
    before, rollout = seen.flag, flag.rollout
    if before is None or not before.armed:
        return [f"a step up after the end of its traffic ({'absent' if before is None else before.state})"]
    if before.generation != flag.generation:
        return ["a step up into another generation"]
    records = [json.loads(value) for key, value in values.items() if key.startswith(keys.ADVANCES) and value]
    despite = any(record["despite"] for record in records)
    if not records and not by_a_plan(flag):
        return []  # a person's `stage`, past the plan
    wrong = []
    if len(records) != 1:
        wrong.append(f"a step up with {len(records)} records")
    elif (records[0]["from_stage"], records[0]["to_stage"]) != (before.stage, flag.stage):
        wrong.append(f"a step up from {before.stage}, on proof of {records[0]['from_stage']}")
    if despite:
        return wrong
    if any(check["outcome"] != "PASS" for record in records for check in record["checks"]):
        wrong.append("a step up past a check that does not pass")
    if seen.held:
        wrong.append("a step up while the plan is held")
    progress = seen.progress
    if progress is None or not progress.is_of(before):
        return [*wrong, f"a step up from {before.stage}, which was not watched"]
    if not healthy(progress.tick):
        wrong.append("a step up on a tick that is not the newest")
    if at is not None and at - progress.tick > oldest + _ROUNDING:
        wrong.append(f"a step up on old verdicts, {at - progress.tick:.1f} s after their tick")
    name = flag.updated_by.removeprefix(BY_PLAN).removesuffix(")")
    if by_a_plan(flag) and name not in seen.sessions:
        wrong.append(f"a step up by {name}, whose session had ended")
    return [f"{one} ({rollout})" for one in wrong]


def _of_progress(seen: _Seen, values: Mapping[str, bytes | None], rollout: str, interval: float) -> list[str]:
    before, after = seen.progress, _progress(values, rollout, seen.progress)
    if before is None or after is None or after is before or before._identity != after._identity:
        return []
    wrong = []
    if after.tick < before.tick - _ROUNDING:
        wrong.append("what was watched went back to an earlier tick")
    if after.watched > before.watched + min(interval, max(after.tick - before.tick, 0.0)) + _ROUNDING:
        wrong.append("a tick was counted twice")
    return wrong


def _take(seen: _Seen, values: Mapping[str, bytes | None], rollout: str, flag: Flag | None) -> None:
    seen.progress = _progress(values, rollout, seen.progress)
    seen.flag = flag
    prefix = keys.claim("sessions/")
    for key, value in values.items():
        if key == keys.hold(rollout):
            seen.held = value is not None
        if key.startswith(prefix):
            (seen.sessions.add if value is not None else seen.sessions.discard)(key.removeprefix(prefix))


def _flag(values: Mapping[str, bytes | None], rollout: str, before: Flag | None) -> Flag | None:
    if keys.flag(rollout) not in values:
        return before
    value = values[keys.flag(rollout)]
    return None if value is None else flag_from_document(value, rollout=rollout)


def _progress(values: Mapping[str, bytes | None], rollout: str, before: StageProgress | None) -> StageProgress | None:
    if keys.plan_progress(rollout) not in values:
        return before
    try:
        return from_document(values[keys.plan_progress(rollout)] or b"", rollout=rollout)
    except BadDocument:
        return None
