"""Reads the history that a new or late replica needs before it can judge the newest tick.

Evidence is a function of the metric history and of the flag's history. A restarted replica therefore reads at most
24 h back, and an hour before that to learn how bursty control is. Ticks missed because of a failure are read as
soon as the source answers: nothing is lost, and nothing is guessed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from killswitch.deadline import Deadline
from killswitch.model import Decide, Readings, Reason, Unreadable, Want
from killswitch.sources import Source
from killswitch.sources.closer_looks import FELL, is_falling
from killswitch.timestamps import DAY
from killswitch.verdicts import evidence as ev
from killswitch.verdicts.accumulator import EvidenceAccumulator, warm_up_seconds
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.evaluator import answer_all
from killswitch.verdicts.judge import behind

# (rollout, tick) pairs read back at once, shared by all rollouts: a start must not take longer than a cycle
MOST_PAIRS = 120_000
FEWEST_TICKS = 120
CHUNK_TICKS = 480
# readings held at once: half a kilobyte each, more for a histogram
MOST_READINGS = 30_000
# reasons that say nothing about the data: the source may answer the same question later
PASSING = frozenset({
    Reason.SOURCE_DOWN, Reason.SOURCE_TIMEOUT, Reason.SOURCE_REFUSED, Reason.GARBAGE, Reason.PARTIAL_ANSWER,
    Reason.INTERNAL_ERROR,
})  # fmt: skip


Fell = Callable[[str, str], None]
"""Called with rollout and rule for each step that is not counted because a counter fell without a restart."""


def catch_up(
    source: Source,
    accumulator: EvidenceAccumulator,
    all_armed: Sequence[ArmedRollout],
    tick: float,
    deadline: Deadline,
    fell: Fell = lambda _rollout, _rule: None,
) -> None:
    """Bring all that evidence judges to the newest evidence tick at or before ``tick``, as far as time allows."""
    judged = [armed for armed in all_armed if armed.rollout.decide is Decide.EVIDENCE and accumulator.wants(armed)]
    newest = last_step(tick, accumulator.step)
    accumulator.read_again()
    # Evidence dated in the future was read while the metric store's clock was ahead. Without this drop nothing could
    # be added until that time has come.
    accumulator.drop(
        [armed.rollout.name for armed in judged if (accumulator.until(armed.rollout.name) or newest) > newest]
    )
    unopened = _open_fresh(source, accumulator, judged, newest, deadline)
    judged = [armed for armed in judged if armed.rollout.name not in unopened]
    while not deadline.expired:
        behind: dict[float, list[ArmedRollout]] = {}
        for armed in judged:
            until = accumulator.until(armed.rollout.name)
            if until is not None and until < newest:
                behind.setdefault(until, []).append(armed)
        if not behind or not _advance(source, accumulator, behind, newest, deadline, fell):
            break
    _note_behind(accumulator, judged, newest)


def last_step(tick: float, step: float) -> float:
    """The newest evidence tick at or before ``tick``."""
    return math.floor(tick / step + 1e-9) * step


def first_step(armed_at: float, step: float) -> float:
    """Where a generation's evidence begins: no step reaches back before it was armed."""
    return math.ceil(armed_at / step - 1e-9) * step


