"""What a router obeys: a pure state machine over what it has read and how long ago.

Everything it remembers is a `Memory`. The functions named ``after_…`` make the next one; `state_at` says which state
follows from it at a time. Times are seconds on one clock that never goes back, given by the caller.

The rules, strictest first:

1. A tripped flag is obeyed for ever, and so is a complete one: both give everyone control.
2. An armed document of a generation that was seen tripped is never obeyed, at any revision: the store may have been
   restored from a backup.
3. A flag that is missing or cannot be understood means control.
4. An armed flag is obeyed only while the store can be read and a controller is alive.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from killswitch.errors import BadDocument, BadSettings
from killswitch.flags.document import from_document
from killswitch.flags.flag import SHADOW, Flag
from killswitch.stores import Item
from killswitch.stores.reader import Change


class RouterState(StrEnum):
    """A router's state. Only ARMED and HELD let users into the canary."""

    ARMED = "armed"
    HELD = "held"  # armed; the store has not answered for a while, but the grace lasts
    TRIPPED = "tripped"
    COMPLETE = "complete"  # the rollout is over: control is the new model, for everyone
    OUTDATED = "outdated"  # an armed document of a generation that was tripped: a restored backup
    NO_FLAG = "no_flag"  # deleted, ended, or never armed
    CORRUPT = "corrupt"  # the document, or the store's answer, cannot be understood
    CUT_OFF = "cut_off"  # armed when last read, too long ago
    UNWATCHED = "unwatched"  # armed, and no controller has been alive for too long
    UNREAD = "unread"  # the store has never been read
    CLOSED = "closed"  # the flag is not followed: closed, or no thread could be started


OBEYS_ARMED = frozenset({RouterState.ARMED, RouterState.HELD})


@dataclass(frozen=True, slots=True)
class StalePolicy:
    """How long an armed flag is trusted, in seconds.

    ``stale_grace``: since the last linearizable read. ``control_after``: since a controller was last alive, None to
    hold. ``spread``, 0 to 1, is this router's own share of ``stale_jitter``, so that a fleet does not move its load to
    control all at once. ``doubt_after``: when an armed flag counts as HELD.
    """

    stale_grace: float = 60.0
    stale_jitter: float = 30.0
    control_after: float | None = 300.0
    doubt_after: float = 25.0
    spread: float = 0.0

    def __post_init__(self) -> None:
        limits = {
            "stale_grace": (self.stale_grace, 1.0, 3600.0),
            "stale_jitter": (self.stale_jitter, 0.0, 3600.0),
            "when_unwatched: control_after": (self.control_after, 1.0, 86400.0),
            "doubt_after": (self.doubt_after, 0.0, 3600.0),
            "spread": (self.spread, 0.0, 1.0),
        }
        problems = [
            f"{name} must be from {low:g} to {high:g} s, got {value!r}"
            for name, (value, low, high) in limits.items()
            if value is not None and not low <= value <= high
        ]
        if problems:
            raise BadSettings(problems)

    @property
    def jitter(self) -> float:
        return self.stale_jitter * self.spread


_DURATION = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)(s|m|h)\Z")
_CONTROL_UNKNOWN = "everyone to control, whose model no flag has named yet"
_UNIT_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def control_after_of(when_unwatched: str | Mapping[str, object]) -> float | None:
    """`StalePolicy.control_after` from ``"hold"`` or ``{"control_after": "5m"}`` (a number is seconds).

    Raises BadSettings for anything else.
    """
    if when_unwatched == "hold":
        return None
    if isinstance(when_unwatched, Mapping) and set(when_unwatched) == {"control_after"}:
        value = when_unwatched["control_after"]
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        found = _DURATION.match(value) if isinstance(value, str) else None
        if found is not None:
            return float(found[1]) * _UNIT_SECONDS[found[2]]
    raise BadSettings([f"when_unwatched {when_unwatched!r:.80}: write 'hold' or {{'control_after': '5m'}}"])


