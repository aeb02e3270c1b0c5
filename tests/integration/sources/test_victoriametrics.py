"""A real VictoriaMetrics: its clock, its counts, and what it says of an answer that is not whole.

It is built from source by `make compat`, which names it; without one these tests are skipped.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from killswitch.deadline import Deadline
from killswitch.model import Buckets, Cohort, Counts, Matcher, QuantileSignal, Range, RatioSignal, Selector, Want
from killswitch.sources.prometheus.source import Prometheus
from killswitch.sources.recording import Recording
from tests.servers.etcd import free_ports, wait_until

VICTORIAMETRICS = os.environ.get("KILLSWITCH_TEST_VICTORIAMETRICS")
pytestmark = pytest.mark.skipif(VICTORIAMETRICS is None, reason="no VictoriaMetrics is named; `make compat` builds one")

COHORTS = {cohort: (Matcher("cohort", "=", cohort.value),) for cohort in Cohort}
ERRORS = RatioSignal((Selector("errors_total"),), (Selector("all_total"),))
LATENCY = QuantileSignal(Selector("latency_bucket"), 0.95)
WANTS = [
    Want("r", name, part, signal, COHORTS, seconds, range=kind)
    for name, signal in (("errors", ERRORS), ("p95", LATENCY))
    for part, seconds, kind in (("step", 30.0, Range.STEP), ("window", 300.0, Range.WINDOW))
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    assert VICTORIAMETRICS is not None
    folder = tmp_path_factory.mktemp("victoriametrics")
    (port,) = free_ports(1)
    arguments = [f"-storageDataPath={folder}", f"-httpListenAddr=127.0.0.1:{port}", "-loggerLevel=ERROR"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([VICTORIAMETRICS, *arguments], stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _answers(f"{address}/health"), "VictoriaMetrics answers")
        yield address
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as response:
        return bool(response.status == 200)
    return False


def _lines(end: float) -> list[tuple[str, float, float]]:
    """Series, value, time: an hour of both cohorts, scraped every 15 s."""
    lines = []
    for number in range(240):
        at = end - 15.0 * (239 - number)
        for cohort, speed in (("canary", 1.0), ("control", 19.0)):
            lines.append((f'all_total{{cohort="{cohort}"}}', 100 * speed * number, at))
            lines.append((f'errors_total{{cohort="{cohort}"}}', 3 * speed * number, at))
            for edge, share in (("0.5", 40), ("1", 90), ("+Inf", 100)):
                lines.append((f'latency_bucket{{cohort="{cohort}",le="{edge}"}}', share * speed * number, at))
    return lines


def test_its_clock_is_not_held_back(url: str) -> None:
    """Without asking, it answers as of 30 s ago."""
    source = Prometheus(url)
    before = time.time()
    now = source.now(Deadline(10))
    source.close()
    assert now >= before - 2.0


def test_it_counts_as_every_other_source_does(url: str, tmp_path: Path) -> None:
    """Steps to the digit. Its `increase()` does not extrapolate, so windows agree within a scrape of twenty."""
    tick = float(int(time.time() / 30) * 30 - 600)
    lines = _lines(tick + 300)
    body = "\n".join(f"{series} {value:.17g} {at * 1000:.0f}" for series, value, at in lines).encode()
    with urllib.request.urlopen(f"{url}/api/v1/import/prometheus", data=body, timeout=30) as response:
        assert response.status == 204
    recording = tmp_path / "x.om"
    recording.write_text("\n".join([f"{series} {value:.17g} {at:.3f}" for series, value, at in lines] + ["# EOF\n"]))
    reference = Recording(recording).read(WANTS, tick, Deadline(10))
    source = Prometheus(url)

    def found() -> bool:
        return isinstance(source.read(WANTS, tick, Deadline(10))["r", "errors", "step"].canary, Counts)

    wait_until(found, "what was imported can be searched")
    readings = source.read(WANTS, tick, Deadline(10))
    source.close()
    for want in WANTS:
        for cohort in Cohort:
            mine, theirs = (getattr(each[want.key], cohort.value) for each in (readings, reference))
            tolerance = 1e-9 if want.part == "step" else 0.06
            if isinstance(theirs, Counts):
                assert (mine.events, mine.trials) == pytest.approx((theirs.events, theirs.trials), rel=tolerance)
            else:
                assert isinstance(theirs, Buckets)
                assert mine.bounds == theirs.bounds
                assert mine.counts == pytest.approx(theirs.counts, rel=tolerance)
