"""The daemon: builds everything, runs the periodic jobs, and stops cleanly.

One place for every job: APScheduler runs them, each at most once at a time and never dropped for being
late. Liveness is measured on monotonic time, from inside the loop itself.
"""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

import uvicorn
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger
from prometheus_client import CollectorRegistry

from killswitch import __version__
from killswitch.controller.controller import Controller
from killswitch.controller.role_rollbacks import RoleRollbacks
from killswitch.controller.slow_signals import SlowSignals
from killswitch.daemon.active_alerts import alert_jobs
from killswitch.daemon.alerts_in import alerts_in
from killswitch.daemon.clock_guard import ClockGuard
from killswitch.daemon.dead_mans_switch import DeadMansSwitch
from killswitch.daemon.delivering import build_delivery
from killswitch.daemon.drill_job import Clocks, drills
from killswitch.daemon.guarded_job import guarded
from killswitch.daemon.missing_receivers import warn_of_missing_receivers
from killswitch.daemon.probe_child import daily_probes
from killswitch.daemon.refused_rules import page_refused_rules
from killswitch.daemon.role_view import RoleView
from killswitch.daemon.roles_in_force import RolesInForce
from killswitch.daemon.rules_in_force import RulesInForce
from killswitch.daemon.secrets_of_settings import secret
from killswitch.daemon.settings import Settings, without_secrets
from killswitch.daemon.slack_desk import SlackDesk, someone_may_press
from killswitch.daemon.slow_child import evaluate_in_child
from killswitch.daemon.source_pace import source_at_its_pace
from killswitch.daemon.timing import timing_of
from killswitch.daemon.trend_view import TrendView
from killswitch.daemon.web_routes import web_routes
from killswitch.daemon.wiring import build_chart_source, build_pagers, build_store, page_links
from killswitch.flags.flag import Flag
from killswitch.flags.incident import Incident
from killswitch.fleet.session import Session
from killswitch.model import PageSettings
from killswitch.ramps.watch_checks import OLDEST_VERDICTS
from killswitch.registry.mismatches import MismatchPages
from killswitch.roles.seen import RolesSeen
from killswitch.status.reports import CycleReport
from killswitch.status.self_metrics import SelfMetrics
from killswitch.trips.history_pruning import HistoryPruning
from killswitch.trips.incidents import StoredIncidents
from killswitch.trips.propagation import Propagation
from killswitch.trips.switch import Switch
from killswitch.web.app import application
from killswitch.web.server import server
from killswitch.web.slack_endpoint import slack_routes
from killswitch.wording import counted

log = logging.getLogger(__name__)
EXIT_NAME_TAKEN = 2  # as for any setting that is refused
STOP_WITHIN = 7.0  # and a second for what is around it, and one for a busy machine
HUNG_AFTER_INTERVALS = 2.5  # the probe must have failed within three


