"""Workers of prometheus-client's multiprocess mode that end: real processes, and real files, behind one page."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest, multiprocess

from killswitch.deadline import Deadline
from killswitch.model import (
    Cohort,
    Counts,
    Matcher,
    Measurement,
    Range,
    RatioSignal,
    Reason,
    Selector,
    Unreadable,
    Want,
)
from killswitch.sources import Source
from killswitch.sources.opening import open_source
from tests.servers.etcd import wait_until
from tests.servers.prometheus import PrometheusServer

STEP = 2.0
COHORTS = {cohort: (Matcher("cohort", "=", cohort.value),) for cohort in Cohort}
SIGNAL = RatioSignal((Selector("llm_errors_total"),), (Selector("llm_requests_total"),))
WANT = Want("r", "error_rate", "step", SIGNAL, COHORTS, STEP, Range.STEP)
WORKER = textwrap.dedent("""
    import sys
    from prometheus_client import Counter
    requests = Counter("llm_requests", "requests", ["cohort"])
    errors = Counter("llm_errors", "errors", ["cohort"])
    print("ready", flush=True)
    for line in sys.stdin:
        asked, failed = map(int, line.split())
        for cohort in ("canary", "control"):
            requests.labels(cohort).inc(asked)
            errors.labels(cohort).inc(failed)
        print("done", flush=True)
""")


class Service:
    """A page of all workers' files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workers: list[subprocess.Popen[str]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry = CollectorRegistry()
                multiprocess.MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]
                self.send_response(200)
                self.end_headers()
                self.wfile.write(generate_latest(registry))

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def begin(self, requests: int, errors: int) -> subprocess.Popen[str]:
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(self.folder)}
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.workers.append(worker)
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        self.serve(worker, requests, errors)
        return worker

    def serve(self, worker: subprocess.Popen[str], requests: int, errors: int) -> None:
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(f"{requests} {errors}\n")
        worker.stdin.flush()
        assert worker.stdout.readline() == "done\n"

    def end(self, worker: subprocess.Popen[str], *, files: bool) -> None:
        """Kills it; ``files``: also what it counted is deleted, as some recipes do against too many files."""
        worker.send_signal(signal.SIGKILL)
        worker.wait(10)
        multiprocess.mark_process_dead(worker.pid, path=str(self.folder))  # type: ignore[no-untyped-call]
        if files:
            for each in self.folder.glob(f"*_{worker.pid}.db"):
                each.unlink()

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait(10)
        self.server.shutdown()


Watch = Callable[[], Source]


@pytest.fixture(params=["prometheus", "scrape"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Service, Watch]]:
    """A service without workers, and what begins to scrape it."""
    folder = tmp_path / "metrics"
    folder.mkdir()
    service = Service(folder)
    target = f"127.0.0.1:{service.server.server_port}"
    with ExitStack() as opened:
        opened.callback(service.close)

        def watch() -> Source:
            url = f"scrape+http://{target}"
            if request.param == "prometheus":
                job = {"job_name": "llm", "static_configs": [{"targets": [target]}]}
                server = PrometheusServer(tmp_path / "prometheus", scrape_configs=[job], scrape_interval="500ms")
                url = f"prometheus+{opened.enter_context(server).url}"
            source = open_source(url, scrape_interval=0.5)
            opened.callback(source.close)
            return source

        yield service, watch


class Ticks:
    """Every step since the first, each once."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._next = (source.now(Deadline(5)) // STEP) * STEP
        self.read: list[Measurement] = []

    def upto_now(self) -> None:
        while self._next <= self._source.now(Deadline(5)) - 0.7:
            reading = self._source.read([WANT], self._next, Deadline(5))[WANT.key]
            assert reading.canary == reading.control or isinstance(reading.canary, Unreadable)
            self.read.append(reading.canary)
            self._next += STEP

    def more(self, number: int) -> list[Measurement]:
        """Waits for this many steps that end later than now, and returns them."""
        self.upto_now()
        first = len(self.read)

        def there() -> bool:
            self.upto_now()
            return len(self.read) >= first + number

        wait_until(there, f"{number} more steps")
        return self.read[first : first + number]


def _sums(found: list[Measurement]) -> tuple[float, float]:
    counts = [each for each in found if isinstance(each, Counts)]
    return sum(each.events for each in counts), sum(each.trials for each in counts)


def test_a_killed_worker_takes_no_count_with_it(both: tuple[Service, Watch]) -> None:
    """A worker ends by SIGKILL and another begins: each request is counted once, and no step is a gap."""
    service, watch = both
    old, other = service.begin(9000, 300), service.begin(1000, 30)
    ticks = Ticks(watch())
    wait_until(lambda: isinstance(ticks.more(1)[0], Counts), "a step is counted")
    before = len(ticks.read)
    service.serve(old, 60, 6)
    service.end(old, files=False)
    young = service.begin(20, 2)
    service.serve(young, 10, 1)
    service.serve(other, 10, 1)
    ticks.more(3)
    found = ticks.read[before:]
    assert all(isinstance(each, Counts) for each in found), found
    assert _sums(found) == (10, 100)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_deleted_counts_of_a_worker_are_no_requests(both: tuple[Service, Watch], share: float) -> None:
    """Where a worker's files are deleted the sum falls: a gap, and no request or error that was not made now."""
    service, watch = both
    old = service.begin(int(10_000 * share), int(1_000 * share))
    other = service.begin(int(10_000 * (1 - share)), int(1_000 * (1 - share)))
    ticks = Ticks(watch())
    wait_until(lambda: isinstance(ticks.more(1)[0], Counts), "a step is counted")
    before = len(ticks.read)
    service.end(old, files=True)
    service.serve(other, 20, 2)
    ticks.more(2)
    service.serve(other, 30, 3)
    ticks.more(3)
    found = ticks.read[before:]
    events, trials = _sums(found)
    assert events <= 5, found
    assert trials <= 50, found
    assert events >= 3, found
    reasons = [each.reason for each in found if isinstance(each, Unreadable)]
    assert set(reasons) == {Reason.GAP}
