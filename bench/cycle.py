"""A cycle of a thousand rollouts x 4 rules with a real Prometheus and etcd, and the daemon's memory.

Seconds are the daemon's own (`killswitch_cycle_seconds`), over cycles in which nothing breaches; memory is its
resident set. What judging alone takes is in `bench/judging.py`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.flip import fleet_of
from tests.faults.fleet import Replica


def megabytes(replica: Replica) -> float:
    """Resident, now."""
    for line in Path(f"/proc/{replica.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return float(line.split()[1]) / 1024
    raise RuntimeError("no VmRSS: this bench needs Linux")


def measured(rollouts: int, cycles: int) -> tuple[float, float]:
    """Mean seconds of a cycle, and the megabytes after them."""
    with fleet_of(rollouts) as fleet:
        (replica,) = fleet.replicas
        fleet.for_cycles(2)
        count, total = (replica.metric(f"killswitch_cycle_seconds_{part}") for part in ("count", "sum"))
        fleet.for_cycles(cycles)
        count_after, total_after = (replica.metric(f"killswitch_cycle_seconds_{part}") for part in ("count", "sum"))
        return (total_after - total) / (count_after - count), megabytes(replica)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=4)
    parser.add_argument("--rollouts", type=int, nargs="*", default=[1, 1000])
    arguments = parser.parse_args()
    for rollouts in arguments.rollouts:
        seconds, memory = measured(rollouts, arguments.cycles)
        bars = "80 MB" if rollouts == 1 else "1.5 s, 200 MB"
        print(f"{rollouts} rollouts: {seconds:.2f} s a cycle, {memory:.0f} MB (bar: {bars})", flush=True)


if __name__ == "__main__":
    main()
