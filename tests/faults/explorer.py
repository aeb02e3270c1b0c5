"""Every interleaving of two controllers, a person and an outbox, with crashes and timeouts at every step.

The steps are those of the real code: `Switch`, `Session`, `Trips`, `PageDelivery`. A process is a function of
the answers it has had: it is run from its beginning with the answers so far, until it asks a question it has
no answer to; that question is its next step. So a process in mid-flight is a tuple of answers, the world is
a value, and all worlds that can be reached are visited once each.

A question to the store may be answered, fail, lose its answer, or be carried out later or never (a timed-out
transaction); a process may end at any question, before or after it is carried out; and the clock may run past
every lease while all sleep. How many such misfortunes one history may hold is bounded; where they strike is not.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, Final

from killswitch.deadline import Deadline
from killswitch.errors import KillswitchError, OutcomeUnknown, Unavailable
from killswitch.flags import flag as flags
from killswitch.flags import incident as incident_documents
from killswitch.flags.document import from_document as flag_from_document
from killswitch.flags.document import to_document as flag_document
from killswitch.flags.flag import Actor
from killswitch.flags.incident import IncidentDraft
from killswitch.fleet.session import Session
from killswitch.pages import events, outbox
from killswitch.pages.delivery import DeliveryPolicy, PageDelivery
from killswitch.pages.page import Page
from killswitch.stores import Committed, Compare, Delete, Item, Lease, Lost, Put, Snapshot, keys
from killswitch.trips.pending import Trips
from killswitch.trips.request import TripRequest
from killswitch.trips.switch import Switch
from tests.doubles.memory_store import Change
from tests.doubles.pages import AT, SETTINGS, armed, incident, incident_draft
from tests.faults.safety import flips, violations

ROLLOUT: Final = "support-copilot"
BOTH: Final = (ROLLOUT, "search")  # flips that share a transaction
TTL: Final = 10.0
MAX_AGE: Final = 12.0  # so that who slept through a lease has nothing left to say
SLEEP: Final = TTL + 3.0  # past every lease, and past the grace of an attempt whose sender is gone
TICK: Final = AT + 10.0  # after arming
CONTROLLERS: Final = ("one", "two")
POLICY: Final = DeliveryPolicy(claim_ttl=TTL, message_gap=0.0, first_pause=0.01, longest_pause=0.01)


# --- the world ----------------------------------------------------------------------------------


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


def _expired(world: World) -> World:
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
            lease = max(world.leases, default=0) + world.revision * 100 + 1
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
            return _commit(world, *call.arguments)
        case _:
            raise AssertionError(call.name)


def _commit(
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
        flag = flag_from_document(after[flag_key].value, rollout=ROLLOUT)
        if not flag.armed:
            done = replace(done, flipped=(*done.flipped, flag.generation))
    return done, Committed(revision)


class Violation(AssertionError):
    """A history that breaks a property."""


# --- a process, run again and again ---------------------------------------------------------------


class Asks(BaseException):
    """The process has come to a question without an answer. No `except Exception` of its own may hold it."""

    def __init__(self, call: Call) -> None:
        self.call = call


class Surroundings:
    """What a process sees: a store, a receiver and clocks, all out of the answers it has had."""

    name = "slack"

    def __init__(self, answers: Sequence[Answer], start: float) -> None:
        self._answers = answers
        self._next = 0
        self._now = start

    def ask(self, name: str, *arguments: Any) -> Any:
        if self._next == len(self._answers):
            raise Asks(Call(name, arguments))
        answer = self._answers[self._next]
        self._next += 1
        self._now = answer.clock
        if isinstance(answer.value, Exception):
            raise answer.value
        return answer.value

    def monotonic(self) -> float:
        return self._now

    def wall(self) -> float:
        return self._now

    # the store
    def get(self, key: str) -> Any:
        return self.ask("get", key)

    def list(self, prefix: str) -> Any:
        return self.ask("list", prefix)

    def commit(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> Any:
        return self.ask("commit", tuple(compares), tuple(writes))

    def grant(self, ttl: float) -> Any:
        return self.ask("grant", ttl)

    def keep_alive(self, lease: Lease) -> Any:
        return self.ask("keep_alive", lease)

    def revoke(self, lease: Lease) -> None:
        raise AssertionError("no process of these ends in order")

    def close(self) -> None:
        """Nothing to let go of."""

    # the receiver
    def send(self, page: Page, *, possible_repeat: bool, deadline: Deadline) -> str:
        return str(self.ask("send", page.id))


class Undisturbed(Surroundings):
    """Every question is answered at once; ``world`` is what has become of it."""

    def __init__(self, world: World) -> None:
        super().__init__((), world.clock)
        self.world = world

    def ask(self, name: str, *arguments: Any) -> Any:
        # time goes on between looks: a claim of one who died ends while the heir waits for it
        pause = 3.0 if arguments[0] == keys.OUTBOX else 0.0
        self.world, value = carry_out(
            _expired(replace(self.world, clock=self.world.clock + pause)), Call(name, arguments)
        )
        self._now = self.world.clock
        return value


class Later:
    """An executor whose jobs wait until they are called, on the caller's thread."""

    def __init__(self) -> None:
        self._jobs: list[tuple[Future[None], Callable[[], None]]] = []

    def submit(self, job: Callable[..., None], *arguments: Any) -> Future[None]:
        future: Future[None] = Future()
        self._jobs.append((future, lambda: job(*arguments)))
        return future

    def run(self) -> None:
        while self._jobs:
            future, job = self._jobs.pop(0)
            job()
            future.set_result(None)


