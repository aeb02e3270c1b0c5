"""A whole fleet as real processes: replicas of `killswitch run`, etcd, Prometheus, a service, Slack and a webhook.

Every replica has a network of its own: a proxy to each server it talks to, so that it can be cut off alone.
After every event of a test, `Fleet.check` reads etcd's own history and asks for the safety properties.

The scale: an interval of 3 s where the default is 30 s, so numbers stated for the default are a tenth here;
what waits for etcd itself (elections, leases) does not shrink and keeps its own numbers.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from killswitch.flags.document import to_document as flag_document
from killswitch.flags.flag import Actor, Flag
from killswitch.model import PageSettings
from killswitch.pages import events
from killswitch.pages.page import Page
from killswitch.stores import Delete, Put, Store, keys
from killswitch.stores.opening import open_store
from killswitch.trips.request import TripRequest
from killswitch.trips.switch import Switch
from tests.doubles.lying_prometheus import LyingPrometheus
from tests.doubles.slack import TOKEN, Message, SlackDouble
from tests.doubles.webhook import WebhookDouble
from tests.faults.etcd_history import EtcdHistory
from tests.faults.safety import flips, incidents, violations
from tests.faults.service import FAILING, Service
from tests.servers.etcd import EtcdCluster, EtcdMember, free_ports, wait_until
from tests.servers.prometheus import PrometheusServer
from tests.servers.tcp_proxy import TcpProxy

ROOT = Path(__file__).resolve().parents[2]
ROLLOUT = "copilot"
INTERVAL = 3.0
SCALE = INTERVAL / 30.0
MAX_EVIDENCE_AGE = 20.0
CHANNEL = "#llm-oncall"
SMALL_DISK = ("--quota-backend-bytes=8000000",)  # for etcd, so that a test can fill it
PATIENCE = 90.0  # for what must happen at all; a loaded machine is slow, and nothing waits longer than it must
SETTINGS: Mapping[str, str] = {
    "INTERVAL": f"{INTERVAL:g}s",
    "LAG": "500ms",
    "CYCLE_DEADLINE": "2s",
    "SCRAPE_INTERVAL": "3s",  # Prometheus scrapes every second here: a late scrape on a busy machine is no gap
    "STORE_TIMEOUT": "3s",
    "TRIP_TIMEOUT": "2s",
    "SESSION_TTL": "6s",
    "CLAIM_TTL": "4s",
    "MAX_EVIDENCE_AGE": f"{MAX_EVIDENCE_AGE:g}s",
    "FALLBACK_AFTER": "12s",
    "CONSOLE_PAGES": "false",
}
RULES = """\
rollout: {rollout}
control: model-old
canary: model-new
metrics: cohort-labels
match: {{rollout: {rollout}}}
rules:
  error_rate: {{max: 2%}}
  latency_p95: {{max_ratio: 1.5}}
  refusal_rate: {{max_increase: 5pp}}
  thumbs_down_rate: {{max_ratio: 2.0}}
