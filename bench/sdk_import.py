"""What the SDK costs a service: CPU milliseconds to import it and memory, over bare Python; medians of fresh processes.

CPU time, because what else runs on the machine is not the SDK's. Bytecode is compiled beforehand, as an installation
does it. The last rows hold what a service pays when it makes its `Router` and `CohortMetrics`: only then are the
store's reader and prometheus_client imported (many a service has imported the latter already).

    python -m bench.sdk_import [--runs 15]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass

_MEASURE = """
import json, sys, time
began = time.process_time()
{what}
spent = (time.process_time() - began) * 1000
# the present size, not the largest so far: that is inherited from whoever started this process
size = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS:")) / 1024
foreign = sorted({{name.partition(".")[0] for name in sys.modules}} - set(sys.stdlib_module_names) - {{"__main__"}})
print(json.dumps([spent, size, foreign]))
"""
_MADE = """import logging
logging.disable()  # there is no store
from killswitch.router import CohortMetrics, Router
router = Router("bench", "{store}", control="old")
CohortMetrics(router)
router.close()"""
_CASES = {
    "bare Python": "pass",
    "import prometheus_client": "import prometheus_client",
    "import killswitch.router": "import killswitch.router",
    "import Router, CohortMetrics": "from killswitch.router import CohortMetrics, Router",
    "both made, file://": _MADE.format(store="file:///nonexistent/flag.json"),
    "both made, etcd://": _MADE.format(store="etcd://127.0.0.1:1"),
}


@dataclass(frozen=True, slots=True)
class Cost:
    """Medians: CPU milliseconds of the statement alone, megabytes resident after it; what it loaded from outside."""

    milliseconds: float
    megabytes: float
    foreign: frozenset[str]


def measure(what: str, runs: int, bytecode: str) -> Cost:
    command = [sys.executable, "-c", _MEASURE.format(what=what)]
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    found = [json.loads(subprocess.check_output(command, env=environment)) for _ in range(runs + 1)][1:]
    return Cost(
        statistics.median(row[0] for row in found), statistics.median(row[1] for row in found), frozenset(found[0][2])
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as bytecode:
        costs = {name: measure(what, runs, bytecode) for name, what in _CASES.items()}
    bare = costs.pop("bare Python")
    print(f"over bare Python ({bare.megabytes:.1f} MB); an import is held to 100 ms and 20 MB")
    print(f"{'':30}{'CPU ms':>8}{'MB':>7}  not of the standard library")
    for name, cost in costs.items():
        print(
            f"{name:30}{cost.milliseconds - bare.milliseconds:8.1f}{cost.megabytes - bare.megabytes:7.1f}"
            f"  {', '.join(sorted(cost.foreign - bare.foreign))}"
        )


if __name__ == "__main__":
    main()
