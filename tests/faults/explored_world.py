"""The world that is explored, as a value: the store, its leases, a receiver, and the answers of each process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from killswitch.flags.document import from_document as flag_from_document
from killswitch.stores import Committed, Compare, Delete, Item, Lease, Lost, Put, Snapshot, keys
from tests.doubles.memory_store import Change
from tests.faults.safety import violations

ROLLOUT: Final = "support-copilot"
MAX_AGE: Final = 12.0  # so that who slept through a lease has nothing left to say


class Past:
    """The answers a process has had, oldest first; the same answers are the same object, so that comparing is cheap."""

    __slots__ = ("_after", "answers", "name", "question")

    def __init__(self, name: str, answers: tuple[Answer, ...] = ()) -> None:
        self.name = name
        self.answers = answers
        self.question: Call | bool | None = True  # True: not looked for yet; None: it has ended
        self._after: dict[Answer, Past] = {}

    def after(self, answer: Answer) -> Past:
        if answer not in self._after:
            self._after[answer] = Past(self.name, (*self.answers, answer))
        return self._after[answer]


@dataclass(frozen=True, slots=True)
class Kept:
    value: bytes
    mod_revision: int
    lease: int | None


@dataclass(frozen=True, slots=True)
class Call:
    """A question: ``name`` is the store's method, or ``send``."""

    name: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """``value``, or an error in its place, and the clock when it arrived."""

    value: object
    clock: float


@dataclass(frozen=True, slots=True)
class World:
    """All there is. ``processes``: each one's `Past`, None where it has ended. ``late``: transactions still under way.

    ``sent``: copies the receiver has, by page. ``history`` is for the checks; what has happened to each
    generation, which matters to them, is ``flipped``.
    """

    kept: Mapping[str, Kept]
    leases: Mapping[int, float]
    revision: int
    clock: float
    processes: tuple[Past | None, ...]
    late: tuple[Call, ...] = ()
    sent: tuple[str, ...] = ()
    faults: int = 0
    crashes: int = 0
    sleeps: int = 0
    flipped: tuple[int, ...] = ()
    history: tuple[Change, ...] = field(default=(), compare=False)

    def key(self) -> object:
        """Equal for worlds with the same future."""
        return (
            frozenset(self.kept.items()), frozenset(self.leases.items()), self.revision, self.clock,
            self.processes, self.late, self.sent, self.faults, self.crashes, self.sleeps, self.flipped,
        )  # fmt: skip


def expired(world: World) -> World:
    ended = [lease for lease, ends_at in world.leases.items() if ends_at <= world.clock]
    if not ended:
        return world
    gone = sorted(key for key, kept in world.kept.items() if kept.lease in ended)
    return replace(
        world,
        leases={lease: ends_at for lease, ends_at in world.leases.items() if lease not in ended},
        kept={key: kept for key, kept in world.kept.items() if key not in gone},
        revision=world.revision + bool(gone),
        history=(*world.history, *(Change(world.revision + 1, key, None, "lease ended") for key in gone)),
    )


def carry_out(world: World, call: Call) -> tuple[World, object]:  # noqa: PLR0911  one return a method
    """The store's (or the receiver's) side of a question: the world afterwards, and the answer."""
    match call.name:
        case "get":
            kept = world.kept.get(call.arguments[0])
            return world, None if kept is None else Item(call.arguments[0], kept.value, kept.mod_revision)
        case "list":
            prefix = call.arguments[0]
            found = sorted((key, kept) for key, kept in world.kept.items() if key.startswith(prefix))
            return world, Snapshot(tuple(Item(key, k.value, k.mod_revision) for key, k in found), world.revision)
        case "grant":
            # leases end only as the clock runs on, so no two have one number
            lease = world.revision * 10_000 + world.sleeps * 100 + len(world.leases) + 1
            ttl = call.arguments[0]
            leases = {**world.leases, lease: world.clock + ttl}
            return replace(world, leases=leases), Lease(lease, ttl, world.clock + ttl)
        case "keep_alive":
            lease = call.arguments[0]
            if lease.id not in world.leases:
                return world, None
            leases = {**world.leases, lease.id: world.clock + lease.ttl}
            return replace(world, leases=leases), replace(lease, expires_at=world.clock + lease.ttl)
        case "send":
            return replace(world, sent=(*world.sent, call.arguments[0])), "reference"
        case "commit":
            return transact(world, *call.arguments)
        case _:
            raise AssertionError(call.name)


def transact(
    world: World, compares: Sequence[Compare], writes: Sequence[Put | Delete]
) -> tuple[World, Committed | Lost]:
    for compare in compares:
        kept = world.kept.get(compare.key)
        if (kept.mod_revision if kept is not None else 0) != compare.mod_revision:
            return world, Lost()
    if any(isinstance(w, Put) and w.lease is not None and w.lease.id not in world.leases for w in writes):
        return world, Lost()
    revision = world.revision + 1
    after = dict(world.kept)
    changes = []
    for write in writes:
        if isinstance(write, Put):
            after[write.key] = Kept(write.value, revision, write.lease.id if write.lease else None)
            changes.append(Change(revision, write.key, write.value, "", world.clock))
        elif after.pop(write.key, None) is not None:
            changes.append(Change(revision, write.key, None, ""))
    done = replace(world, kept=after, revision=revision, history=(*world.history, *changes))
    flag_key = keys.flag(ROLLOUT)
    if any(change.key == flag_key for change in changes):
        broken = violations(done.history, max_age=MAX_AGE)
        if broken:
            raise Violation(broken)
        flag = flag_from_document(after[flag_key].value, rollout=ROLLOUT) if flag_key in after else None
        if flag is not None and not flag.armed:
            done = replace(done, flipped=(*done.flipped, flag.generation))
    return done, Committed(revision)


class Violation(AssertionError):
    """A history that breaks a property."""