@dataclass(frozen=True, slots=True)
class LinearizableRead:
    """What one linearizable read brought.

    ``sent_at``: before it was sent. ``known_revision``: the newest revision known then: an answer below it comes
    from a restored store. ``controllers``: the number of heartbeats, None if the store keeps none.
    """

    sent_at: float
    known_revision: int
    item: Item | None
    revision: int
    controllers: int | None


@dataclass(frozen=True, slots=True)
class Memory:
    """Everything the decision depends on, besides policy and time.

    ``problem``: why the newest document is not a flag. ``garbled``: why the store's answer was not one. ``closed``: why
    the flag is no longer followed. ``changed_at``: the revision of the newest document, or of its deletion.
    ``revision``: the newest known of the store. ``control_model``: the newest one known, for when there is no flag.
    ``fresh_at``: when the last read that succeeded was sent; ``watched_at``: when a controller was last known alive.
    """

    rollout: str
    control_model: str = ""
    flag: Flag | None = None
    problem: str | None = None
    garbled: str | None = None
    closed: str | None = None
    changed_at: int = 0
    revision: int = 0
    tripped_generation: int = 0
    fresh_at: float | None = None
    watched_at: float | None = None


def after_read(memory: Memory, read: LinearizableRead) -> Memory:
    """The next memory. A read that a watched change has overtaken still proves that the store answers."""
    set_back = read.revision < read.known_revision
    if set_back or read.revision >= memory.revision:
        memory = _learn(memory, read.item, None, read.revision)
    elif read.item is not None:
        memory = _remember_trip(memory, read.item)
    watched_at = memory.watched_at
    if read.controllers is None:
        watched_at = None
    elif read.controllers > 0:
        watched_at = read.sent_at
    elif watched_at is None:
        watched_at = read.sent_at  # for a router that has just started, the time limit begins now
    fresh_at = read.sent_at if memory.fresh_at is None else max(memory.fresh_at, read.sent_at)
    return replace(memory, garbled=None, fresh_at=fresh_at, watched_at=watched_at)


def after_change(memory: Memory, change: Change) -> Memory:
    """The next memory. A watch proves nothing about the store's health, so it never counts as a read."""
    if change.revision > memory.revision:
        return _learn(memory, change.item, change.revision, change.revision)
    return memory if change.item is None else _remember_trip(memory, change.item)


def after_garbage(memory: Memory, problem: str) -> Memory:
    """The store's answer is not understood: control, until the store can be read again."""
    # the first problem is kept, or a store that always answers garbage would fill the log
    return memory if memory.garbled is not None else replace(memory, garbled=problem)


def after_close(memory: Memory, why: str) -> Memory:
    """The flag is not followed any more, so no trip would be seen: control, for good."""
    return replace(memory, closed=why)


def _learn(memory: Memory, item: Item | None, changed_at: int | None, revision: int) -> Memory:
    if item is None:
        gone = memory.flag is not None or memory.problem is not None or changed_at is not None
        at = (changed_at or revision) if gone else memory.changed_at
        return replace(memory, flag=None, problem=None, changed_at=at, revision=revision)
    flag, problem = _understand(memory.rollout, item)
    return replace(
        memory,
        flag=flag,
        problem=problem,
        control_model=memory.control_model if flag is None else flag.control,
        changed_at=item.mod_revision,
        revision=revision,
        tripped_generation=_tripped(memory, flag),
    )


def _remember_trip(memory: Memory, item: Item) -> Memory:
    return replace(memory, tripped_generation=_tripped(memory, _understand(memory.rollout, item)[0]))


def _tripped(memory: Memory, flag: Flag | None) -> int:
    if flag is None or flag.armed:
        return memory.tripped_generation
    return max(memory.tripped_generation, flag.generation)


def _understand(rollout: str, item: Item) -> tuple[Flag | None, str | None]:
    """The flag, or why the document is not one."""
    try:
        flag = from_document(item.value, rollout=rollout)
        # JSON can hold half a surrogate pair, which cannot be hashed or put into a header
        (flag.salt + flag.control + flag.canary).encode()
    except BadDocument as error:
        return None, str(error)
    except UnicodeEncodeError:
        return None, f"flag of {rollout}: salt, control or canary is not Unicode text"
    return flag, None


