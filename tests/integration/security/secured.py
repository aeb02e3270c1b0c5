"""The daemon as a process among servers that all ask for TLS and a secret: etcd, Prometheus, Slack, a webhook.

Every secret holds the word `MARK`, so that a test can look for it in everything a run has written.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from killswitch.net.credentials import TLS, Secret
from killswitch.stores import Store
from killswitch.stores.opening import open_store
from killswitch.trips.switch import Switch
from tests.doubles.slack import SlackDouble
from tests.doubles.webhook import WebhookDouble
from tests.faults.fleet import swap
from tests.faults.service import Service
from tests.servers.certificates import Authority, Certificate
from tests.servers.etcd import EtcdCluster, free_ports, wait_until
from tests.servers.prometheus import PrometheusServer

ROOT = Path(__file__).resolve().parents[3]
MARK = "TOPSECRET"
# bcrypt, cost 4, of `TOPSECRET-source-1` and `TOPSECRET-source-2`
_HASHES = {
    1: "$2b$04$abcdefghijklmnopqrstuuToXqO22gxkhMVRs4Obosy2bUR.9onYi",
    2: "$2b$04$abcdefghijklmnopqrstuuw6imLb4M7wywqbBNf2MtBlUESmRxQz2",
}
SECRETS = {
    "store_password": f"{MARK}-store-1",
    "source_password": f"{MARK}-source-1",
    "slack_token": f"xoxb-{MARK}-slack-1",
    "webhook_url": "",  # made where the port is known
    "heartbeat_url": "",
    "api_token": f"{MARK}-api-1",
}
SETTINGS = {
    "INTERVAL": "2s", "LAG": "300ms", "CYCLE_DEADLINE": "1500ms", "SCRAPE_INTERVAL": "2s", "STORE_TIMEOUT": "2s",
    "TRIP_TIMEOUT": "1s", "SESSION_TTL": "4s", "CLAIM_TTL": "3s", "MAX_EVIDENCE_AGE": "20s", "FALLBACK_AFTER": "2s",
    "STORE_USER": "killswitch", "SOURCE_USER": "watcher", "FALLBACK": "console",
}  # fmt: skip
RULES = """\
rollout: {name}
control: model-old
canary: model-new
metrics: cohort-labels
match: {{rollout: {name}}}
rules:
  error_rate: {{max: 2%}}
