"""The demo's processes: a simulated service, the daemon, and with ``--real`` etcd and Prometheus."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

from killswitch.assembly import build_store
from killswitch.bounded_http import BoundedSession
from killswitch.demo.children import Child, free_port
from killswitch.demo.pace import WINDOW, Pace
from killswitch.demo.receiver import Receiver
from killswitch.demo.servers import require_installed, start_etcd, start_prometheus
from killswitch.demo.traffic import Regression
from killswitch.errors import Unavailable
from killswitch.settings import Settings
from killswitch.stores import Store
from killswitch.switch import Switch

ROLLOUT = "support-copilot"
CONTROL, CANARY = "model-old", "model-new"
PERCENT, STAGE = 5.0, "ramp_5"
_READY_SECONDS = 30.0
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


class DemoStage:
    """Everything the demo starts; `close` ends it all and removes what it wrote."""

    def __init__(
        self, *, pace: Pace, regression: Regression, regress_after: float, real: bool, rate: float, seed: int
    ) -> None:
        self.pace = pace
        self.folder = Path(tempfile.mkdtemp(prefix="killswitch-demo-"))
        self._children: list[Child] = []
        self._http = BoundedSession(timeout=2.0)
        self.receiver = Receiver()
        self.store: Store | None = None
        try:
            self._start(regression, regress_after, real=real, rate=rate, seed=seed)
        except BaseException:
            self.close()
            raise

    def _start(self, regression: Regression, regress_after: float, *, real: bool, rate: float, seed: int) -> None:
        if real:
            require_installed()
            etcd = start_etcd()
            self._children.append(etcd.child)
            self.store_url = etcd.url
        else:
            self.store_url = f"sqlite://{self.folder}/flags.db"
        self.store = build_store(Settings(store=self.store_url))
        self.switch = Switch(self.store, wall=time.time, by="demo")
        self.switch.arm(ROLLOUT, control=CONTROL, canary=CANARY, percent=PERCENT, stage=STAGE, salt="")
        self.began = time.monotonic()
        service = self._child(
            "service", "killswitch.demo.service", "--store", self.store_url, "--rollout", ROLLOUT,
            "--speed", f"{self.pace.speed:g}", "--rate", f"{rate:g}", "--seed", str(seed),
            "--regression", regression.value, "--regress-after", f"{regress_after:g}",
        )  # fmt: skip
        service.wait_until(lambda: "\n" in service.output() and '{"url"' in service.output(), seconds=_READY_SECONDS)
        self.service_url = _url_in(service.output())
        if real:
            prometheus = start_prometheus([f"{self.service_url}/metrics"], self.pace)
            self._children.append(prometheus.child)
            self.source_url = prometheus.url
        else:
            self.source_url = f"scrape+{self.service_url}/metrics"
        self._start_daemon()

    def _start_daemon(self) -> None:
        rules = self.folder / "rules"
        rules.mkdir()
        (rules / f"{ROLLOUT}.yaml").write_text(
            _RULES.format(rollout=ROLLOUT, control=CONTROL, canary=CANARY, window=self.pace.duration(WINDOW))
        )
        webhook = self.folder / "webhook-url"
        webhook.write_text(self.receiver.url)
        listen = f"127.0.0.1:{free_port()}"
        self.daemon_url = f"http://{listen}"
        self.daemon = self._child(
            "daemon", "killswitch", "run", "--rules", str(rules), "--source", self.source_url,
            "--store", self.store_url, "--listen", listen,
            environment={**self.pace.settings(), "KILLSWITCH_WEBHOOK_URL_FILE": str(webhook)},
        )  # fmt: skip
        self.daemon.wait_until(lambda: self.status() is not None, seconds=_READY_SECONDS)

    def _child(self, name: str, module: str, *arguments: str, environment: dict[str, str] | None = None) -> Child:
        child = Child(
            name,
            [sys.executable, "-m", module, *arguments],
            log=self.folder / f"{name}.log",
            environment=environment,
        )
        self._children.append(child)
        return child

    def status(self) -> dict[str, Any] | None:
        """The daemon's status, None while it does not answer."""
        return self._json(f"{self.daemon_url}/api/v1/status")

    def service_state(self) -> dict[str, Any] | None:
        """The service's own account, None while it does not answer."""
        return self._json(f"{self.service_url}/state")

    def check_running(self) -> None:
        """Raises Unavailable when a process has ended before its time."""
        for child in self._children:
            if not child.running:
                raise Unavailable(f"the demo's {child.name} has ended: {child.output()[-600:]}")

    def close(self) -> None:
        for child in reversed(self._children):
            child.stop()
        self.receiver.close()
        if self.store is not None:
            self.store.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _json(self, url: str) -> dict[str, Any] | None:
        with contextlib.suppress(requests.RequestException, ValueError):
            answer = self._http.get(url).json()
            return answer if isinstance(answer, dict) else None
        return None


def _url_in(output: str) -> str:
    line = next(line for line in output.splitlines() if line.startswith('{"url"'))
    url = json.loads(line)["url"]
    assert isinstance(url, str)
    return url