def _open_fresh(
    source: Source,
    accumulator: EvidenceAccumulator,
    all_armed: Sequence[ArmedRollout],
    newest: float,
    deadline: Deadline,
) -> frozenset[str]:
    """Open every rollout for which the accumulator has no evidence that fits; returns those it could not open.

    Kept evidence of such a rollout is about another generation or other rules: nothing may be added to it.
    """
    missing = [armed for armed in all_armed if not accumulator.fits(armed)]
    unopened = {armed.rollout.name for armed in missing}
    # A generation whose first step is in the future is opened at that step.
    fresh = [armed for armed in missing if first_step(armed.armed_at, accumulator.step) <= newest]
    if not fresh:
        return frozenset(unopened)
    ticks = max(FEWEST_TICKS, min(round(DAY / accumulator.step), MOST_PAIRS // len(fresh)))
    opening: dict[tuple[float, bool], list[ArmedRollout]] = {}
    for armed in fresh:
        arming = first_step(armed.armed_at, accumulator.step)
        reaches = arming >= newest - ticks * accumulator.step
        # Rules edited while armed start now: data seen under the old rules must not be judged by the new ones.
        edited = accumulator.until(armed.rollout.name) is not None and accumulator.same_generation(armed)
        turned = ev.shadow_turned_at(armed.flag.stages)
        at = max(arming, newest - ticks * accumulator.step)
        if turned is not None and not (edited and accumulator.same_series(armed)):
            at = min(max(at, first_step(turned, accumulator.step)), newest)
        elif edited:
            at = newest
        opening.setdefault((at, reaches and not edited and turned is None), []).append(armed)
    for (at, from_arming), some in opening.items():
        block = steps(at - warm_up_seconds(accumulator.step), at, accumulator.step)
        for portion in _portions(accumulator, some, block):
            wants = [want for armed in portion for want in accumulator.past_wants(armed)]
            past = _read_back(source, wants, block, deadline)
            if past is None:
                return frozenset(unopened)
            # A failed read is not history. A rollout opened without its history would never know control's bursts.
            read = [
                armed for armed in portion if any(_answered(accumulator.wants(armed), past[tick]) for tick in block)
            ]
            accumulator.open(read, at, past, from_arming=from_arming)
            unopened -= {armed.rollout.name for armed in read}
            _note_unread(accumulator, portion, read, past[block[-1]])
    return frozenset(unopened)


def _portions(
    accumulator: EvidenceAccumulator, all_armed: Sequence[ArmedRollout], ticks: Sequence[float]
) -> Iterator[list[ArmedRollout]]:
    """Armed rollouts in portions whose readings of all ``ticks`` may be held at once."""
    portion: list[ArmedRollout] = []
    held = 0
    for armed in all_armed:
        more = len(accumulator.wants(armed)) * len(ticks)
        if portion and held + more > MOST_READINGS:
            yield portion
            portion, held = [], 0
        portion.append(armed)
        held += more
    if portion:
        yield portion


def steps(after: float, until: float, step: float) -> list[float]:
    """Evidence ticks in (after, until]."""
    count = round((until - after) / step)
    return [until - step * back for back in range(count - 1, -1, -1)]


def _advance(
    source: Source,
    accumulator: EvidenceAccumulator,
    behind: Mapping[float, Sequence[ArmedRollout]],
    newest: float,
    deadline: Deadline,
    fell: Fell,
) -> bool:
    """Read one block for every group that is behind; False if none advanced: the next cycle tries again."""
    moved = False
    for until, some in behind.items():
        block = steps(until, min(newest, until + CHUNK_TICKS * accumulator.step), accumulator.step)
        for portion in _portions(accumulator, some, block):
            readings = _read_back(
                source, [want for armed in portion for want in accumulator.wants(armed)], block, deadline
            )
            if readings is None:
                return moved
            read = [armed for armed in portion if _answered(accumulator.wants(armed), readings[block[-1]])]
            if read:
                note_falls(readings.values(), fell)
                accumulator.take(read, block, readings)
                moved = True
            _note_unread(accumulator, portion, read, readings[block[-1]])
    return moved


def _note_behind(accumulator: EvidenceAccumulator, all_armed: Iterable[ArmedRollout], newest: float) -> None:
    """Note those that are still behind the newest step: time ran out, or the source failed."""
    for armed in all_armed:
        until = accumulator.until(armed.rollout.name)
        if until is not None and until < newest and not accumulator.is_unread(armed.rollout.name):
            accumulator.note_unread(armed.rollout.name, answer_all(accumulator.wants(armed), behind(until)))


def _note_unread(
    accumulator: EvidenceAccumulator, asked: Sequence[ArmedRollout], read: Sequence[ArmedRollout], answers: Readings
) -> None:
    """Note the answers for those that were asked about but not read: why nothing could be added."""
    names = {armed.rollout.name for armed in read}
    for armed in asked:
        if armed.rollout.name not in names:
            accumulator.note_unread(
                armed.rollout.name, {want.key: answers[want.key] for want in accumulator.wants(armed)}
            )


def note_falls(readings: Iterable[Readings], fell: Fell) -> None:
    """Report every reading in which a counter fell although its process did not restart."""
    for of_tick in readings:
        for (rollout, rule, _), reading in of_tick.items():
            if reading.canary is FELL or reading.control is FELL:
                fell(rollout, rule)


def _answered(wants: Iterable[Want], readings: Readings) -> bool:
    """Whether the source answered any of the wants. If the source itself failed it is asked again; that is no gap."""
    for want in wants:
        reading = readings.get(want.key)
        sides = (reading.canary, reading.control) if reading is not None else ()
        if any(not isinstance(side, Unreadable) or side.reason not in PASSING or is_falling(side) for side in sides):
            return True
    return False


def _read_back(
    source: Source, wants: Sequence[Want], ticks: Sequence[float], deadline: Deadline
) -> Mapping[float, Readings] | None:
    """The steps of these ticks; None when the deadline has passed."""
    if deadline.expired or not ticks:
        return None if deadline.expired else {}
    if len(ticks) == 1:
        return {ticks[0]: source.read(wants, ticks[0], deadline)}
    return source.read_back(wants, ticks, deadline)
