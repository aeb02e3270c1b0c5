"""Real Alertmanagers that notify an HTTP double: one alone, or the peers of a cluster."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.servers.alertmanager import ALERTMANAGER
from tests.servers.etcd import free_ports, wait_until


class AlertmanagerPeer:
    """One process in ``folder``. ``notify``: the URL that gets its webhook notifications.

    ``resolve_timeout``: when it ends alerts that came without an end. ``peers``: addresses of its cluster.
    """

    def __init__(
        self, folder: Path, *, notify: str, resolve_timeout: str = "5m", cluster: int = 0, peers: Sequence[int] = ()
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_ports(1)[0]
        self._cluster = cluster
        self._peers = peers
        self._process: subprocess.Popen[bytes] | None = None
        config = {
            "global": {"resolve_timeout": resolve_timeout},
            "route": {"receiver": "double", "group_by": ["..."], "group_wait": "100ms", "group_interval": "300ms"},
            "receivers": [{"name": "double", "webhook_configs": [{"url": notify, "send_resolved": True}]}],
        }
        (folder / "alertmanager.yml").write_text(json.dumps(config))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        cluster = f"127.0.0.1:{self._cluster}" if self._cluster else ""
        with (self.folder / "alertmanager.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    ALERTMANAGER,
                    f"--config.file={self.folder / 'alertmanager.yml'}",
                    f"--storage.path={self.folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                    f"--cluster.listen-address={cluster}",
                    "--cluster.settle-timeout=1s",
                    "--cluster.peer-timeout=1s",
                    "--cluster.gossip-interval=50ms",
                    *(f"--cluster.peer=127.0.0.1:{peer}" for peer in self._peers),
                ],
                stdout=log,
                stderr=log,
            )
        wait_until(self._ready, f"Alertmanager ready; its log is {self.folder / 'alertmanager.log'}")

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "alertmanager.log").read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=1) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._process = None

    def forget(self) -> None:
        """Remove what it has stored; only while it is stopped."""
        assert self._process is None
        shutil.rmtree(self.folder / "data")

    def pause(self) -> None:
        """SIGSTOP: connections are taken by the kernel, and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that are active now, as its API lists them."""
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts", timeout=5) as response:
            found: list[dict[str, Any]] = json.load(response)
        return found

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