window: 9s
min_requests: 20
decide: threshold
when_blind: {when_blind}
page: {{slack: "#llm-oncall", mention: "<!here>"}}
"""


def rules_of(rollout: str, when_blind: str = "hold") -> str:
    return RULES.format(rollout=rollout, when_blind=when_blind)


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
            with _open(f"http://{self.host}:{self.port}{path}") as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def status(self) -> dict[str, Any]:
        """`/api/v1/status`."""
        with _open(f"http://{self.host}:{self.port}/api/v1/status") as answer:
            document: dict[str, Any] = json.load(answer)
        return document

    def metric(self, name: str, labels: str = "") -> float:
        """One of its own metrics, by name and the exact text of its labels; 0 when it has not been counted yet."""
        with _open(f"http://{self.host}:{self.port}/metrics") as answer:
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


def _open(url: str) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return opener.open(url, timeout=10)


class Fleet:
    """``replicas`` processes over ``members`` of etcd; use as a context manager.

    ``settings`` are added to (or replace) `SETTINGS`; ``when_blind`` stands in the rule file; ``program`` runs in
    place of `killswitch run`, with the same environment. With ``webhook`` there is a fallback receiver.
    ``scrape`` is how often Prometheus scrapes; ``etcd_arguments`` go to every member. With ``lying``, `liar` stands
    between all replicas and Prometheus.
    """

    def __init__(
        self,
        folder: Path,
        *,
        replicas: int = 2,
        members: int = 1,
        rollouts: Sequence[str] = (ROLLOUT,),
        settings: Mapping[str, str] | None = None,
        when_blind: str = "hold",
        webhook: bool = False,
        program: Path | None = None,
        rules: Callable[[str], str] | None = None,
        scrape: str = "1s",
        etcd_arguments: Sequence[str] = (),
        lying: bool = False,
    ) -> None:
        self.folder = folder
        self._lying = lying
        self._scrape = scrape
        self.max_age = MAX_EVIDENCE_AGE
        self.rules = folder / "rules"
        self.rules.mkdir(parents=True)
        self.rollouts = list(rollouts)
        for name in rollouts:
            (self.rules / f"{name}.yaml").write_text(rules(name) if rules else rules_of(name, when_blind))
        self._open = contextlib.ExitStack()
        self._size = replicas
        self._settings = {**SETTINGS, "RULES": str(self.rules), **(settings or {})}
        self.interval = float(self._settings["INTERVAL"].removesuffix("s"))
        self._command = [sys.executable, *([str(program)] if program else ["-m", "killswitch", "run"])]
        self._webhook = webhook
        self.etcd = EtcdCluster(folder / "etcd", size=members, arguments=etcd_arguments)
        self.service = Service(self.rollouts)
        self.slack = SlackDouble(channels=[CHANNEL])
        self.webhook = WebhookDouble()
        self.prometheus: PrometheusServer
        self.liar: LyingPrometheus
        self.history: EtcdHistory
        self.replicas: list[Replica] = []
        self.store: Store
        self.person: Switch

    def __enter__(self) -> Self:
        try:
            self._begin()
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            for replica in self.replicas:
                print(f"--- the log of {replica.name} ends:\n{replica.tail()}")  # noqa: T201  pytest shows it
        self._open.close()

    def _begin(self) -> None:
        for server in (self.slack, self.webhook, self.service, self.etcd):
            self._open.enter_context(server)
        scrape = {"job_name": "service", "static_configs": [{"targets": [self.service.target]}]}
        self.prometheus = PrometheusServer(
            self.folder / "prometheus", scrape_configs=[scrape], scrape_interval=self._scrape
        )
        self._open.enter_context(self.prometheus)
        self.liar = self._open.enter_context(LyingPrometheus(self.prometheus.url))
        if self._webhook:
            (self.folder / "webhook").write_text(self.webhook.url)
            self._settings |= {"WEBHOOK_URL_FILE": str(self.folder / "webhook"), "FALLBACK": "webhook"}
        self.store = open_store(self.etcd.url, timeout=10.0)
        self._open.callback(self.store.close)
        self.person = Switch(self.store, wall=time.time, by="ann@laptop")
        self.history = EtcdHistory(self.witness)
        for number in range(self._size):
            self.add_replica(f"replica-{number}")

    def add_replica(self, name: str, **settings: str) -> Replica:
        source = self.liar.url if self._lying else self.prometheus.url
        replica = Replica(
            name, self.folder / name, etcd=self.etcd, prometheus=source, slack=self.slack,
            settings={**self._settings, **settings}, command=self._command,
        )  # fmt: skip
        self._open.callback(replica.close)
        self.replicas.append(replica)
        return replica

    def start(self, patience: float = PATIENCE) -> Self:
        """Arm every rollout and start all replicas; until each has judged everything healthy."""
        self.come_up()
        self.until_healthy(seconds=patience)
        return self

    def come_up(self) -> None:
        """As `start`; until each replica has finished a cycle, whatever it judged."""
        for rollout in self.rollouts:
            self.arm(rollout)
        for replica in self.replicas:
            replica.start(wait=False)
        for replica in self.replicas:
            if not replica._came_up():
                replica.start()

    # --- what people do

    def arm(self, rollout: str = ROLLOUT) -> Flag:
        return self.person.arm(rollout, control="model-old", canary="model-new", percent=50.0, stage="half", salt="")

    def rearm(self, rollout: str = ROLLOUT) -> Flag:
        def page(armed: Flag) -> Page:
            return events.re_armed(armed, reason="mended", by="ann@laptop", settings=PageSettings(slack=CHANNEL))

        return self.person.rearm(rollout, reason="mended", percent=50.0, stage="half", page=page)

    def fail(self, rollout: str | None = None) -> None:
        """The canary begins to fail, far over its limit."""
        self.service.set(FAILING, rollout=rollout)

    # --- what can be seen

    def witness(self) -> EtcdMember:
        """A member that takes part in a quorum, or at least runs."""
        for member in self.etcd.members:
            if not member.running or member._paused:
                continue
            with contextlib.suppress(OSError, ValueError):
                # a linearizable read: /health says no as well where an alarm is raised
                member.call("/v3/kv/range", {"key": "Lw==", "count_only": True})
                return member
        raise OSError("no member of etcd has a quorum now")

    def flag(self, rollout: str = ROLLOUT) -> Flag:
        flag = self.person.stored(rollout).flag
        assert flag is not None
        return flag

    def armed(self, rollout: str = ROLLOUT) -> bool:
        return self.flag(rollout).armed

    def pages(self, text: str = "") -> list[Message]:
        """What stands in Slack."""
        return [sent for sent in self.slack.messages if text in json.dumps(sent.body)]

    def kinds(self) -> list[str]:
        """The kind of every page that was ever put into the outbox, oldest first."""
        first: dict[str, str] = {}
        for change in self.history.of(keys.OUTBOX):
            if change.value is not None:
                first.setdefault(change.key, str(change.document()["page"]["kind"]))
        return list(first.values())

    def check(self) -> None:
        """The safety properties, over the whole history so far."""
        self.history.read()
        broken = violations(self.history.changes, max_age=self.max_age, interval=self.interval)
        assert not broken, "\n".join(broken)

    def flips(self, rollout: str = ROLLOUT) -> list[dict[str, Any]]:
        self.check()
        return flips(self.history.changes, rollout)

    def incidents(self, rollout: str = ROLLOUT) -> list[dict[str, Any]]:
        self.check()
        return incidents(self.history.changes, rollout)

    # --- waiting

    def until_healthy(self, *replicas: Replica, rollouts: Sequence[str] = (), seconds: float = PATIENCE) -> None:
        """Until these replicas (default: all that run) judge every rollout (default: all) healthy."""
        names = set(rollouts or self.rollouts)
        for replica in replicas or [r for r in self.replicas if r.running and not r.paused]:
            wait_until(lambda replica=replica: healthy(replica, names), f"{replica.name} judges", seconds)  # type: ignore[misc]

    def until_tripped(self, rollout: str = ROLLOUT, seconds: float = PATIENCE) -> dict[str, Any]:
        """The flip, as etcd's history has it."""
        wait_until(lambda: quietly(lambda: not self.armed(rollout)), f"{rollout} tripped", seconds)
        return self.flips(rollout)[-1]

    def sender(self, rollout: str = ROLLOUT, generation: int = 1) -> Replica:
        """The replica that holds the claim on the page of a trip, once it has begun to send it."""
        page = f"{rollout}.{generation}"
        found: list[Replica] = []

        def look() -> bool:
            entry, claim = self.store.get(keys.outbox(page)), self.store.get(keys.claim(f"outbox/{page}"))
            if entry is None or claim is None or not json.loads(entry.value)["deliveries"]:
                return False
            owner = claim.value.decode().partition("#")[0]
            found.extend(replica for replica in self.replicas if replica.name == owner)
            return bool(found)

        wait_until(look, f"somebody who sends page {page}", PATIENCE)
        return found[0]

    def for_cycles(self, count: int, *replicas: Replica) -> None:
        """Until these replicas (default: all that run) have finished so many more cycles."""
        before = {r.name: r.ticks() for r in replicas or [r for r in self.replicas if r.running and not r.paused]}
        for replica in self.replicas:
            if replica.name in before:
                wait_until(
                    lambda replica=replica: replica.ticks() >= before[replica.name] + count,  # type: ignore[misc]
                    f"{count} cycles of {replica.name}", PATIENCE + 4 * count * INTERVAL,
                )  # fmt: skip


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


