"""A replica between verdict and page that is killed, stopped, or lied to at one chosen step; a real process.

It runs the real session, trip and delivery against the real etcd and the Slack double. Its steps are its calls
of the store and its sends; at step ``at`` it does to itself what ``strike`` says. Processes are made by a
forkserver that has imported everything, so a hundred of them cost seconds.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import TypeVar

from killswitch.deadline import Deadline
from killswitch.errors import OutcomeUnknown
from killswitch.flags.transitions import Actor
from killswitch.fleet.session import Session
from killswitch.net.credentials import Secret
from killswitch.pages.delivery import DeliveryPolicy, PageDelivery
from killswitch.pages.page import Page
from killswitch.pages.receivers.slack import SlackPager
from killswitch.stores import Committed, Compare, Delete, Item, Lease, Lost, Put, Snapshot, Store
from killswitch.stores.opening import open_store
from killswitch.trips.pending import Trips
from killswitch.trips.request import TripRequest
from killswitch.trips.switch import Switch
from tests.doubles.pages import SETTINGS, incident_draft

TTL = 2.0  # the shortest lease etcd gives
MAX_AGE = 6.0
# one message a second is for people; here hundreds of pages wait for one receiver
POLICY = DeliveryPolicy(
    claim_ttl=TTL, message_gap=0.0, single_pages_per_minute=1_000_000, first_pause=0.05, longest_pause=0.2
)
_T = TypeVar("_T")


class Strike(StrEnum):
    KILL_BEFORE = "kill before"
    KILL_AFTER = "kill after"
    STOP_BEFORE = "stop before"
    LOSE_ANSWER = "lose answer"


@dataclass(frozen=True, slots=True)
class Victim:
    """``tick`` is Unix seconds: when its breach was seen."""

    name: str
    rollout: str
    generation: int
    tick: float
    strike: Strike
    at: int
    store: str
    slack: str
    token: Path


class _Striking:
    """A store and a pager that count their calls and strike at one of them."""

    def __init__(self, victim: Victim, store: Store, pager: SlackPager) -> None:
        self._victim = victim
        self._store = store
        self._pager = pager
        self._steps = 0
        self.name = pager.name

    def _step(self, do: Callable[[], _T]) -> _T:
        here = self._steps == self._victim.at
        self._steps += 1
        if not here:
            return do()
        match self._victim.strike:
            case Strike.KILL_BEFORE:
                os.kill(os.getpid(), signal.SIGKILL)
            case Strike.KILL_AFTER:
                do()
                os.kill(os.getpid(), signal.SIGKILL)
            case Strike.STOP_BEFORE:
                # to this thread: another one might take a signal to the process, and this one go on for a moment
                signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
            case Strike.LOSE_ANSWER:
                do()
                raise OutcomeUnknown("the answer was lost")
        return do()

    def get(self, key: str) -> Item | None:
        return self._step(lambda: self._store.get(key))

    def list(self, prefix: str) -> Snapshot:
        return self._step(lambda: self._store.list(prefix))

    def commit(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> Committed | Lost:
        return self._step(lambda: self._store.commit(compares, writes))

    def grant(self, ttl: float) -> Lease:
        return self._step(lambda: self._store.grant(ttl))

    def keep_alive(self, lease: Lease) -> Lease | None:
        return self._step(lambda: self._store.keep_alive(lease))

    def revoke(self, lease: Lease) -> None:
        self._store.revoke(lease)

    def close(self) -> None:
        self._store.close()

    def address(self, page: Page) -> str | None:
        return self._pager.address(page)

    def send(self, page: Page, *, possible_repeat: bool, deadline: Deadline) -> str:
        return self._step(lambda: self._pager.send(page, possible_repeat=possible_repeat, deadline=deadline))


def trip_request(rollout: str, generation: int, tick: float, by: str) -> TripRequest:
    return TripRequest(
        incident_draft(rollout, by=by, tick=tick, reason="refusal_rate 8.7%"), generation=generation,
        actor=Actor.CONTROLLER, at=tick, page=SETTINGS,
    )  # fmt: skip


def delivery_of(store: Store, pager: SlackPager, name: str) -> PageDelivery:
    return PageDelivery(store, [pager], owner=name, policy=POLICY)


class _AtOnce:
    """Lanes on the caller's thread, so that steps have one order."""

    def submit(self, job: Callable[[], None], /) -> None:
        job()


def live(victim: Victim) -> None:
    """The life of one victim: the trip, then five looks at the outbox. Ends by itself if nothing ends it."""
    logging.disable(logging.CRITICAL)
    striking = _Striking(
        victim, open_store(victim.store), SlackPager(Secret.from_file(victim.token), base_url=victim.slack)
    )
    session = Session(striking, victim.name, monotonic=time.monotonic, ttl=TTL)
    decided_at = time.monotonic() - (time.time() - victim.tick)
    trips = Trips(
        Switch(striking, wall=time.time, by=victim.name, origin="test"), guard=session.guard, doubt=session.doubt,
        monotonic=time.monotonic, max_age=MAX_AGE, session_ttl=TTL,
        on_settled=lambda _: None, on_failure=lambda *_: None,
    )  # fmt: skip
    trips.submit(trip_request(victim.rollout, victim.generation, victim.tick, victim.name), decided_at)
    while trips.under_way:
        trips.wait(10.0)
        trips.retry()
    delivery = PageDelivery(striking, [striking], owner=victim.name, policy=POLICY, executor=_AtOnce())
    for _ in range(5):
        delivery.run_once()


def start(victim: Victim) -> ForkServerProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.striking"])
    process = context.Process(target=live, args=(victim,), daemon=True)
    process.start()
    return process


def stopped(process: ForkServerProcess) -> bool:
    """Whether it sleeps by SIGSTOP now; true as well when it has ended."""
    try:
        state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state in "TZX"
