"""A fleet that can be drilled, on virtual time: one store, replicas, routers that report, receivers that take pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from killswitch.drill import request as requests
from killswitch.drill.drills import Drills, DrillTiming
from killswitch.drill.keeping import kept_drills, standing_of
from killswitch.drill.record import DrillRecord
from killswitch.drill.rehearsal import Means
from killswitch.drill.request import DrillRequest
from killswitch.drill.standing import DrillStanding
from killswitch.errors import BadDocument
from killswitch.flags.document import from_document as flag_from_document
from killswitch.flags.flag import Flag
from killswitch.fleet.session import Session
from killswitch.model import Finding, PageSettings, Rollout, Unit, Verdict
from killswitch.pages import drill_events, outbox_entry
from killswitch.pages.page import Page, PageKind
from killswitch.router.presence import Report, to_document
from killswitch.rules.loading import load_text
from killswitch.status.reports import CycleReport, RolloutReport
from killswitch.stores import Put, keys
from killswitch.trips.switch import Switch
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import MemoryServer, MemoryStore
from tests.doubles.pages import AT, SETTINGS, armed, incident

NAME = "copilot"
RULES = """\
rollout: copilot
control: model-old
canary: model-new
metrics: cohort-labels
decide: threshold
page: {slack: "#llm-oncall", mention: "<!here>"}
"""
RECEIVERS = ("slack", "pagerduty")
HEALTHY = Finding("error_rate", Verdict.HEALTHY, None, "error_rate 1.0% within 2.0%", Unit.FRACTION)


def rules(more: str = "") -> Rollout:
    (rollout,) = load_text((RULES + more).encode()).rollouts
    return rollout


class DrilledWorld:
    """One rollout, armed at 5 %, three routers, two receivers. Time passes where a replica sleeps.

    ``routers``: by name, the seconds from a change of the flag to the router's action; None: it never follows.
    ``receivers``: by name, the seconds after which it takes a page. ``at_each_step``: called whenever time passes.
    """

    def __init__(self, more_rules: str = "", *, replicas: int = 2) -> None:
        self.clock = VirtualClock()
        self.server = MemoryServer(self.clock)
        self.store = MemoryStore(self.server, "person")
        self.rollouts: dict[str, Rollout] = {NAME: rules(more_rules)}
        self.person = Switch(self.store, wall=self.clock.wall, by="ann@laptop", origin="command line on laptop")
        self.person.arm(NAME, control="model-old", canary="model-new", percent=5.0, stage="ramp_5", salt="")
        self.routers: dict[str, float | None] = {"r1": 0.1, "r2": 0.3, "r3": 0.5}
        self.receivers: dict[str, float | None] = dict.fromkeys(RECEIVERS, 1.0)
        self.at_each_step: Callable[[], None] = lambda: None
        self.trips_under_way: tuple[str, ...] = ()
        self.findings: tuple[Finding, ...] = (HEALTHY,)
        self.action = "hold"
        self.source_problem: str | None = None
        self.shown: Mapping[str, DrillStanding] = {}
        self.paged: list[Page] = []
        self._seen: dict[int, float] = {}
        self.replicas = {f"kill-{number}": self.replica(f"kill-{number}") for number in range(replicas)}
        self.step()

    @property
    def drills(self) -> Drills:
        return self.replicas["kill-0"]

    def replica(self, name: str) -> Drills:
        store = MemoryStore(self.server, name)
        session = Session(store, name, monotonic=self.clock.monotonic, ttl=3600.0)
        self.server.commit(name, (), (Put(keys.controller(name), b"{}"),))
        means = Means(
            store=store,
            guard=session.guard,
            receivers=lambda _: tuple(self.receivers),
            wake=lambda: None,
            controller_id=name,
            version="1",
            lag=5.0,
            wall=self.clock.wall,
            monotonic=self.clock.monotonic,
            sleep=self.sleep,
        )
        return Drills(
            means,
            rollouts=lambda: self.rollouts,
            latest=lambda: (self.report(), 1.0),
            trips=lambda: self.trips_under_way,
            settings=lambda _: SETTINGS,
            show=self._show,
            timing=DrillTiming(30.0, 30.0),
        )

    def _show(self, standings: Mapping[str, DrillStanding]) -> None:
        self.shown = standings

    def report(self) -> CycleReport:
        one = RolloutReport(NAME, "healthy", self.action, self.flag, self.rollouts.get(NAME), self.findings)
        return CycleReport(self.clock.wall(), 0.0, 0.5, {NAME: one}, source_problem=self.source_problem)

    # --- time

    def sleep(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.step()
        self.at_each_step()

    def step(self) -> None:
        """Routers and receivers do what they do by now."""
        item = self.server.get(keys.flag(NAME))
        flag = None
        if item is not None:
            try:
                flag = flag_from_document(item.value, rollout=NAME)
            except BadDocument:
                item = None
        if item is not None and flag is not None:
            since = self.clock.monotonic() - self._seen.setdefault(item.mod_revision, self.clock.monotonic())
            for name, delay in self.routers.items():
                first = len(self._seen) == 1
                if delay is not None and (first or since >= delay):
                    self.put_report(name, item.mod_revision, flag.canary_percent, acted_for=max(since - delay, 0.0))
        for entry in self.server.list(keys.OUTBOX).items:
            page = outbox_entry.from_document(entry.value, page=entry.key.removeprefix(keys.OUTBOX))
            for name, delay in self.receivers.items():
                waits = self.clock.wall() - page.created_at
                if delay is not None and waits >= delay and name not in page.deliveries:
                    page = outbox_entry.begin(page, name, by="kill-0", at=self.clock.wall())
                    page = outbox_entry.taken(page, name, reference="1", at=self.clock.wall())
            document = outbox_entry.to_document(page)
            if document != entry.value:
                self.server.commit("receiver", (), (Put(entry.key, document),))

    def put_report(self, router: str, revision: int, percent: float, *, acted_for: float = 0.0) -> None:
        standing = "tripped" if percent == 0.0 else "armed"
        report = Report(router, NAME, revision, 1, standing, percent, self.clock.wall(), acted_for=acted_for)
        item = self.server.get(keys.router(NAME, router))
        if item is None or to_document(report) != item.value:
            self.server.commit(router, (), (Put(keys.router(NAME, router), to_document(report)),))

    # --- what people do and see

    def ask(self, *, live: bool = False, nonce: str = "n1") -> None:
        asked = DrillRequest(NAME, live, "ann@laptop", "command line on laptop", nonce)
        self.server.commit("person", (), (Put(keys.drill_request(NAME), requests.to_document(asked)),))

    def drilled(self, *, live: bool = False) -> DrillRecord:
        """A drill that a person asks for, made by the first replica."""
        self.ask(live=live)
        self.drills.look()
        return self.kept()[0]

    def kept(self) -> list[DrillRecord]:
        return kept_drills(self.store, NAME)

    def standing(self) -> DrillStanding:
        return standing_of(self.store, NAME)[0]

    @property
    def flag(self) -> Flag | None:
        return self.person.stored(NAME).flag

    def flags_ever(self) -> list[Flag]:
        """What routers could have read, each time the flag's key was written."""
        values = [change.value for change in self.server.history if change.key == keys.flag(NAME)]
        return [flag_from_document(value, rollout=NAME) for value in values if value is not None]

    def pages(self, kind: PageKind | None = None) -> list[Page]:
        found = [
            outbox_entry.from_document(item.value, page=item.key.removeprefix(keys.OUTBOX)).page
            for item in self.server.list(keys.OUTBOX).items
        ]
        return sorted((page for page in found if kind in (None, page.kind)), key=lambda page: page.at)


def drill_pages(settings: PageSettings = SETTINGS) -> list[Page]:
    """One of each kind about drills, and the ends of drills."""
    flag, drill_id = armed(), "support-copilot.drill-12"
    made_up = replace(incident(), generation=8)
    legs = "tick to decision 5.71 s, commit 51 ms, 99% of routers 448 ms, rollback 6.21 s"
    return [
        drill_events.drill(made_up, flag, drill_id, settings, live=False),
        drill_events.drill(made_up, flag, f"{drill_id}.live", settings, live=True),
        drill_events.drill_over(
            flag, drill_id, ended="passed", result="a rollback takes 6.21 s here (goal: 30 s)", why=legs, at=AT,
            settings=settings,
        ),
        drill_events.drill_failed(
            flag, flag.rollout, drill_id, why="slack had not taken the page after 1m", slow=False,
            left="The flag is as it was, and no user was rerouted", at=AT, settings=settings,
        ),
        drill_events.drill_missed(
            flag, why="an outage is open", due="2026-04-19 03:00:00 UTC", identity="1", at=AT, settings=settings
        ),
    ]  # fmt: skip
