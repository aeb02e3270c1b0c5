"""Processor seconds and modules that each command takes before it begins: `python -m bench.cli_start [COMMAND …]`.

Each is started five times with ``--help``, and the least is shown: other work on the machine only adds.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys

STARTS = 5
SHOWN = ("", "trip", "status", "arm", "stage", "check", "explain", "run", "doctor", "backtest")


def seconds(command: list[str]) -> float:
    """Processor time of a child, user and system."""

    def spent() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before = spent()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "COLUMNS": "100"})
    return spent() - before


def main() -> None:
    bare = min(seconds([sys.executable, "-c", "pass"]) for _ in range(STARTS))
    print(f"| command | processor, s | modules |\n|---|---|---|\n| `python -c pass` | {bare:.2f} | |")
    for name in sys.argv[1:] or SHOWN:
        command = [sys.executable, "-m", "killswitch", *([name] if name else []), "--help"]
        least = min(seconds(command) for _ in range(STARTS))
        said = subprocess.run([command[0], "-X", "importtime", *command[1:]], check=True, capture_output=True)
        modules = said.stderr.count(b"import time:") - 1
        print(f"| `killswitch {name} --help`".replace("  ", " ") + f" | {least:.2f} | {modules} |", flush=True)


if __name__ == "__main__":
    main()
