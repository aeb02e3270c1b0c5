"""A whole fleet as real processes: replicas of `killswitch run`, etcd, Prometheus, a service, Slack and a webhook.

Every replica has a network of its own: a proxy to each server it talks to, so that it can be cut off alone.
After every event of a test, `Fleet.check` reads etcd's own history and asks for the safety properties.

The scale: an interval of 3 s where the default is 30 s, so numbers stated for the default are a tenth here;
what waits for etcd itself (elections, leases) does not shrink and keeps its own numbers.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from killswitch.flags.document import to_document as flag_document
from killswitch.flags.flag import Flag
from killswitch.flags.transitions import Actor
from killswitch.model import PageSettings
from killswitch.pages import events
from killswitch.pages.page import Page
from killswitch.stores import Put, Store, keys
from killswitch.stores.opening import open_store
from killswitch.trips.request import TripRequest
from killswitch.trips.switch import Switch
from tests.doubles.lying_prometheus import LyingPrometheus
from tests.doubles.slack import Message, SlackDouble
from tests.doubles.webhook import WebhookDouble
from tests.faults.etcd_history import EtcdHistory
from tests.faults.replica import PATIENCE, Replica, healthy
from tests.faults.safety import flips, incidents, violations
from tests.faults.service import FAILING, Service
from tests.servers.etcd import EtcdCluster, EtcdMember, wait_until
from tests.servers.prometheus import PrometheusServer

ROLLOUT = "copilot"
INTERVAL = 3.0
SCALE = INTERVAL / 30.0
MAX_EVIDENCE_AGE = 20.0
CHANNEL = "#llm-oncall"
SMALL_DISK = ("--quota-backend-bytes=8000000",)  # for etcd, so that a test can fill it
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
        self.person = Switch(self.store, wall=time.time, by="ann@laptop", origin="test")
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
        """What was sent to Slack, without what only adds detail to a page."""
        return [sent for sent in self.slack.pages if text in json.dumps(sent.body)]

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


@contextlib.contextmanager
def started(folder: Path, **options: Any) -> Iterator[Fleet]:
    """A fleet that is up, armed and judging."""
    with Fleet(folder, **options) as fleet:
        yield fleet.start()
