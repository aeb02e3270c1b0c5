"""The demo's processes: a simulated service, the daemon, and with ``--real`` etcd and Prometheus."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

from killswitch.daemon.settings import Settings
from killswitch.daemon.wiring import build_store
from killswitch.demo.children import Child, free_port
from killswitch.demo.pace import WINDOW, Pace
from killswitch.demo.past import control_past, openmetrics, write_samples
from killswitch.demo.receiver import Receiver
from killswitch.demo.servers import require_installed, scraped_labels, start_etcd, start_prometheus
from killswitch.demo.service import USERS
from killswitch.demo.service_process import ServiceProcess
from killswitch.demo.traffic import Regression, World
from killswitch.errors import Unavailable
from killswitch.net.bounded_http import BoundedSession
from killswitch.stores import Store
from killswitch.trips.switch import Switch

ROLLOUT = "support-copilot"
CONTROL, CANARY = "model-old", "model-new"
PERCENT, STAGE = 5.0, "ramp_5"
_READY_SECONDS = 60.0
_RULES = """\
rollout: {rollout}
control: {control}
canary: {canary}
metrics: cohort-labels
rules:
  error_rate: {{max: 2%}}
  latency_p95: {{max_ratio: 1.5}}
  refusal_rate: {{max_increase: 5pp}}
  thumbs_down_rate: {{max_ratio: 2.0}}
