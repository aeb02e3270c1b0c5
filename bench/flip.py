"""From the moment a tick can be judged to the flip's commit in etcd, for one rollout and for a thousand.

Real processes: one replica of the daemon, etcd, Prometheus, a service whose canary turns bad, Slack well or
hanging. The commit's time is when a watch on etcd brings it; the tick's, that it is due (tick + lag).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from killswitch.stores import keys
from killswitch.timestamps import from_iso
from tests.faults.etcd_history import EtcdHistory
from tests.faults.fleet import Fleet, rules_of
from tests.faults.service import HEALTHY
from tests.servers.etcd import wait_until

LAG = 1.0


class Stopwatch:
    """Notes when each flip arrives over a watch."""

    def __init__(self, fleet: Fleet) -> None:
        self.seconds: list[float] = []
        self._history = EtcdHistory(fleet.witness)
        self._read = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def _follow(self) -> None:
        while not self._stop.wait(0.05):
            changes = self._history.read()
            now = time.time()
            for change in changes[self._read :]:
                if change.key.startswith(keys.FLAGS) and change.value is not None:
                    trip = json.loads(change.value)["trip"]
                    if trip is not None:
                        self.seconds.append(now - from_iso(trip["at"]) - LAG)
            self._read = len(changes)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)


@contextlib.contextmanager
def fleet_of(rollouts: int, *, interval: float = 15.0, decide: str = "threshold") -> Iterator[Fleet]:
    """One replica that watches so many rollouts, four rules each. ``interval`` in seconds."""
    names = [f"r{number:04d}" for number in range(rollouts)]
    settings = {
        "INTERVAL": f"{interval:g}s", "LAG": f"{LAG:g}s", "CYCLE_DEADLINE": f"{min(10.0, interval - 2 * LAG):g}s",
        "SCRAPE_INTERVAL": "5s", "MAX_EVIDENCE_AGE": "60s", "SESSION_TTL": "15s", "FALLBACK_AFTER": "120s",
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        fleet = Fleet(
            Path(folder) / "fleet", replicas=1, rollouts=names, settings=settings, scrape="5s",
            rules=lambda name: rules_of(name).replace("window: 9s", f"window: {2 * interval:g}s")
            .replace("decide: threshold", f"decide: {decide}"),
        )  # fmt: skip
        with fleet:
            fleet.come_up()
            yield fleet


def flips(rollouts: int, *, rounds: int, slack_hangs: bool) -> list[float]:
    """Seconds from a tick's being due to each flip's commit."""
    with fleet_of(rollouts, interval=5.0 if rollouts == 1 else 15.0) as fleet, Stopwatch(fleet) as stopwatch:
        fleet.until_healthy(seconds=300)
        if slack_hangs:
            for replica in fleet.replicas:
                replica.to_slack.black_hole()
        for number in range(1, rounds + 1):
            fleet.fail()
            wanted = number * rollouts
            wait_until(lambda: len(stopwatch.seconds) >= wanted, "all flips", 300)  # noqa: B023
            if number < rounds:
                fleet.service.set(HEALTHY)
                fleet.for_cycles(4)
                for name in fleet.rollouts:
                    fleet.rearm(name)
                fleet.until_healthy()
        return sorted(stopwatch.seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="trips of the single rollout")
    parser.add_argument("--rollouts", type=int, nargs="*", default=[1, 1000])
    arguments = parser.parse_args()
    for rollouts in arguments.rollouts:
        for hangs in (False, True):
            taken = flips(rollouts, rounds=arguments.rounds if rollouts == 1 else 1, slack_hangs=hangs)
            p99 = taken[min(len(taken) - 1, int(0.99 * len(taken)))]
            state = "hanging" if hangs else "well"
            bar = 1 if rollouts == 1 else 4
            print(
                f"{rollouts} rollouts, Slack {state}: "
                f"median {taken[len(taken) // 2]:.2f} s, p99 {p99:.2f} s (bar: {bar} s)",
                flush=True,
            )


if __name__ == "__main__":
    main()
