"""Programs of the real code that are run again and again: a controller with a breach, a deliverer, a person."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Final

from killswitch.deadline import Deadline
from killswitch.errors import KillswitchError
from killswitch.flags.incident import IncidentDraft
from killswitch.flags.transitions import Actor
from killswitch.fleet.session import Session
from killswitch.pages import events
from killswitch.pages.delivery import DeliveryPolicy, PageDelivery
from killswitch.pages.page import Page
from killswitch.stores import Compare, Delete, Lease, Put, keys
from killswitch.trips.pending import Trips
from killswitch.trips.request import TripRequest
from killswitch.trips.switch import Switch
from tests.doubles.pages import SETTINGS, incident, incident_draft
from tests.faults.explored_world import MAX_AGE, ROLLOUT, Answer, Call, World, carry_out, expired

TTL: Final = 10.0
POLICY: Final = DeliveryPolicy(claim_ttl=TTL, message_gap=0.0, first_pause=0.01, longest_pause=0.01)


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

    @property
    def answered(self) -> int:
        """How many questions have had their answer."""
        return self._next

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
            expired(replace(self.world, clock=self.world.clock + pause)), Call(name, arguments)
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


def drafted(rollout: str, by: str, tick: float) -> IncidentDraft:
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
    switched = switch(seen, wall=seen.wall, by=name, origin="test")
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
                drafted(rollout, name, tick), generation=1, actor=Actor.CONTROLLER, at=tick, page=SETTINGS,
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
    person = Switch(seen, wall=seen.wall, by="ann", origin="test")
    person.rearm(
        ROLLOUT, reason="mended", percent=1.0, stage="ramp_1",
        page=lambda armed: events.re_armed(armed, reason="mended", by="ann", settings=SETTINGS),
    )  # fmt: skip


Program = Callable[[Surroundings], None]
