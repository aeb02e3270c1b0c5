"""What the SDK costs the service it lives in: a decision's time, the import's time, and memory.

Run ``python bench/route.py``. Times are ratios to ``hashlib.sha256`` alone and to bare Python in the same run, beside
the absolute figures, which are this machine's.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from killswitch import flag
from killswitch.router import CohortMetrics, Router, bucket

CALLS = 2_000
ROUNDS = 300
_IMPORT = """
import resource, time
def resident(): return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20
memory, start, cpu = resident(), time.perf_counter(), time.process_time()
{statement}
print((time.perf_counter() - start) * 1000, (time.process_time() - cpu) * 1000, resident() - memory)
"""


def microseconds(call: Callable[[str], object], keys: list[str]) -> tuple[float, float]:
    """Median and 99th percentile over rounds of the mean time of one call, the empty call's time taken off."""

    def mean(of: Callable[[str], object]) -> float:
        start = time.thread_time()  # CPU time: what others do on this machine is not the router's
        for key in keys:
            of(key)
        return (time.thread_time() - start) / len(keys) * 1e6

    rounds = sorted(mean(call) - mean(_nothing) for _ in range(ROUNDS))
    return statistics.median(rounds), rounds[int(0.99 * len(rounds))]


def _nothing(key: str) -> None:
    pass


def imported(statement: str, cache: str) -> list[float]:
    """Least wall and CPU milliseconds and megabytes of ``statement`` in fresh processes, from bytecode.

    The least, because what else runs on the machine can only add.
    """
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    runs = []
    for _ in range(20):
        command = [sys.executable, "-c", _IMPORT.format(statement=statement)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        runs.append([float(part) for part in done.stdout.split()])
    return [min(column) for column in zip(*runs[1:], strict=True)]  # the first one compiles


def main() -> None:
    keys = [f"user-{number}" for number in range(CALLS)]
    encoded = dict(zip(keys, (key.encode() for key in keys), strict=True))
    armed = flag.arm(
        None, rollout="bench", control="old", canary="new", percent=5.0, stage="ramp_5", now=time.time(), by="bench"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flag.json"
        path.write_bytes(flag.to_document(armed))
        with Router("bench", f"file://{path}", control="old", registry=None) as router:
            if not router.wait_until_read(10.0):
                raise SystemExit("the flag file was not read within 10 s")
            metrics = CohortMetrics(router)

            def whole_request(key: str) -> None:
                with metrics.request(router.route(key), user=key):
                    pass

            rows: list[tuple[str, Callable[[str], object]]] = [
                ("hashlib.sha256 alone, digest", lambda key: sha256(encoded[key]).digest()),
                ("the formula, bucket()", lambda key: bucket("", key)),
                ("Router.route()", router.route),
                ("Router.route() with a pin", lambda key: router.route(key, "canary")),
                ("route() and a counted request", whole_request),
            ]
            base = 0.0
            print(f"{'one call':34}{'median us':>10}{'p99 us':>9}{'x sha256':>10}")
            for name, call in rows:
                median, high = microseconds(call, keys)
                base = base or median
                print(f"{name:34}{median:10.3f}{high:9.3f}{median / base:10.2f}")
    print(f"\n{'import':34}{'wall ms':>10}{'CPU ms':>9}{'MB':>9}")
    with tempfile.TemporaryDirectory() as cache:
        for statement in ("pass", "import prometheus_client", "from killswitch.router import Router, CohortMetrics"):
            wall, cpu, megabytes = imported(statement, cache)
            print(f"{statement:34.34}{wall:10.1f}{cpu:9.1f}{megabytes:9.1f}")


if __name__ == "__main__":
    main()