class _AtOnce:
    def submit(self, job: Callable[[], None], /) -> None:
        job()


def _draft(rollout: str, by: str, tick: float) -> IncidentDraft:
    findings = incident().findings[:1]
    return incident_draft(rollout, by=by, tick=tick, reason="refusal_rate 8.7%", findings=findings)


def judged_breach(
    name: str,
    seen: Surroundings,
    switch: type[Switch] = Switch,
    attempts: int = 2,
    rollouts: Sequence[str] = (ROLLOUT,),
) -> None:
    """A controller whose verdict about generation 1 is in: it has read the flags, opens its session, and trips.

    Of several rollouts, in one transaction; alone each, where that has failed.
    """
    tick = seen.monotonic()
    switched = switch(seen, wall=seen.wall, by=name)
    try:
        stored = switched.everything()[0]
    except KillswitchError:
        stored = {}
    session = Session(seen, name, monotonic=seen.monotonic, ttl=TTL, owner=name)
    pool = Later()
    trips = Trips(
        switched, guard=session.guard, doubt=session.doubt, monotonic=seen.monotonic,
        max_age=MAX_AGE, session_ttl=TTL, on_settled=lambda _: None, on_failure=lambda *_: None,
    )  # fmt: skip
    trips._pool = pool  # type: ignore[assignment]
    for rollout in rollouts:
        trips.submit(
            TripRequest(
                _draft(rollout, name, tick), generation=1, actor=Actor.CONTROLLER, at=tick, page=SETTINGS,
                stored=stored.get(rollout),
            ),
            decided_at=tick,
        )  # fmt: skip
    for _ in range(attempts):
        pool.run()
        trips.retry()


def deliver(name: str, seen: Surroundings, looks: int, *, until_settled: bool = False) -> None:
    """A replica that looks at the outbox so many times, or until nothing is left to do."""
    delivery = PageDelivery(
        seen, [seen], owner=name, policy=POLICY, wall=seen.wall, monotonic=seen.monotonic,
        chance=random.Random(1), executor=_AtOnce(),
    )  # fmt: skip
    delivery._store_ledger._owner = name  # not drawn by chance: the process is run many times
    for _ in range(looks):
        delivery.run_once()
        if delivery.status().unsettled == 0 and until_settled:
            return


def rearm(seen: Surroundings) -> None:
    """A person who has understood what it was."""
    person = Switch(seen, wall=seen.wall, by="ann")
    person.rearm(
        ROLLOUT, reason="mended", percent=1.0, stage="ramp_1",
        page=lambda armed: events.re_armed(armed, reason="mended", by="ann", settings=SETTINGS),
    )  # fmt: skip


Program = Callable[[Surroundings], None]
_FAILS = Unavailable("no answer")
_UNKNOWN = OutcomeUnknown("no answer in time")


