"""A cycle of a thousand rollouts x 4 rules with a real Prometheus and etcd, and the daemon's memory.

All as by default: an interval of 30 s, and evidence decides. Seconds are the daemon's own
(`killswitch_cycle_seconds`), over cycles in which nothing breaches; memory is its resident set, with the settings of
malloc and of OpenBLAS that the image has. What judging alone takes is in `bench/judging.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from pathlib import Path

from bench.flip import fleet_of
from killswitch.stores import keys
from tests.faults.fleet import Fleet
from tests.faults.replica import ROOT, Replica
from tests.servers.etcd import wait_until

SETTLING = 6
"""Cycles that are not measured: the first ones after a start plan every query, and learn which counters exist.

Evidence takes an hour to be ready, but its work is the same from the first steps on.
"""


def as_in_the_image() -> dict[str, str]:
    """How the image's Dockerfile sets malloc and OpenBLAS."""
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    found = dict(re.findall(r"\b((?:MALLOC|OPENBLAS)_\w+)=(\S+)", dockerfile))
    if not found:
        raise RuntimeError("the Dockerfile sets neither malloc nor OpenBLAS")
    return found


def megabytes(replica: Replica) -> float:
    """Resident, now."""
    for line in Path(f"/proc/{replica.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return float(line.split()[1]) / 1024
    raise RuntimeError("no VmRSS: this bench needs Linux")


def processor_seconds(pid: int) -> float:
    """What a process has used so far, user and system; it does not depend on who else is busy."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pass_cycles(fleet: Fleet, count: int) -> None:
    """Until so many more cycles are over, by the heartbeats in etcd: the replica itself is left in peace meanwhile."""
    (replica,) = fleet.replicas
    seen: set[str] = set()
    while len(seen) <= count:
        item = fleet.store.get(keys.controller(replica.name))
        if item is not None:
            seen.add(json.loads(item.value)["tick"])
        time.sleep(0.5)


def until_caught_up(fleet: Fleet) -> None:
    """Until the hour before has been read back for every rollout: then each of its rules has evidence to show."""
    (replica,) = fleet.replicas

    def opened() -> bool:
        time.sleep(5.0)  # a thousand rollouts' status is work, too
        rollouts = replica.status()["rollouts"]
        findings = [finding for rollout in rollouts for finding in rollout["findings"]]
        return bool(findings) and all(finding["evidence"] is not None for finding in findings)

    wait_until(opened, "every rollout's evidence", 900)


def measured(rollouts: int, cycles: int) -> tuple[float, float, float, float]:
    """A cycle's mean seconds, processor seconds of replica and Prometheus in it, and the replica's megabytes after."""
    with fleet_of(rollouts, interval=30.0, decide="evidence") as fleet:
        (replica,) = fleet.replicas
        until_caught_up(fleet)
        pass_cycles(fleet, SETTLING)
        count, total = (replica.metric(f"killswitch_cycle_seconds_{part}") for part in ("count", "sum"))
        used = [processor_seconds(pid) for pid in (replica.pid, fleet.prometheus.pid)]
        pass_cycles(fleet, cycles)
        ours, theirs = (
            processor_seconds(pid) - before
            for pid, before in zip((replica.pid, fleet.prometheus.pid), used, strict=True)
        )
        count_after, total_after = (replica.metric(f"killswitch_cycle_seconds_{part}") for part in ("count", "sum"))
        done = count_after - count
        return (total_after - total) / done, ours / done, theirs / done, megabytes(replica)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=4)
    parser.add_argument("--rollouts", type=int, nargs="*", default=[1, 1000])
    arguments = parser.parse_args()
    os.environ.update(as_in_the_image())  # the replica has what this process has
    for rollouts in arguments.rollouts:
        seconds, ours, theirs, memory = measured(rollouts, arguments.cycles)
        bars = "75 MB" if rollouts == 1 else "1.2 s, 180 MB"
        print(
            f"{rollouts} rollouts: {seconds:.2f} s a cycle (bar: {bars}), {memory:.0f} MB; between cycles' starts "
            f"the replica used {ours:.2f} s of processor, Prometheus {theirs:.2f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
