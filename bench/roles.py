"""What a role's model costs to ask for, and how soon 1,000 services have a rollback, on one etcd.

The first part times `Roles.model_for` and `Roles.answered` with 1,000 roles in a store. The second runs real
followers, some sixty a process, on one real etcd with as many roles: each round rolls one role back and takes the time
from just before the commit was sent to the moment at which each follower's pins were replaced.

    python -m bench.roles [--services 1000] [--processes 16] [--rounds 10] [--roles 1000]
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import multiprocessing
import multiprocessing.connection
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from killswitch.roles.document import to_document
from killswitch.roles.role import Role, RoleChange, Slot
from killswitch.router import Roles
from killswitch.router.observers import Happening
from killswitch.router.pinned.answered import Mismatches
from killswitch.router.pinned.following import RolesFollower
from killswitch.router.pinned.memory import PinnedModels, RolesPolicy
from killswitch.stores import Committed, Put, Store, keys
from killswitch.stores.opening import open_store
from killswitch.stores.reader import LeaseWriter
from killswitch.stores.reader_opening import open_reader
from tests.servers.etcd import EtcdCluster

ROLE = "r0000"
CALLS = 20_000
ROUNDS = 50


def role(name: str, model: str, number: int) -> Role:
    return Role(name, model, "candidate", "previous", number, RoleChange.ROLLED_BACK, 1_776_000_000.0, "bench")


def fill(store: Store, roles: int) -> None:
    names = [f"r{number:04d}" for number in range(roles)]
    for start in range(0, roles, 100):
        store.commit((), [Put(keys.role(one), to_document(role(one, "m0", 1))) for one in names[start : start + 100]])


def microseconds(call: Callable[[], object]) -> tuple[float, float]:
    """Median and 99th percentile over rounds of the mean time of one call, the empty loop's time taken off."""

    def mean(of: Callable[[], object]) -> float:
        start = time.thread_time()  # CPU time: what others do on this machine is not ours
        for _ in range(CALLS):
            of()
        return (time.thread_time() - start) / CALLS * 1e6

    rounds = sorted(mean(call) - mean(_nothing) for _ in range(ROUNDS))
    return statistics.median(rounds), rounds[int(0.99 * len(rounds))]


def _nothing() -> None:
    pass


def calls() -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite://{folder}/flags.db"
        store = open_store(url)
        fill(store, 1000)
        with Roles(url) as roles:
            if not roles.wait_ready(20.0):
                raise SystemExit("the store was not read within 20 s")
            rows: list[tuple[str, Callable[[], object]]] = [
                ("model_for(role)", lambda: roles.model_for(ROLE)),
                ("model_for(role, slot=…)", lambda: roles.model_for(ROLE, slot="candidate")),
                ("answered(), as pinned", lambda: roles.answered(ROLE, "m0", "m0")),
                ("answered(), another model, counted", lambda: roles.answered(ROLE, "m0", "m1")),
            ]
            print(f"{'one call':38}{'median us':>10}{'p99 us':>9}")
            for name, call in rows:
                median, high = microseconds(call)
                print(f"{name:38}{median:10.3f}{high:9.3f}")
        store.close()


class Stamps:
    """When these pins came to hold each model, in seconds on the monotonic clock."""

    def __init__(self) -> None:
        self.held_at: dict[str, float] = {}

    def settled(self, snapshot: PinnedModels) -> None:
        model = snapshot.model(Slot.PROD, ROLE)
        if model is not None:
            self.held_at.setdefault(model, time.monotonic())

    def happened(self, what: Happening) -> None:
        """Not measured here."""


def host(url: str, count: int, pipe: multiprocessing.connection.Connection) -> None:
    """One process with ``count`` services: told a model, it answers when each of them had it."""
    logging.disable(logging.CRITICAL)
    stamps = [Stamps() for _ in range(count)]
    followers = []
    for own in stamps:
        reader = open_reader(url)
        followers.append(
            RolesFollower(
                reader,
                policy=RolesPolicy(),
                defaults={},
                mismatches=Mismatches(),
                reports=reader if isinstance(reader, LeaseWriter) else None,
                observers=(own,),
            )
        )
    for follower in followers:
        follower.start()
        time.sleep(0.05)  # services do not start in one instant either
    while not all(follower.watching for follower in followers):
        time.sleep(1.0)
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    while (model := pipe.recv()) is not None:
        deadline = time.monotonic() + 30.0
        while time.monotonic() < deadline and not all(model in own.held_at for own in stamps):
            time.sleep(0.2)
        pipe.send([own.held_at.get(model, float("inf")) for own in stamps])
    for follower in followers:
        with contextlib.suppress(Exception):
            follower.close()


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def rollbacks(services: int, processes: int, rounds: int, roles: int, settle: float) -> None:
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, EtcdCluster(Path(folder)) as etcd:
        store = open_store(etcd.url)
        fill(store, roles)
        share = services // processes
        pipes, hosts = [], []
        for _ in range(processes):
            ours, theirs = spawn.Pipe()
            process: Any = spawn.Process(target=host, args=(etcd.url, share, theirs), daemon=True)
            process.start()
            pipes.append(ours)
            hosts.append(process)
        memory = [pipe.recv() for pipe in pipes]
        print(f"{share * processes} services in {processes} processes follow {roles} roles; "
              f"{max(memory) / 1024:.0f} MB the largest")  # fmt: skip
        worst = [roll_back(store, pipes, number, settle) for number in range(1, rounds + 1)]
        print(f"commit to 99 % of {share * processes} services, {rounds} rollbacks: "
              f"median {statistics.median(worst):.3f} s, worst {max(worst):.3f} s (held to 1 s)")  # fmt: skip
        for pipe in pipes:
            pipe.send(None)
        for process in hosts:
            process.join(20)
        store.close()


def roll_back(
    store: Store, pipes: Sequence[multiprocessing.connection.Connection], number: int, settle: float
) -> float:
    """Seconds from before the commit was sent until 99 % of the services had the pin."""
    time.sleep(settle)
    model = f"model-{number}"
    sent_at = time.monotonic()
    outcome = store.commit((), [Put(keys.role(ROLE), to_document(role(ROLE, model, number + 1)))])
    answered = time.monotonic() - sent_at
    assert isinstance(outcome, Committed)
    for pipe in pipes:
        pipe.send(model)
    delays = [at - sent_at for pipe in pipes for at in pipe.recv()]
    print(f"  rollback {number}: etcd answered after {answered * 1000:.0f} ms; median {quantile(delays, 0.5):.3f} s, "
          f"99 % {quantile(delays, 0.99):.3f} s, last {max(delays):.3f} s", flush=True)  # fmt: skip
    return quantile(delays, 0.99)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--roles", type=int, default=1000)
    parser.add_argument("--settle", type=float, default=6.0, help="seconds between rounds")
    asked = parser.parse_args()
    calls()
    if asked.services:
        rollbacks(asked.services, asked.processes, asked.rounds, asked.roles, asked.settle)


if __name__ == "__main__":
    main()
