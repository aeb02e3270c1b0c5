"""One million recorded pairs judged: seconds, and the most memory that it takes, columns included.

python -m bench.shadow_million [--pairs 1000000] [--classes 50]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from bench.shadow_traffic import ShadowTraffic, drawn
from killswitch.shadow.decision import assess


def megabytes(which: str) -> float:
    """``VmRSS``: now. ``VmHWM``: at most since `forget_the_peak`."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which)) / 1024


def forget_the_peak() -> None:
    """Drawing the pairs takes more memory than judging them, and is not part of it."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=50)
    given = parser.parse_args()
    before = megabytes("VmRSS")
    classes = tuple(f"class {number}" for number in range(given.classes))
    columns = drawn(ShadowTraffic(classes=classes, errors=0.004), given.pairs, 1)
    forget_the_peak()
    with_columns = megabytes("VmRSS")
    began, spent = time.perf_counter(), time.process_time()
    decision = assess(columns)
    seconds, processor = time.perf_counter() - began, time.process_time() - spent
    print(decision.sentence)
    print(f"{given.pairs:,} pairs, {len(decision.classes)} classes: {seconds:.1f} s, {processor:.1f} s of processor")
    most = megabytes("VmHWM")
    print(f"memory: {before:.0f} MB before, {with_columns:.0f} MB with the columns, {most:.0f} MB at most in judging")


if __name__ == "__main__":
    main()
