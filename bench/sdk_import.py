"""What the SDK costs a service: seconds to import it and memory, over bare Python; best of several runs.

python -m bench.sdk_import [--runs 9]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

_MEASURE = """
import json, sys, time
started = time.perf_counter()
{what}
spent = time.perf_counter() - started
# the present size, not the largest so far: that is inherited from whoever started this process
size = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS:"))
foreign = sorted({{name.partition(".")[0] for name in sys.modules}} - set(sys.stdlib_module_names))
print(json.dumps([spent, size / 1024, foreign]))
"""
_CASES = {
    "bare Python": "pass",
    "prometheus_client alone": "import prometheus_client",
    "killswitch.router": "import killswitch.router",
    "killswitch.router and its etcd reader": "import killswitch.router, killswitch.stores.etcd_reader",
}


def measure(what: str, runs: int) -> tuple[float, float, list[str]]:
    """The least seconds and megabytes of ``runs`` fresh interpreters, and the top-level modules loaded."""
    found = [
        json.loads(subprocess.check_output([sys.executable, "-c", _MEASURE.format(what=what)])) for _ in range(runs)
    ]
    return min(row[0] for row in found), min(row[1] for row in found), found[0][2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=9)
    runs = parser.parse_args().runs
    bare_seconds, bare_megabytes, bare_modules = measure(_CASES["bare Python"], runs)
    print(f"bare Python: {bare_megabytes:.1f} MB")
    for name, what in list(_CASES.items())[1:]:
        seconds, megabytes, modules = measure(what, runs)
        added = ", ".join(sorted(set(modules) - set(bare_modules)))
        print(
            f"{name}: {(seconds - bare_seconds) * 1000:.0f} ms (held to 100), "
            f"{megabytes - bare_megabytes:.1f} MB (held to 20); not of the standard library: {added}"
        )


if __name__ == "__main__":
    main()
