"""How long a back-test of seven days takes, from a recording in memory; and how long the file takes to read."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from bench.histories import History, openmetrics
from killswitch.preflight.backtest.backtest import backtest, bare_comparison
from killswitch.preflight.backtest.results import Terms
from killswitch.rules.loading import load_folder
from killswitch.sources.recording import Recording

_Result = TypeVar("_Result")


def _timed(what: str, work: Callable[[], _Result]) -> _Result:
    began, cpu = time.perf_counter(), time.process_time()
    result = work()
    print(f"{what}: {time.perf_counter() - began:.2f} s ({time.process_time() - cpu:.2f} s of one core)")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=7.0)
    parser.add_argument("--rules", type=Path, default=Path("rules"))
    options = parser.parse_args()
    rollouts = load_folder(options.rules).rollouts[:1]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "history.om"
        file.write_text(openmetrics(History(seconds=options.days * 86_400)))
        size = file.stat().st_size / 1e6
        recording = _timed(f"reading {size:.0f} MB of OpenMetrics", lambda: Recording(file))
    terms = Terms(*recording.span)
    found = _timed(
        f"back-test of {options.days:g} days at 30 s, 4 rules, from memory (bar for 7 days: 2 s)",
        lambda: backtest(recording, rollouts, terms),
    )
    _timed("the bare rule beside it, every tick judged", lambda: bare_comparison(recording, found, terms))
    print(f"ticks: {found[0].ticks:,}, trips: {len(found[0].trips)}")


if __name__ == "__main__":
    main()
