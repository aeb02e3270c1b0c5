"""How soon 1,000 watching routers have acted on a commit, on one etcd.

Real followers (three threads, two connections each), some sixty a process; one real etcd on
loopback. Each round flips the flag and takes the time from just before the put was sent to the moment at which each
follower's snapshot was replaced, on the machine's one monotonic clock. The routers' own re-reads and reports go on
meanwhile.
A service has one. Several hundred in one process measure its interpreter's lock instead (4 processes of 250: tens of
seconds on two loaded cores, where 16 of 62 take under one).

    python -m bench.routers [--routers 1000] [--processes 16] [--rounds 10]
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import logging
import multiprocessing
import multiprocessing.connection
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from killswitch.flags import flag as flags
from killswitch.flags.document import to_document as flag_document
from killswitch.flags.flag import Flag
from killswitch.flags.transitions import Actor
from killswitch.router.follow import Follower
from killswitch.router.observers import Happening
from killswitch.router.snapshot import ObeyedFlag
from killswitch.stores import keys
from killswitch.stores.reader import LeaseWriter
from killswitch.stores.reader_opening import open_reader
from tests.servers.etcd import EtcdCluster, EtcdMember

ROLLOUT = "bench"


class Stamps:
    """When this router acted on each revision, in seconds on the monotonic clock."""

    def __init__(self) -> None:
        self.acted_at: dict[int, float] = {}

    def settled(self, snapshot: ObeyedFlag) -> None:
        self.acted_at.setdefault(snapshot.revision, time.monotonic())

    def happened(self, what: Happening) -> None:
        """Not measured here."""


def host(url: str, count: int, pipe: multiprocessing.connection.Connection) -> None:
    """One process with ``count`` routers: told a revision, it answers when each had acted on it."""
    logging.disable(logging.CRITICAL)
    stamps = [Stamps() for _ in range(count)]
    followers = []
    for own in stamps:
        reader = open_reader(url)
        assert isinstance(reader, LeaseWriter)
        followers.append(Follower(ROLLOUT, reader, reports=reader, observers=(own,)))
    for follower in followers:
        follower.start()
        time.sleep(0.03)  # services do not start in one instant either
    while not all(follower.health().watching for follower in followers):
        time.sleep(1.0)
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    while (revision := pipe.recv()) is not None:
        deadline = time.monotonic() + 30.0
        while time.monotonic() < deadline and not all(revision in own.acted_at for own in stamps):
            time.sleep(0.2)
        pipe.send([own.acted_at.get(revision, float("inf")) for own in stamps])
    for follower in followers:
        with contextlib.suppress(Exception):
            follower.close()


def put(member: EtcdMember, flag: Flag) -> int:
    key, value = keys.flag(ROLLOUT).encode(), flag_document(flag)
    body = {"key": base64.b64encode(key).decode(), "value": base64.b64encode(value).decode()}
    return int(member.call("/v3/kv/put", body)["header"]["revision"])


def armed(generation: int) -> Flag:
    return flags.arm(
        None,
        rollout=ROLLOUT,
        control="model-old",
        canary="model-new",
        percent=5.0,
        stage="ramp_5",
        now=1_776_000_000.0,
        by="bench",
        generation=generation,
    )


def tripped(generation: int) -> Flag:
    return flags.trip(
        armed(generation),
        rollout=ROLLOUT,
        reason="bench",
        rules=(),
        incident="i",
        now=1_776_000_001.0,
        by="bench",
        actor=Actor.CONTROLLER,
    )


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--routers", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--settle", type=float, default=6.0, help="seconds between rounds")
    asked = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, EtcdCluster(Path(folder)) as etcd:
        member = etcd.members[0]
        put(member, armed(1))
        share = asked.routers // asked.processes
        pipes, processes = [], []
        for _ in range(asked.processes):
            ours, theirs = spawn.Pipe()
            process: Any = spawn.Process(target=host, args=(etcd.url, share, theirs), daemon=True)
            process.start()
            pipes.append(ours)
            processes.append(process)
        memory = [pipe.recv() for pipe in pipes]
        routers = share * asked.processes
        print(f"{routers} routers in {asked.processes} processes watch; {max(memory) / 1024:.0f} MB the largest")
        trips = []
        for generation in range(1, asked.rounds + 1):
            time.sleep(asked.settle)
            trips.append(flip(member, pipes, tripped(generation), f"trip {generation}"))
            time.sleep(asked.settle)
            flip(member, pipes, armed(generation + 1), f"arm {generation + 1}")
        print(f"commit to 99 % of {routers} routers, {len(trips)} trips: median {statistics.median(trips):.3f} s, "
              f"worst {max(trips):.3f} s (held to 1 s)")  # fmt: skip
        for pipe in pipes:
            pipe.send(None)
        for process in processes:
            process.join(20)


def flip(member: EtcdMember, pipes: Sequence[multiprocessing.connection.Connection], flag: Flag, what: str) -> float:
    """Seconds from before the put was sent until 99 % of the routers had acted on it."""
    sent_at = time.monotonic()
    revision = put(member, flag)
    answered = time.monotonic() - sent_at
    for pipe in pipes:
        pipe.send(revision)
    delays = [at - sent_at for pipe in pipes for at in pipe.recv()]
    print(f"  {what}: etcd answered after {answered * 1000:.0f} ms; acted: median {quantile(delays, 0.5):.3f} s, "
          f"99 % {quantile(delays, 0.99):.3f} s, last {max(delays):.3f} s", flush=True)  # fmt: skip
    return quantile(delays, 0.99)


if __name__ == "__main__":
    main()