@dataclass(slots=True)
class Explored:
    """What a search has seen."""

    worlds: int = 0
    steps: int = 0
    ends: int = 0
    questions: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        return f"{self.worlds} worlds, {self.steps} steps between them, {self.ends} ends"


class Explorer:
    """``programs`` by name; those ``waiting`` begin after the first flip.

    At most ``faults`` misfortunes (crashes among them) and ``sleeps`` past every lease.
    """

    def __init__(
        self,
        programs: Mapping[str, Program],
        *,
        faults: int,
        sleeps: int,
        heir: Program,
        waiting: Sequence[str] = (),
        rollouts: Sequence[str] = (ROLLOUT,),
    ) -> None:
        self._programs = programs
        self._rollouts = rollouts
        self._waiting = frozenset(waiting)
        self._faults = faults
        self._sleeps = sleeps
        self._heir = heir
        self._inherited: set[object] = set()
        self.seen = Explored()

    def explore(self, start: World, *, most: int = 10_000_000) -> Explored:
        """Visit every world that can be reached from ``start``. Raises Violation with the broken property."""
        logging.disable(logging.CRITICAL)
        try:
            return self._explore(start, most)
        finally:
            logging.disable(logging.NOTSET)

    def _explore(self, start: World, most: int) -> Explored:
        known = {start.key()}
        waiting = [start]
        while waiting:
            world = waiting.pop()
            self.seen.worlds += 1
            assert self.seen.worlds <= most, f"more than {most} worlds"
            after = list(self._steps(world))
            self.seen.steps += len(after)
            if all(self._question(past) is None for past in world.processes):
                self.seen.ends += 1
                self._let_the_heir_finish(world)
            for one in after:
                key = one.key()
                if key not in known:
                    known.add(key)
                    waiting.append(one)
        return self.seen

    def walk(self, world: World, *, seed: int) -> int:
        """One history drawn by chance, to its end; how many processes were killed in it. Raises Violation."""
        chance = random.Random(seed)
        logging.disable(logging.CRITICAL)
        try:
            while (drawn := self._drawn(world, chance)) is not None:
                self.seen.worlds += 1
                world = drawn
            self._let_the_heir_finish(world)
        finally:
            logging.disable(logging.NOTSET)
        return world.crashes

    def _drawn(self, world: World, chance: random.Random) -> World | None:
        """One next world; a misfortune strikes one step in five. None at the end of the history."""
        able = [index for index, past in enumerate(world.processes) if self._may_go_on(world, past)]
        if world.late and chance.random() < 0.1:
            return carry_out(replace(world, late=world.late[1:]), world.late[0])[0]
        if world.sleeps < self._sleeps and chance.random() < 0.03:
            return self._slept(world)
        if not able:
            return None
        index = chance.choice(able)
        call = self._question(world.processes[index])
        assert call is not None
        outcomes = list(self._outcomes(world, index, call))
        return chance.choice(outcomes[1:]) if outcomes[1:] and chance.random() < 0.2 else outcomes[0]

    # --- one step

    def _may_go_on(self, world: World, past: Past | None) -> bool:
        if past is None or (past.name in self._waiting and not world.flipped):
            return False
        return self._question(past) is not None

    @staticmethod
    def _slept(world: World) -> World:
        return _expired(replace(world, clock=world.clock + SLEEP, sleeps=world.sleeps + 1))

    def _question(self, past: Past | None) -> Call | None:
        """What the process asks next; None when it has ended."""
        if past is None:
            return None
        if past.question is True:
            past.question = _run(self._programs[past.name], past.answers)
        assert not isinstance(past.question, bool)
        return past.question

    def _steps(self, world: World) -> Iterator[World]:
        for index, past in enumerate(world.processes):
            call = self._question(past)
            if call is None or not self._may_go_on(world, past):
                continue
            self.seen.questions[call.name] += 1
            yield from self._outcomes(world, index, call)
        for index, call in enumerate(world.late):
            left = (*world.late[:index], *world.late[index + 1 :])
            yield carry_out(replace(world, late=left), call)[0]
        if world.sleeps < self._sleeps:
            yield self._slept(world)

    def _outcomes(self, world: World, index: int, call: Call) -> Iterator[World]:
        done, value = carry_out(world, call)
        yield _answered(done, index, value)
        if world.faults >= self._faults:
            return
        hurt = replace(world, faults=world.faults + 1)
        yield _answered(hurt, index, _FAILS)
        yield _ended(hurt, index)
        if call.name in ("commit", "send", "grant"):
            done = replace(done, faults=hurt.faults)
            yield _answered(done, index, _UNKNOWN)
            yield _ended(done, index)
        if call.name == "commit":
            yield _answered(replace(hurt, late=(*hurt.late, call)), index, _UNKNOWN)

    # --- what must be true in the end

    def _let_the_heir_finish(self, world: World) -> None:
        """Another replica, undisturbed: the flip is made, its page arrives, and copies stay bounded."""
        key = (frozenset(world.kept.items()), world.late, world.sent, world.crashes)
        if key in self._inherited:
            return
        self._inherited.add(key)
        world = _expired(replace(world, clock=world.clock + SLEEP))
        undisturbed = Undisturbed(world)
        self._heir(undisturbed)
        world = undisturbed.world
        for late in world.late:
            world, _ = carry_out(world, late)
        self._judge_the_end(world)

    def _judge_the_end(self, world: World) -> None:
        broken = violations(world.history, max_age=MAX_AGE)
        flipped = Counter(world.flipped)
        if flipped[1] != 1:
            broken.append(f"generation 1 flipped {flipped[1]} times")
        if flipped[2]:
            broken.append("generation 2 was flipped by evidence about generation 1")
        for rollout in self._rollouts:
            copies = world.sent.count(f"{rollout}.1")
            if copies < 1:
                broken.append(f"the page of {rollout} was lost")
            if copies > 2 + world.crashes:
                broken.append(f"{copies} copies of a page after {world.crashes} crashes")
            incidents = [key for key in world.kept if key.startswith(keys.incidents(rollout))]
            if len(incidents) != 1:
                broken.append(f"incidents: {incidents}")
            if len(flips(world.history, rollout)) != 1:
                broken.append(f"{rollout} flipped {len(flips(world.history, rollout))} times")
        if broken:
            raise Violation(broken)