class Daemon:
    """One replica. Raises BadSettings or BadRules from its constructor; nothing runs until `run`."""

    def __init__(  # long: it builds the parts of a replica in the order in which they need each other
        self,
        settings: Settings,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        on_cycle: Callable[[CycleReport], None] = lambda _report: None,
    ) -> None:
        self._settings = settings
        self._monotonic = monotonic
        self._wall = wall
        self._sleep = sleep
        self._on_cycle = on_cycle
        self.controller_id = settings.controller_id or f"{socket.gethostname()}-{uuid.uuid4().hex[:6]}"
        self._origin = f"controller {self.controller_id}"
        self._metrics = SelfMetrics(__version__)
        self.registry: CollectorRegistry = self._metrics.registry
        self._rules = RulesInForce(
            settings.rules,
            metrics=self._metrics,
            wall=wall,
            on_refused=self._rules_refused,
            links=page_links(settings),
        )
        self._roles = RolesInForce(settings.roles, required="roles" in settings.model_fields_set)
        self._store = build_store(settings)
        self._trip_store = build_store(settings, timeout=settings.trip_timeout)
        self._source, self._settings = source_at_its_pace(settings, list(self._rules.current().rollouts.values()))
        settings = self._settings
        pagers, fallback = build_pagers(settings, buttons=someone_may_press(self._rules.current))
        warn_of_missing_receivers(settings, list(self._rules.current().rollouts.values()), [*pagers, fallback])
        self._delivery = build_delivery(
            settings, self._store, (pagers, fallback), owner=self.controller_id, wall=wall, monotonic=monotonic
        )
        self._alert_jobs = alert_jobs(
            settings,
            self._store,
            pagers,
            self._delivery,
            settings_of=self._page_settings,
            wall=wall,
            monotonic=monotonic,
        )
        self._session = Session(self._trip_store, self.controller_id, monotonic=monotonic, ttl=settings.session_ttl)
        self._controller = self._build_controller()
        self._slow_signals = self._build_slow_signals()
        self._role_view = RoleView(self._store)
        self._trends = TrendView(
            self._store,
            build_chart_source(settings, self._source),
            controller_id=self.controller_id,
            rollouts=lambda: self._rules.current().rollouts,
            monotonic=monotonic,
        )
        self._probes = daily_probes(settings, self._store, self._roles.current, by=self.controller_id, wall=wall)
        self._role_rollbacks = RoleRollbacks(
            self._store,
            rollouts=lambda: self._rules.current().rollouts,
            roles=self._roles.current,
            wall=wall,
            by=self.controller_id,
        )
        self._propagation = Propagation(
            self._store,
            Switch(self._store, wall=wall, by=self.controller_id, origin=self._origin),
            settings=self._page_settings,
            monotonic=monotonic,
            wall=wall,
        )
        self._mismatches = MismatchPages(
            self._store,
            settings=lambda role: self._roles.page_settings(role, self._rules.current().rollouts),
            wall=wall,
        )
        self._pruning = HistoryPruning(self._store, wall=wall)
        self._incidents = StoredIncidents(self._trip_store, monotonic=monotonic)
        self._drills = drills(
            settings, self._trip_store, self._session, self._controller, self._delivery, self._metrics,
            controller_id=self.controller_id, rollouts=lambda: self._rules.current().rollouts,
            page_settings=self._page_settings, clocks=Clocks(wall, monotonic, sleep, lambda: self._stopping),
        )  # fmt: skip
        self._dead_mans_switch = DeadMansSwitch(secret(settings, "heartbeat_url"), self.controller_id, self._metrics)
        self._api_token = secret(settings, "api_token")
        self._stopping = False
        self._cycling = threading.Lock()
        self._alive_at = monotonic()
        self._paged: dict[tuple[str, str], int] = {}
        self._scheduler = self._build_scheduler()
        self._guard = ClockGuard(self._clock_jumped, monotonic=monotonic, wall=wall)
        self._slack = SlackDesk().built(
            settings,
            rollouts=lambda: self._rules.current().rollouts,
            roles=self._roles.current,
            page_settings=self._page_settings,
            latest=lambda: self.latest,
            metrics=self._metrics,
            wall=wall,
            monotonic=monotonic,
        )
        self._server = self._build_server()

    def _build_controller(self) -> Controller:
        return Controller(
            controller_id=self.controller_id,
            version=__version__,
            source=self._source,
            store=self._store,
            switch=Switch(self._trip_store, wall=self._wall, by=self.controller_id, origin=self._origin),
            session=self._session,
            rules=self._rules.current,
            prices=self._rules.prices,
            roles=self._roles.current,
            send=self._delivery.send_directly,
            flipped=self._flipped,
            timing=timing_of(self._settings),
            metrics=self._metrics,
            monotonic=self._monotonic,
            wall=self._wall,
        )

    def _build_slow_signals(self) -> SlowSignals:
        return SlowSignals(
            self._store,
            Switch(self._store, wall=self._wall, by=self.controller_id, origin=self._origin),
            rollouts=lambda: self._rules.current().rollouts,
            evaluate=evaluate_in_child,
            controller_id=self.controller_id,
            version=__version__,
            wall=self._wall,
        )

    # --- running --------------------------------------------------------------------------------

    def run(self) -> int:
        """Until SIGTERM, SIGINT or `stop`; the exit code. Signals are taken only in the main thread."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda *_: self.stop())
            signal.signal(signal.SIGINT, lambda *_: self.stop())
            signal.signal(signal.SIGHUP, lambda *_: threading.Thread(target=self._rules.reload).start())
        web = threading.Thread(target=self._server.run, name="web", daemon=True)
        web.start()
        watched = counted(len(self._rules.current().rollouts), "rollout")
        log.info(
            "killswitch %s, controller %s: %s every %gs, source %s, flag store %s",
            __version__, self.controller_id, watched, self._settings.interval,
            without_secrets(self._settings.source), without_secrets(self._settings.store),
        )  # fmt: skip
        self._guard.start()
        self._scheduler.start()
        self._slack.start()
        # no Event to wait for: a signal's handler runs inside its wait() now and then, and set() would lock up there
        while not self._stopping:
            time.sleep(0.5)
            if not web.is_alive():
                log.error("the web server has ended: is %s taken? set KILLSWITCH_LISTEN", self._settings.listen)
                self._shut_down(web)
                return 1
            if self._controller.name_refused:
                log.error(
                    "another living replica runs as controller %s, and has for longer than a dead one's session lasts: "
                    "give each replica a KILLSWITCH_CONTROLLER_ID of its own, or none, and start this one again",
                    self.controller_id,
                )
                self._shut_down(web)
                return EXIT_NAME_TAKEN
        self._shut_down(web)
        return 0

    def stop(self) -> None:
        """Ask `run` to end, which it does within half a second and its ten; from a signal's handler as well."""
        self._stopping = True

    def _shut_down(self, web: threading.Thread) -> None:
        """At most ten seconds: a sent transaction is finished, an unsent one abandoned, claims are given back."""
        log.info("stopping: handing over")
        self._guard.stop()
        self._server.should_exit = True
        finisher = threading.Thread(target=self._finish, name="finish", daemon=True)
        finisher.start()
        finisher.join(STOP_WITHIN)
        web.join(1.0)
        if finisher.is_alive():
            log.warning("stopped before every server answered; this replica's leases end by themselves")

    def _finish(self) -> None:
        self._scheduler.shutdown(wait=False)
        self._controller.close()
        self._delivery.close()
        self._slack.close()
        if not self._cycling.acquire(blocking=False):
            return  # a cycle waits for a silent server: its source closed under it would look like a bug
        for closable in (self._trends, self._source, self._store, self._trip_store):
            closable.close()

    # --- jobs -----------------------------------------------------------------------------------

    def _build_scheduler(self) -> BackgroundScheduler:
        pulse = self._pulse
        jobs: tuple[tuple[str, Callable[[], object], float], ...] = (
            ("cycle", self._cycle_if_due, pulse),
            ("renew", self._controller.renew, self._settings.session_ttl / 3),
            ("retry", self._controller.retry, min(1.0, pulse * 2)),
            ("pages", self._deliver, min(1.0, pulse * 2)),
            ("rules", self._rules.look, min(5.0, self._settings.interval)),
            ("roles", self._roles.look, min(5.0, self._settings.interval)),
            ("role_view", self._role_view.look, min(5.0, self._settings.interval)),
            ("role_rollbacks", self._role_rollbacks.look, min(2.0, self._settings.interval)),
            ("propagation", self._look_who_follows, min(1.0, pulse * 2)),
            ("trends", self._look_at_trends, min(1.0, pulse * 2)),
            ("dead_mans_switch", self._dead_mans_switch.call, pulse),
            ("role_probes", self._probes.look, 60.0),
            ("drills", self._drills.look, 1.0),
            ("slow_signals", self._slow_signals.look, min(30.0, self._settings.interval)),
            ("history_pruning", self._pruning.look, 1800.0),
            ("model_mismatches", self._mismatches.look, min(60.0, 4 * self._settings.interval)),
            *self._alert_jobs,
        )
        scheduler = BackgroundScheduler(
            timezone="UTC",
            # a thread for each job: none may wait for another
            executors={name: ThreadPoolExecutor(1) for name, _, _ in jobs} | {"default": ThreadPoolExecutor(1)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        for name, job, seconds in jobs:
            scheduler.add_job(guarded(name, job), IntervalTrigger(seconds=seconds), id=name, executor=name)
        return scheduler

    @property
    def _pulse(self) -> float:
        """Seconds between two looks whether a tick is due."""
        return min(1.0, self._settings.interval / 10)

    def _cycle_if_due(self) -> None:
        # a flip waits for its cycle, which would begin up to a pulse late at this job's turn after it is due
        while not self._stopping and 0 < (due_in := self._controller.seconds_until_due()) <= self._pulse:
            self._sleep(due_in)
        with self._cycling:
            if self._stopping:
                return
            if self._controller.seconds_until_due() == 0.0:
                report = self._controller.run_cycle()
                if report is not None:
                    self._propagation.notice([one.flag for one in report.reports.values() if one.flag is not None])
                    self._dead_mans_switch.cycle_finished(report)
                    self._trends.cycle_finished(report)
                    self._on_cycle(report)
        self._alive_at = self._monotonic()

    def _look_who_follows(self) -> None:
        if not self._controller.flips_come_first:
            self._propagation.look()

    def _look_at_trends(self) -> None:
        if not self._controller.flips_come_first:
            self._trends.look()

    def _deliver(self) -> None:
        if self._stopping or self._controller.flips_come_first:
            return
        self._delivery.run_once()
        events = self._delivery.status().events
        for (receiver, outcome), count in events.items():
            before = self._paged.get((receiver, outcome), 0)
            self._metrics.pages.labels(receiver, outcome).inc(count - before)
            self._paged[receiver, outcome] = count

    def _clock_jumped(self, seconds: float) -> None:
        log.warning("the wall clock moved by %+.1f s; jobs are re-anchored, verdicts do not depend on it", seconds)
        self._metrics.clock_jumps.inc()
        for job in self._scheduler.get_jobs():
            trigger: IntervalTrigger = job.trigger
            job.reschedule(IntervalTrigger(seconds=timedelta.total_seconds(trigger.interval)))

    # --- what the web server asks ---------------------------------------------------------------

    @property
    def latest(self) -> CycleReport | None:
        return self._controller.latest

    def age(self) -> float | None:
        latest = self._controller.latest
        return None if latest is None else self._monotonic() - latest.finished

    def unhealthy(self) -> str | None:
        silent = self._monotonic() - self._alive_at
        if silent > HUNG_AFTER_INTERVALS * self._settings.interval:
            return f"the loop has not come round for {silent:.0f} s"
        return None

    def unready(self) -> str | None:
        if self._stopping:
            return "stopping"
        return "the first cycle has not finished" if self._controller.latest is None else None

    def tripped_on(self, flags: Sequence[Flag]) -> Mapping[str, Incident]:
        return self._incidents.of(flags)

    def roles(self) -> RolesSeen:
        return self._role_view.seen()

    def reload(self) -> list[str]:
        return self._rules.reload()

    def api_token(self) -> str | None:
        return None if self._api_token is None else self._api_token.reveal()

    def _build_server(self) -> uvicorn.Server:
        routes = web_routes(
            self, self._trip_store, self._trends,
            settings=self._page_settings, oldest=OLDEST_VERDICTS * self._settings.interval, monotonic=self._monotonic,
        )  # fmt: skip
        routes += alerts_in(
            self._settings, self._trip_store,
            controller_id=self.controller_id, rules=self._rules, latest=lambda: self.latest, flipped=self._flipped,
            metrics=self._metrics, wall=self._wall, monotonic=self._monotonic,
        )  # fmt: skip
        routes += slack_routes(self._slack.request_url)
        app = application(self, routes, host_names=self._settings.names)
        return server(app, self._settings.listen)

    def _flipped(self, rollout: str, generation: int, revision: int) -> None:
        if not self._controller.flips_come_first:
            self._delivery.wake()
        self._propagation.tripped(rollout, generation, revision)

    def _page_settings(self, rollout: str) -> PageSettings:
        rules = self._rules.current().rollouts.get(rollout)
        return rules.page if rules is not None else page_links(self._settings)

    # --- pages that are no verdict ----------------------------------------------------------------

    def _rules_refused(self, problems: list[str]) -> None:
        page = next(iter(self._rules.current().rollouts.values())).page
        page_refused_rules(problems, self._store, self._delivery, page, at=self._wall())