window: {window}
page: {{slack: "#llm-oncall", mention: "<!here>"}}
"""


class DemoProcesses:
    """Everything the demo starts, between ``with`` and its end; then all of it has ended and no file is left.

    ``rate``: requests a simulated second. ``tell`` is called with a line for each step of the start.
    """

    def __init__(self, *, pace: Pace, real: bool, rate: float, seed: int, tell: Callable[[str], None]) -> None:
        self.pace = pace
        self.began = 0.0  # the world's second at which the canary was armed
        self.source_url = self.store_url = self.daemon_url = ""
        # named before it is made, so that it can be removed whenever a Ctrl-C comes
        self._folder = Path(tempfile.gettempdir()) / f"killswitch-demo-{os.getpid()}-{secrets.token_hex(4)}"
        self._real, self._rate, self._seed, self._tell = real, rate, seed, tell
        self._children: list[Child] = []
        self._http = BoundedSession(timeout=2.0)
        self._receiver: Receiver | None = None
        self._store: Store | None = None
        self._switch: Switch | None = None
        self._world_began = 0.0  # Unix seconds
        self._service: ServiceProcess | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    # --- the story's two events ---

    def arm(self) -> None:
        """Give the canary its percent, as `killswitch arm` does."""
        assert self._switch is not None
        assert self._service is not None
        self._switch.arm(ROLLOUT, control=CONTROL, canary=CANARY, percent=PERCENT, stage=STAGE, salt="")
        self.began = self._service.state().at

    def regress(self, kind: Regression, after: float) -> None:
        """Make the canary's model worse ``after`` simulated seconds after it was armed."""
        assert self._service is not None
        self._service.regress(kind, self.began + after)

    # --- looking ---

    def status(self) -> dict[str, Any] | None:
        """The daemon's status, None while it does not answer."""
        with contextlib.suppress(requests.RequestException, ValueError):
            answer = self._http.get(f"{self.daemon_url}/api/v1/status").json()
            return answer if isinstance(answer, dict) else None
        return None

    def service_state(self) -> dict[str, Any] | None:
        """The service's own account, None while it does not answer."""
        assert self._service is not None
        with contextlib.suppress(Unavailable):
            return asdict(self._service.state())
        return None

    def tripped(self) -> tuple[float, str] | None:
        """When the flag was tripped, in simulated seconds of the world, and why; None while it is armed."""
        assert self._switch is not None
        with contextlib.suppress(Unavailable):
            flag = self._switch.stored(ROLLOUT).flag
            if flag is not None and flag.trip is not None:
                return self.pace.simulated(flag.trip.at - self._world_began), flag.trip.reason
        return None

    @property
    def pages(self) -> list[tuple[float, dict[str, Any]]]:
        """What was paged: (monotonic second, payload), oldest first."""
        return [] if self._receiver is None else self._receiver.pages

    def check_running(self) -> None:
        """Raises Unavailable when a process has ended before its time."""
        for child in self._children:
            if not child.running:
                raise Unavailable(f"the demo's {child.name} has ended: {child.output()[-600:]}")

    # --- from nothing to a running daemon, and back ---

    def _start(self) -> None:
        if self._real:
            require_installed()
        self._folder.mkdir(mode=0o700)
        self._receiver = Receiver()
        if self._real:
            etcd = start_etcd(self._folder)
            self._children.append(etcd.child)
            self.store_url = etcd.url
            self._tell(f"etcd answers at {etcd.url}")
        else:
            self.store_url = f"sqlite://{self._folder}/flags.db"
        self._store = build_store(Settings(store=self.store_url))
        self._switch = Switch(self._store, wall=time.time, by="demo", origin="demo")
        self._service = ServiceProcess.start(
            store=self.store_url, rollout=ROLLOUT, pace=self.pace, control=CONTROL, canary=CANARY,
            seed=self._seed, rate=self._rate, within=self._folder,
        )  # fmt: skip
        self._children.append(self._service.child)
        self._world_began = time.time() - self.pace.real(self._service.state().at)
        self._tell(f"the simulated service counts at {self._service.metrics_url}")
        self._start_source(self._service)
        self._start_daemon()
        self._tell(f"the daemon watches; its status page: {self.daemon_url}")

    def _start_source(self, service: ServiceProcess) -> None:
        world = World(seed=self._seed, rate=self._rate, users=USERS)
        past = control_past(world, self.pace, model=CONTROL, began=self._world_began, seed=self._seed)
        if self._real:
            history = openmetrics(past, scraped_labels(0, service.metrics_url))
            prometheus = start_prometheus([service.metrics_url], self.pace, history=history, within=self._folder)
            self._children.append(prometheus.child)
            self.source_url = prometheus.url
            self._tell(f"Prometheus answers at {prometheus.url}")
        else:
            instance = urllib.parse.urlsplit(service.metrics_url).netloc
            write_samples(past, self._folder / "samples.db", instance=instance)
            self.source_url = f"scrape+{service.metrics_url}"
        self._tell(f"{CONTROL}'s past: 90 minutes, drawn at random, to learn how much it varies")

    def _start_daemon(self) -> None:
        rules = self._folder / "rules"
        rules.mkdir()
        (rules / f"{ROLLOUT}.yaml").write_text(
            _RULES.format(rollout=ROLLOUT, control=CONTROL, canary=CANARY, window=self.pace.duration(WINDOW))
        )
        assert self._receiver is not None
        webhook = self._folder / "webhook-url"
        webhook.write_text(self._receiver.url)
        listen = f"127.0.0.1:{free_port()}"
        self.daemon_url = f"http://{listen}"
        command = [
            sys.executable, "-m", "killswitch", "run", "--rules", str(rules), "--source", self.source_url,
            "--store", self.store_url, "--listen", listen,
        ]  # fmt: skip
        environment = {
            **self.pace.settings(),
            "KILLSWITCH_WEBHOOK_URL_FILE": str(webhook),
            "KILLSWITCH_SCRAPE_FILE": str(self._folder / "samples.db"),
        }
        daemon = Child("daemon", command, log=self._folder / "daemon.log", environment=environment)
        self._children.append(daemon)
        daemon.wait_until(self._daemon_has_looked, seconds=_READY_SECONDS)

    def _daemon_has_looked(self) -> bool:
        return bool((self.status() or {}).get("rollouts"))

    def _close(self) -> None:
        with _undisturbed():
            for child in reversed(self._children):
                child.stop()
            if self._receiver is not None:
                self._receiver.close()
            if self._store is not None:
                self._store.close()
            self._http.close()
            shutil.rmtree(self._folder, ignore_errors=True)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """An impatient second Ctrl-C must not leave a process or a folder."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
