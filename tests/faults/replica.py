"""One replica as a real process: `killswitch run` behind proxies of its own, its settings, its log and its signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.doubles.slack import TOKEN, SlackDouble
from tests.servers.etcd import EtcdCluster, free_ports, wait_until
from tests.servers.tcp_proxy import TcpProxy

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 90.0  # for what must happen at all; a loaded machine is slow, and nothing waits longer than it must


class Replica:
    """One `killswitch run`, behind proxies of its own. Its log and settings are files in ``folder``."""

    def __init__(
        self, name: str, folder: Path, *, etcd: EtcdCluster, prometheus: str, slack: SlackDouble,
        settings: Mapping[str, str], command: Sequence[str],
    ) -> None:  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.folder = folder
        self.log = folder / "log"
        self.to_etcd = [TcpProxy(("127.0.0.1", member.client_port)) for member in etcd.members]
        host, _, port = prometheus.removeprefix("http://").partition(":")
        self.to_prometheus = TcpProxy((host, int(port)))
        self.to_slack = TcpProxy(("127.0.0.1", slack.port))
        (folder / "token").write_text(TOKEN)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("KILLSWITCH_")},
            "KILLSWITCH_STORE": f"etcd://{','.join(proxy.endpoint for proxy in self.to_etcd)}",
            "KILLSWITCH_SOURCE": f"prometheus+http://{self.to_prometheus.endpoint}",
            "KILLSWITCH_SLACK_BASE_URL": f"http://{self.to_slack.endpoint}/api/",
            "KILLSWITCH_SLACK_TOKEN_FILE": str(folder / "token"),
            "KILLSWITCH_CONTROLLER_ID": name,
            "PYTHONPATH": str(ROOT),
            "NO_PROXY": "*",
            **{f"KILLSWITCH_{key}": value for key, value in settings.items()},
        }
        self._command = [*command]
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False
        self.host = "127.0.0.1"
        self.port = 0

    @property
    def proxies(self) -> list[TcpProxy]:
        return [*self.to_etcd, self.to_prometheus, self.to_slack]

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def paused(self) -> bool:
        return self._paused

    # --- life

    def start(self, *, wait: bool = True) -> Self:
        """Start it and, unless told otherwise, wait until its first cycle has finished."""
        assert not self.running
        for _ in range(3):
            self._launch()
            if not wait or self._came_up():
                return self
        raise RuntimeError(f"{self.name} does not become ready: {self.tail()}")

    def _launch(self) -> None:
        self.port = free_ports(1)[0]
        environment = {**self.environment, "KILLSWITCH_LISTEN": f"{self.host}:{self.port}"}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=environment, stdout=log, stderr=log, cwd=self.folder, start_new_session=True
            )

    def _came_up(self) -> bool:
        """False when another process took its port between our look and its start."""
        wait_until(lambda: not self.running or self.status_code("/-/ready") == 200, f"{self.name} ready", PATIENCE)
        if self.running:
            return True
        assert "address already in use" in self.tail(), self.tail()
        return False

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self.resume()
            self._process.kill()
            self._process.wait(20)
            self._process = None

    def terminate(self) -> None:
        """SIGTERM; see `wait`."""
        assert self._process is not None
        self._process.terminate()

    def wait(self, seconds: float) -> int:
        """Its exit code. Raises subprocess.TimeoutExpired."""
        assert self._process is not None
        return self._process.wait(seconds)

    def pause(self) -> None:
        """SIGSTOP."""
        os.kill(self.pid, signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        if self._paused:
            os.kill(self.pid, signal.SIGCONT)
            self._paused = False

    def cut_off(self) -> None:
        """Its network is gone: packets vanish, nothing is refused."""
        for proxy in self.proxies:
            proxy.black_hole()

    def heal(self) -> None:
        for proxy in self.proxies:
            proxy.heal()

    def close(self) -> None:
        self.kill()
        for proxy in self.proxies:
            proxy.close()

    # --- what it says

    def status_code(self, path: str) -> int:
        """0 when it does not answer."""
        try:
            with open_url(f"http://{self.host}:{self.port}{path}") as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def status(self) -> dict[str, Any]:
        """`/api/v1/status`."""
        with open_url(f"http://{self.host}:{self.port}/api/v1/status") as answer:
            document: dict[str, Any] = json.load(answer)
        return document

    def metric(self, name: str, labels: str = "") -> float:
        """One of its own metrics, by name and the exact text of its labels; 0 when it has not been counted yet."""
        with open_url(f"http://{self.host}:{self.port}/metrics") as answer:
            for line in answer.read().decode().splitlines():
                series, _, value = line.rpartition(" ")
                if series == name + labels:
                    return float(value)
        return 0.0

    def ticks(self) -> float:
        """How many cycles it has finished since its start."""
        return self.metric("killswitch_cycles_total")

    def logged(self, text: str) -> int:
        """In how many lines of its log a text stands."""
        return sum(text in line for line in self.log.read_text(errors="replace").splitlines())

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""


def open_url(url: str) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return opener.open(url, timeout=10)


def healthy(replica: Replica, rollouts: set[str]) -> bool:
    try:
        status = replica.status()
    except (OSError, ValueError):
        return False
    good = {
        one["rollout"]
        for one in status["rollouts"]
        if one["findings"] and all(finding["verdict"] == "HEALTHY" for finding in one["findings"])
    }
    return good >= rollouts
