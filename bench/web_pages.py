"""The first page of 1,000 rollouts, made and painted by Chromium: `python -m bench.web_pages [COUNT]`.

Also the page of one rollout over 7 d, and the memory of trends after a week. The least of several is shown: other work
on the machine only adds.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from killswitch.status.document import status_document
from killswitch.status.rollout_page import rollout_page
from killswitch.status.web_page import status_page
from killswitch.trends.memory import TrendMemory
from killswitch.trends.trend import Span
from tests.doubles import web_pages
from tests.doubles.pages import AT
from tests.doubles.served import Served, listening
from tests.servers.chromium import Chromium, installed

TIMES = 5
PAINT = """new Promise(done => new PerformanceObserver(list => done(Math.min(...list.getEntries().map(
  one => one.startTime)))).observe({type: 'paint', buffered: true}))"""
ANSWER = "performance.getEntriesByType('navigation')[0].responseStart"
WEEK = 7 * 86_400


def least(do: Callable[[], object]) -> float:
    """Milliseconds of the fastest of `TIMES`."""
    found = []
    for _ in range(TIMES):
        began = time.perf_counter()
        do()
        found.append((time.perf_counter() - began) * 1000)
    return min(found)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    report = web_pages.report(count)
    made = least(lambda: status_page(status_document("kill-1", report, 4.0)))
    size = len(status_page(status_document("kill-1", report, 4.0)).encode())
    print(f"| {count:,} rollouts | |\n|---|---|\n| made in | {made:.0f} ms |\n| size | {size / 1000:,.0f} kB |")
    one = least(
        lambda: rollout_page(web_pages.explained(), web_pages.facts(), web_pages.course(Span.WEEK), tick=None)
    )  # fmt: skip
    print(f"| one rollout over 7 d, made in | {one:.0f} ms |")
    if installed() is not None:
        with (
            tempfile.TemporaryDirectory() as folder,
            listening(Served(latest=report)) as port,
            Chromium(Path(folder) / "profile") as browser,
        ):
            for width in (390, 1280):
                paints, answers = [], []
                for _ in range(TIMES):
                    browser.show(f"http://127.0.0.1:{port}/", width=width, theme="light")
                    paints.append(browser.evaluate(PAINT))
                    answers.append(browser.evaluate(ANSWER))
                print(f"| first paint at {width} px | {min(paints):.0f} ms (answer after {min(answers):.0f} ms) |")
    memory, findings = TrendMemory(), web_pages.findings() * 2
    few = {f"rollout-{number}": findings for number in range(10)}
    for second in range(0, WEEK + 7200, 60):
        memory.take(AT + second, few)
    print(f"| memory of trends after a week, 4 rules each | {memory.bytes / len(few) * count / 1e6:.1f} MB |")


if __name__ == "__main__":
    main()
