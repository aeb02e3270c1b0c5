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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from killswitch.errors import KillswitchError, OutcomeUnknown, Unavailable
from killswitch.flags import flag as flags
from killswitch.flags import incident as incident_documents
from killswitch.flags.document import to_document as flag_document
from killswitch.flags.transitions import Actor
from killswitch.pages import events, outbox_entry
from killswitch.stores import Put, keys
from tests.doubles.pages import AT, SETTINGS, armed
from tests.faults.explored_programs import TTL, Asks, Program, Surroundings, Undisturbed, drafted
from tests.faults.explored_world import (
    MAX_AGE,
    ROLLOUT,
    Answer,
    Call,
    Past,
    Violation,
    World,
    carry_out,
    expired,
    transact,
)
from tests.faults.safety import flips, violations

BOTH: Final = (ROLLOUT, "search")  # flips that share a transaction
SLEEP: Final = TTL + 3.0  # past every lease, and past the grace of an attempt whose sender is gone
TICK: Final = AT + 10.0  # after arming
CONTROLLERS: Final = ("one", "two")
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

    At most ``faults`` misfortunes (crashes among them) and ``sleeps``, of ``sleep`` seconds: past every lease, unless
    it is less.
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
        sleep: float = SLEEP,
    ) -> None:
        self._programs = programs
        self._rollouts = rollouts
        self._waiting = frozenset(waiting)
        self._faults = faults
        self._sleeps = sleeps
        self._sleep = sleep
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

    def _slept(self, world: World) -> World:
        return expired(replace(world, clock=world.clock + self._sleep, sleeps=world.sleeps + 1))

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
        world = expired(replace(world, clock=world.clock + SLEEP))
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
    world, _ = transact(world, (), writes)
    if not tripped:
        return world
    flag = flags.trip(
        armed(ROLLOUT), rollout=ROLLOUT, reason="refusal_rate 8.7%", rules=("refusal_rate",),
        incident=f"{ROLLOUT}.1", now=TICK, by="one", actor=Actor.CONTROLLER,
    )  # fmt: skip
    record = drafted(ROLLOUT, "one", TICK).on(armed(ROLLOUT))
    page = events.tripped(record, SETTINGS)
    entry = outbox_entry.to_document(outbox_entry.new_entry(page, at=TICK))
    writes = [
        Put(keys.flag(ROLLOUT), flag_document(flag)),
        Put(keys.incident(ROLLOUT, 1), incident_documents.to_document(record)),
        Put(keys.outbox(page.id), entry),
    ]
    return transact(world, (), writes)[0]
