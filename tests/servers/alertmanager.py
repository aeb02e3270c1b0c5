"""A real Alertmanager for tests, alone: it has no peers, as two halves of a split cluster have none.

::

    with Alertmanager(tmp_path, webhooks=[f"{daemon}/alerts/alertmanager"], token="…") as alertmanager:
        alertmanager.add("CopilotErrors", killswitch_rollout="copilot")
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from killswitch.timestamps import to_iso
from tests.servers.etcd import free_ports, wait_until

ALERTMANAGER = os.environ.get("KILLSWITCH_TEST_ALERTMANAGER", "prometheus-alertmanager")  # Debian's name


def installed() -> bool:
    return shutil.which(ALERTMANAGER) is not None


class Alertmanager:
    """One process in ``folder`` that sends every alert to each of ``webhooks``, and repeats it every second."""

    def __init__(self, folder: Path, *, webhooks: Sequence[str], token: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        (folder / "token").write_text(token)
        hook = {
            "send_resolved": True,
            "http_config": {"authorization": {"type": "Bearer", "credentials_file": str(folder / "token")}},
        }
        route = {
            "receiver": "killswitch",
            "group_by": ["killswitch_rollout"],
            "group_wait": "0s",
            "group_interval": "1s",
            "repeat_interval": "1s",
        }
        receiver = {"name": "killswitch", "webhook_configs": [{"url": url, **hook} for url in webhooks]}
        config = {"global": {"resolve_timeout": "5m"}, "route": route, "receivers": [receiver]}
        (folder / "alertmanager.yml").write_text(json.dumps(config))  # JSON is YAML

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    def add(self, name: str, *, began: float, ends: float | None = None, **labels: str) -> None:
        """An alert that fires from ``began`` on, and is over at ``ends`` (Unix seconds; None: it goes on)."""
        alert: dict[str, Any] = {
            "labels": {"alertname": name, **labels},
            "annotations": {"summary": "8% of answers fail"},
            "startsAt": to_iso(began),
            "generatorURL": "http://prometheus:9090/graph?g0.expr=errors",
        }
        if ends is not None:
            alert["endsAt"] = to_iso(ends)
        body = json.dumps([alert]).encode()
        request = urllib.request.Request(f"{self.url}/api/v2/alerts", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200

    def active(self) -> list[dict[str, Any]]:
        """The alerts that fire now."""
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts?active=true", timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)
            return found

    def failures(self) -> float:
        """How many notifications have failed, as its own metrics say."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        name = "alertmanager_notifications_failed_total{"
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

    def __enter__(self) -> Self:
        for _ in range(3):  # a port that was free may be taken when it comes to it
            self._port = free_ports(1)[0]
            command = [
                ALERTMANAGER,
                f"--config.file={self._folder / 'alertmanager.yml'}",
                f"--storage.path={self._folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
                "--cluster.listen-address=",
            ]
            with (self._folder / "log").open("ab") as log:
                self._process = subprocess.Popen(command, stdout=log, stderr=log)
            wait_until(self._ready_or_ended, "Alertmanager ready")
            if self._process.poll() is None:
                return self
        raise RuntimeError(f"Alertmanager did not start: {self.log[-2000:]}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(10)

    def _ready_or_ended(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            return True
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