def quietly(question: Callable[[], bool]) -> bool:
    """False where the answer cannot be had right now."""
    try:
        return question()
    except Exception:  # noqa: BLE001  polled until it can
        return False


def swap(file: Path, content: str) -> None:
    """Give a file that others read at any moment other content: it is whole at every one of them."""
    written = file.parent.parent / f"{file.name}.new"  # where nobody looks
    written.write_text(content)
    written.rename(file)


def tripped_by_hand(rollout: str, at: float) -> TripRequest:
    """A person's trip without a page, for tests that are about something else."""
    from tests.doubles.pages import incident_draft  # noqa: PLC0415  only where it is used

    draft = incident_draft(rollout, automatic=False, by="ann@laptop", reason="by hand", rules=())
    return TripRequest(draft, generation=None, actor=Actor.PERSON, at=at, page=PageSettings(slack=CHANNEL))


def put_flag(store: Store, flag: Flag) -> None:
    """Write a flag past the switch, as a restored backup would."""
    store.commit((), (Put(keys.flag(flag.rollout), flag_document(flag)),))


def delete_flag(store: Store, rollout: str) -> None:
    store.commit((), (Delete(keys.flag(rollout)),))


@contextlib.contextmanager
def started(folder: Path, **options: Any) -> Iterator[Fleet]:
    """A fleet that is up, armed and judging."""
    with Fleet(folder, **options) as fleet:
        yield fleet.start()