def _run(program: Program, answers: Sequence[Answer]) -> Call | None:
    try:
        program(Surroundings(answers, TICK))
    except Asks as asks:
        return asks.call
    except KillswitchError:
        return None  # a command that ends with an error; what it said is no concern of the store's
    return None


def _answered(world: World, index: int, value: object) -> World:
    past = world.processes[index]
    assert past is not None
    return _with_process(world, index, past.after(Answer(value, world.clock)))


def _ended(world: World, index: int) -> World:
    return replace(_with_process(world, index, None), crashes=world.crashes + 1)


def _with_process(world: World, index: int, past: Past | None) -> World:
    return replace(world, processes=(*world.processes[:index], past, *world.processes[index + 1 :]))


def first_world(names: Sequence[str], *, tripped: bool = False, rollouts: Sequence[str] = (ROLLOUT,)) -> World:
    """Generation 1 armed, all processes about to begin; or tripped already, its page in the outbox."""
    world = World(kept={}, leases={}, revision=1, clock=TICK, processes=tuple(Past(name) for name in names))
    writes = [Put(keys.flag(rollout), flag_document(armed(rollout))) for rollout in rollouts]
    world, _ = _commit(world, (), writes)
    if not tripped:
        return world
    flag = flags.trip(
        armed(ROLLOUT), rollout=ROLLOUT, reason="refusal_rate 8.7%", rules=("refusal_rate",),
        incident=f"{ROLLOUT}.1", now=TICK, by="one", actor=Actor.CONTROLLER,
    )  # fmt: skip
    record = _draft(ROLLOUT, "one", TICK).on(armed(ROLLOUT))
    page = events.tripped(record, SETTINGS)
    entry = outbox.to_document(outbox.new_entry(page, at=TICK))
    writes = [
        Put(keys.flag(ROLLOUT), flag_document(flag)),
        Put(keys.incident(ROLLOUT, 1), incident_documents.to_document(record)),
        Put(keys.outbox(page.id), entry),
    ]
    return _commit(world, (), writes)[0]
