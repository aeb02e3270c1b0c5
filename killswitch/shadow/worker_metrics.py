"""What a worker exposes to Prometheus: how far it has come, and what waits."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Gauge, start_http_server
from prometheus_client import Counter as PrometheusCounter

from killswitch.shadow.worker import Progress

_COUNTED: Final = {
    "pairs": "Pairs compared and kept.",
    "files": "Raw files compared and deleted.",
    "broken": "Lines that could not be read or compared; they are set aside.",
    "expired": "Raw pairs that waited longer than texts may be kept, and were deleted unread.",
    "texts_removed": "Records whose texts were removed because they were old.",
}
_MEASURED: Final = {
    "waiting_files": "Raw files in the spool.",
    "waiting_bytes": "Their bytes.",
    "oldest_seconds": "Age of the oldest raw file.",
}


class WorkerMetrics:
    """Metrics ``killswitch_shadow_worker_…``. `update` is called with the worker's own progress."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._counters = {
            name: PrometheusCounter(f"killswitch_shadow_worker_{name}", said, registry=self.registry)
            for name, said in _COUNTED.items()
        }
        self._gauges = {
            name: Gauge(f"killswitch_shadow_worker_{name}", said, registry=self.registry)
            for name, said in _MEASURED.items()
        }
        self._failing = Gauge(
            "killswitch_shadow_worker_failing", "1 while sink, spool or embedding server fail.", registry=self.registry
        )
        self._seen = dict.fromkeys(_COUNTED, 0)

    def update(self, progress: Progress) -> None:
        for name, counter in self._counters.items():
            now = int(getattr(progress, name))
            counter.inc(now - self._seen[name])
            self._seen[name] = now
        for name, gauge in self._gauges.items():
            gauge.set(getattr(progress, name))
        self._failing.set(bool(progress.trouble))

    def serve(self, port: int, host: str) -> None:
        """Answer ``/metrics`` on a thread. Raises OSError if the port is taken."""
        start_http_server(port, addr=host, registry=self.registry)