# --- the state at a time -------------------------------------------------------------------------------


def state_at(memory: Memory, policy: StalePolicy, now: float) -> RouterState:
    """What to obey at ``now``."""
    flag = memory.flag
    if flag is not None and not flag.armed:
        return RouterState.COMPLETE if flag.completion is not None else RouterState.TRIPPED
    return _distrusted(memory) or _while_armed(memory, policy, now)


def _distrusted(memory: Memory) -> RouterState | None:
    """Why no armed flag is obeyed at any time; None if there is one that may be obeyed."""
    if memory.closed is not None:
        return RouterState.CLOSED
    if memory.problem is not None or memory.garbled is not None:
        return RouterState.CORRUPT
    if memory.fresh_at is None:
        return RouterState.UNREAD
    if memory.flag is None:
        return RouterState.NO_FLAG
    return RouterState.OUTDATED if memory.flag.generation <= memory.tripped_generation else None


def _while_armed(memory: Memory, policy: StalePolicy, now: float) -> RouterState:
    cut_off_at, unwatched_at, doubted_at = _limits(memory, policy)
    if cut_off_at is not None and now >= cut_off_at:
        return RouterState.CUT_OFF
    if unwatched_at is not None and now >= unwatched_at:
        return RouterState.UNWATCHED
    return RouterState.HELD if doubted_at is not None and now >= doubted_at else RouterState.ARMED


def next_change(memory: Memory, policy: StalePolicy, now: float) -> float | None:
    """The earliest time after ``now`` at which the mere passing of time may change the state."""
    return min((at for at in _limits(memory, policy) if at is not None and at > now), default=None)


def _limits(memory: Memory, policy: StalePolicy) -> tuple[float | None, float | None, float | None]:
    """When this router is cut off, unwatched, and in doubt."""
    cut_off_at = doubted_at = unwatched_at = None
    if memory.fresh_at is not None:
        cut_off_at = memory.fresh_at + policy.stale_grace + policy.jitter
        doubted_at = memory.fresh_at + policy.doubt_after
    if memory.watched_at is not None and policy.control_after is not None:
        unwatched_at = memory.watched_at + policy.control_after + policy.jitter
    return cut_off_at, unwatched_at, doubted_at


def sentence(memory: Memory, policy: StalePolicy, state: RouterState) -> str:
    """The one line for logs, `health` and reports. It is equal while nothing changes, and holds no times or secrets."""
    flag, name = memory.flag, memory.rollout
    everyone = f"everyone to control {memory.control_model!r}" if memory.control_model else _CONTROL_UNKNOWN
    if state in OBEYS_ARMED:
        assert flag is not None
        split = f"{flag.canary_percent:g} % to canary {flag.canary!r}, the others to control {flag.control!r}"
        if flag.stage == SHADOW:
            split = f"{everyone}, {flag.shadow_share} of requests shadowed to {flag.canary!r}"
        held = "; the store does not answer" if state is RouterState.HELD else ""
        return f"{name}: armed, generation {flag.generation}, stage {flag.stage!r}: {split}{held}"
    why = {
        RouterState.TRIPPED: "tripped" if flag is None else f"{flag.state}, generation {flag.generation}",
        RouterState.COMPLETE: f"complete, generation {0 if flag is None else flag.generation}",
        RouterState.OUTDATED: (
            f"the stored flag is armed in generation {flag.generation if flag is not None else 0}, but generation "
            f"{memory.tripped_generation} was tripped or completed (a restored backup?); a person has to arm "
            "a later generation"
        ),
        RouterState.NO_FLAG: "no flag when the store was last read (`killswitch arm` makes one)",
        RouterState.CORRUPT: f"cannot be understood: {memory.garbled or memory.problem}",
        RouterState.CUT_OFF: f"armed when last read, and the store has not answered for over {policy.stale_grace:g} s",
        RouterState.UNWATCHED: f"no controller has been alive for over {policy.control_after or 0.0:g} s",
        RouterState.UNREAD: "the store has not been read yet",
        RouterState.CLOSED: f"not followed: {memory.closed}",
    }[state]
    return f"{name}: {why}: {everyone}"