window: 8s
min_requests: 20
decide: threshold
page: {{slack: "#llm-oncall", mention: "<!here>"}}
"""


class Secured:
    """Use as a context manager. ``folder`` holds everything; `written` gives all a run has put anywhere."""

    def __init__(self, folder: Path, rollouts: tuple[str, ...] = ("copilot",)) -> None:
        self.folder = folder
        self.rollouts = rollouts
        self.authority = Authority(folder / "ca")
        self.certificate = self.authority.issue("server")
        self.outputs: list[str] = []
        self._stack = contextlib.ExitStack()
        self.etcd = EtcdCluster(
            folder / "etcd", certificate=self.certificate,
            arguments=["--auth-token-ttl=2", "--bcrypt-cost=4"],
        )  # fmt: skip
        # what receivers show can be changed by loading another certificate into it
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.certificate.cert, self.certificate.key)
        self.slack = SlackDouble(token=SECRETS["slack_token"], context=self.context)
        self.webhook = WebhookDouble(context=self.context)
        self.service = Service(list(rollouts))
        self.prometheus: PrometheusServer

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            for server in (self.etcd, self.slack, self.webhook, self.service):
                stack.enter_context(server)
            self.etcd.enable_auth(f"{MARK}-root", {"killswitch": (SECRETS["store_password"], "/killswitch/")})
            self.prometheus = PrometheusServer(
                self.folder / "prometheus",
                scrape_configs=[{"job_name": "service", "static_configs": [{"targets": [self.service.target]}]}],
                web_config=self.web_config(1), scheme="https",
            )  # fmt: skip
            stack.enter_context(self.prometheus)
            self._write_files()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def web_config(self, number: int, certificate: Certificate | None = None) -> str:
        made = certificate or self.certificate
        tls = {"cert_file": str(made.cert), "key_file": str(made.key)}
        return json.dumps({"tls_server_config": tls, "basic_auth_users": {"watcher": _HASHES[number]}})

    def _write_files(self) -> None:
        (self.folder / "rules").mkdir(exist_ok=True)
        for name in self.rollouts:
            (self.folder / "rules" / f"{name}.yaml").write_text(RULES.format(name=name))
        addresses = {
            "webhook_url": f"{self.webhook.url}/hooks/{MARK}-hook-1",
            "heartbeat_url": f"{self.webhook.url}/beat/{MARK}-beat-1",
        }
        for name, value in {**SECRETS, **addresses}.items():
            self.put_secret(name, value)

    def put_secret(self, name: str, value: str) -> None:
        """As a mounted Secret changes: the new file takes the old one's place in one step."""
        swap(self.folder / name, value)

    def environment(self, **settings: str) -> dict[str, str]:
        ca = str(self.authority.ca_file)
        ours = {
            **SETTINGS,
            "RULES": str(self.folder / "rules"),
            "STORE": self.etcd.url,
            "SOURCE": f"prometheus+{self.prometheus.url}",
            "SLACK_BASE_URL": self.slack.base_url,
            "STORE_CA_FILE": ca,
            "SOURCE_CA_FILE": ca,
            **{f"{name.upper()}_FILE": str(self.folder / name) for name in SECRETS},
            **settings,
        }
        others = {name: value for name, value in os.environ.items() if not name.startswith("KILLSWITCH_")}
        # Slack's, the webhook's and the monitor's certificates are the business of the system's authorities
        return {
            **others,
            "SSL_CERT_FILE": settings.get("SSL_CERT_FILE", ca),
            "PYTHONPATH": str(ROOT),
            "NO_PROXY": "*",
            **{f"KILLSWITCH_{name}": value for name, value in ours.items() if name != "SSL_CERT_FILE"},
        }

    def command(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """One `killswitch …` to its end; what it printed counts as written."""
        done = subprocess.run(
            [sys.executable, "-m", "killswitch", *arguments],
            env=self.environment(**settings), capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        self.outputs += [done.stdout, done.stderr]
        return done

    @contextlib.contextmanager
    def daemon(self, **settings: str) -> Iterator[Daemon]:
        """`killswitch run` until the block ends."""
        with running(self.environment, **settings) as daemon:
            try:
                yield daemon
            finally:
                daemon.end()
                self.outputs.append(daemon.output)

    @contextlib.contextmanager
    def store(self) -> Iterator[Store]:
        """The flag store as the daemon sees it, for tests."""
        store = open_store(
            self.etcd.url, tls=TLS(ca_file=self.authority.ca_file), user="root",
            password=_literal(self.folder, f"{MARK}-root"), timeout=10.0,
        )  # fmt: skip
        try:
            yield store
        finally:
            store.close()

    def arm(self) -> None:
        with self.store() as store:
            switch = Switch(store, wall=lambda: 1.7e9, by="ann@laptop", origin="test")
            for name in self.rollouts:
                switch.arm(name, control="model-old", canary="model-new", percent=50.0, stage="half", salt="")

    def dump(self) -> str:
        """Every revision of every key that etcd still has, decoded."""
        token = self.etcd.token("root", f"{MARK}-root")
        member = self.etcd.members[0]
        everything = {"key": base64.b64encode(b"\0").decode(), "range_end": base64.b64encode(b"\0").decode()}
        newest = int(member.call("/v3/kv/range", {**everything, "limit": 1}, token=token)["header"]["revision"])
        seen: set[bytes] = set()
        for revision in range(2, newest + 1):
            try:
                found = member.call("/v3/kv/range", {**everything, "revision": revision}, token=token).get("kvs", [])
            except OSError:
                token = self.etcd.token("root", f"{MARK}-root")
                found = member.call("/v3/kv/range", {**everything, "revision": revision}, token=token).get("kvs", [])
            for item in found:
                seen |= {base64.b64decode(item["key"]), base64.b64decode(item.get("value", ""))}
        return "\n".join(value.decode(errors="replace") for value in seen)


def _literal(folder: Path, value: str) -> Secret:
    file = folder / "of-the-test"
    file.write_text(value)
    return Secret.from_file(file)


class Daemon:
    """One `killswitch run` with this environment, on this port."""

    def __init__(self, environment: dict[str, str], port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._lines: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "killswitch", "run"],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line)

    @property
    def output(self) -> str:
        """Standard output and standard error so far."""
        return "".join(self._lines)

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._reader.join(10)

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            body = json.dumps({"context": {"targetingKey": "u"}}) if method == "POST" else None
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def status(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.ask("/api/v1/status")[1])
        return document

    def until(self, what: str, condition: Any) -> None:
        """Polls; a question that cannot be answered now is asked again."""

        def holds() -> bool:
            assert self._process.poll() is None, self.output
            try:
                return bool(condition())
            except (OSError, ValueError, KeyError, IndexError, http.client.HTTPException):
                return False

        try:
            wait_until(holds, what, 90)
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.output[-6000:]}") from error

    def until_logged(self, text: str) -> None:
        self.until(f"the log says {text!r}", lambda: text in self.output)

    def until_healthy(self) -> None:
        self.until(
            "every rule is judged healthy",
            lambda: (
                all(
                    one["findings"] and all(finding["verdict"] == "HEALTHY" for finding in one["findings"])
                    for one in self.status()["rollouts"]
                )
                and self.status()["rollouts"]
            ),
        )


@contextlib.contextmanager
def running(environment: Callable[..., dict[str, str]], *arguments: str, **settings: str) -> Iterator[Daemon]:
    """`killswitch run` on a free port, with ``environment(*arguments, LISTEN=…, **settings)``, until the block ends."""
    port = free_ports(1)[0]
    daemon = Daemon(environment(*arguments, LISTEN=f"127.0.0.1:{port}", **settings), port)
    try:
        yield daemon
    finally:
        daemon.end()
