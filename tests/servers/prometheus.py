"""A real Prometheus for tests: with a history made by promtool, with targets to scrape, or both.

::

    history = openmetrics({'llm_requests_total{cohort="canary"}': [(1000.0, 0), (1015.0, 7)]})
    with PrometheusServer(tmp_path, history=history) as server:
        source = Prometheus(server.url)
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from killswitch.sources.scrape.exposition import series_of
from killswitch.sources.scrape.sample_history import SampleHistory
from tests.servers.etcd import free_ports, wait_until
from tests.servers.freezing import freeze

# `make compat` names another version's programs
PROMETHEUS = os.environ.get("KILLSWITCH_TEST_PROMETHEUS", "prometheus")
PROMTOOL = os.environ.get("KILLSWITCH_TEST_PROMTOOL", "promtool")
Samples = Iterable[tuple[float, float]]  # Unix seconds, value


def openmetrics(series: Mapping[str, Samples]) -> str:
    """A recording as promtool reads it: ``name{labels} value seconds``, one line a sample, then ``# EOF``."""
    lines = [f"{name} {value:.17g} {stamp:.3f}" for name, samples in series.items() for stamp, value in samples]
    return "\n".join([*lines, "# EOF", ""])


def keep_as_scraped(recording: str, path: Path) -> None:
    """Write a recording's samples to the file in which the `scrape` source keeps what it has scraped."""
    history = SampleHistory(path)
    by_stamp: dict[int, list[tuple[str, dict[str, str], float]]] = {}
    for line in recording.splitlines()[:-1]:
        series, value, stamp = line.rsplit(" ", 2)
        by_stamp.setdefault(round(float(stamp) * 1000), []).append((*series_of(series), float(value)))
    for milliseconds, samples in by_stamp.items():
        history.add(milliseconds, samples)
    history.close()


class PrometheusServer:
    """One Prometheus process in ``folder``. Its data outlives a stop, so that `start` continues where it ended.

    ``history`` is an OpenMetrics recording to hold from the beginning; ``scrape_configs`` is Prometheus'
    own configuration (JSON is YAML), ``more`` further keys of it; ``flags`` are appended to its command line.
    """

    def __init__(
        self,
        folder: Path,
        *,
        history: str | None = None,
        scrape_configs: Sequence[Mapping[str, Any]] = (),
        scrape_interval: str = "1s",
        flags: Sequence[str] = (),
        web_config: str | None = None,
        scheme: str = "http",
        more: Mapping[str, Any] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.log = folder / "prometheus.log"
        self._data = folder / "data"
        self._flags = [*flags]
        self._scheme = scheme
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._log_begins = 0
        config = {"global": {"scrape_interval": scrape_interval}, "scrape_configs": list(scrape_configs)} | dict(
            more or {}
        )
        (folder / "prometheus.yml").write_text(json.dumps(config))
        self._guarded = web_config is not None
        if web_config is not None:
            (folder / "web.yml").write_text(web_config)
            self._flags.append(f"--web.config.file={folder / 'web.yml'}")
        if history is not None:
            self.record(history)

    def record(self, history: str) -> None:
        """Adds a recording to the data of a server that is not running."""
        assert self._process is None, "blocks are made while the server is down"
        recording = self.folder / "recording.om"
        recording.write_text(history)
        command = [PROMTOOL, "tsdb", "create-blocks-from", "openmetrics", "--quiet", str(recording), str(self._data)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Starts and waits until it is ready; on the same port as before, if there was one."""
        assert self._process is None
        attempts = 1 if self._port else 5  # a port that was free may be taken when Prometheus comes to it
        for attempt in range(attempts):
            self._port = self._port or free_ports(1)[0]
            self._launch()
            try:
                wait_until(self._ready_or_ended, f"Prometheus ready; its log is {self.log}")
            except TimeoutError:
                self.kill()
                raise
            if self._process is not None and self._process.poll() is None:
                return
            self._process = None
            if attempt + 1 < attempts:
                self._port = 0
        raise RuntimeError(f"Prometheus did not start: {self.log.read_text()[-2000:]}")

    def _launch(self) -> None:
        with self.log.open("ab") as log:
            self._log_begins = log.tell()
            self._process = subprocess.Popen(
                [
                    PROMETHEUS,
                    f"--config.file={self.folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._data}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                    "--storage.tsdb.retention.time=50y",
                    "--web.enable-lifecycle",
                    f"--log.level={'info' if self._guarded else 'warn'}",
                    *self._flags,
                ],
                stdout=log,
                stderr=log,
            )

    def _ready_or_ended(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            return True
        if self._guarded:  # whoever has no credentials is not told whether it is ready
            return "Server is ready" in self.log.read_bytes()[self._log_begins :].decode(errors="replace")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/-/ready", timeout=1) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def stop(self) -> None:
        """An orderly end (SIGTERM)."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As if the machine had lost power (SIGKILL)."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: connections are accepted by the kernel, and nobody answers."""
        assert self._process is not None
        freeze(self._process.pid)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(how)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(20)
        self._process = None

    def query(self, promql: str, at: float) -> list[dict[str, Any]]:
        """What Prometheus itself answers, for comparison: the result of an instant query."""
        form = urllib.parse.urlencode({"query": promql, "time": f"{at:.3f}"}).encode()
        with urllib.request.urlopen(f"{self.url}/api/v1/query", form, timeout=30) as response:
            result: list[dict[str, Any]] = json.load(response)["data"]["result"]
        return result

    def value(self, promql: str, at: float) -> float | None:
        """The one number of a query, or None where it gives nothing."""
        result = self.query(promql, at)
        assert len(result) <= 1, result
        return float(result[0]["value"][1]) if result else None

    @property
    def left_open(self) -> bool:
        """Whether ``[1s]`` leaves its first instant out, as Prometheus 3 reads it; 2 does not."""
        return self.value("count_over_time(vector(1)[1s:1s])", 1_000_000_000.0) == 1.0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
