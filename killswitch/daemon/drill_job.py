"""Drills as the daemon makes them: with its own store, session, delivery and newest cycle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from killswitch import __version__
from killswitch.controller.controller import Controller
from killswitch.daemon.settings import Settings
from killswitch.drill.drills import Drills, DrillTiming
from killswitch.drill.record import DrillOutcome
from killswitch.drill.rehearsal import Means
from killswitch.drill.standing import DrillStanding
from killswitch.errors import Unavailable
from killswitch.fleet.session import Session
from killswitch.model import PageSettings, Rollout
from killswitch.pages.delivery import PageDelivery
from killswitch.status.reports import CycleReport
from killswitch.status.self_metrics import SelfMetrics
from killswitch.stores import Store


@dataclass(frozen=True, slots=True)
class Clocks:
    """``wall`` gives Unix seconds, ``monotonic`` seconds; ``sleep`` waits. ``stopping``: whether the daemon is."""

    wall: Callable[[], float]
    monotonic: Callable[[], float]
    sleep: Callable[[float], None]
    stopping: Callable[[], bool]

    def sleep_unless_stopping(self, seconds: float) -> None:
        """Raises Unavailable once the daemon is stopping, so that another replica ends the drill at once."""
        if self.stopping():
            raise Unavailable("this controller is stopping")
        self.sleep(seconds)


def drills(
    settings: Settings,
    store: Store,
    session: Session,
    controller: Controller,
    delivery: PageDelivery,
    metrics: SelfMetrics,
    *,
    controller_id: str,
    rollouts: Callable[[], Mapping[str, Rollout]],
    page_settings: Callable[[str], PageSettings],
    clocks: Clocks,
) -> Drills:
    """``store``: the one that trips use, because a drill times what a trip would take."""

    def latest() -> tuple[CycleReport, float] | None:
        report = controller.latest
        return None if report is None else (report, clocks.monotonic() - report.finished)

    means = Means(
        store=store,
        guard=session.guard,
        receivers=delivery.receivers_of,
        wake=delivery.wake,
        controller_id=controller_id,
        version=__version__,
        lag=settings.lag,
        wall=clocks.wall,
        monotonic=clocks.monotonic,
        sleep=clocks.sleep_unless_stopping,
    )
    return Drills(
        means,
        rollouts=rollouts,
        latest=latest,
        trips=lambda: controller.trips_under_way,
        settings=page_settings,
        show=DrillGauges(metrics).show,
        timing=DrillTiming(settings.interval, settings.step),
    )


class DrillGauges:
    """Shows the standings of all rollouts as metrics; those of rollouts that are gone are dropped."""

    def __init__(self, metrics: SelfMetrics) -> None:
        self._metrics = metrics
        self._shown: dict[str, DrillStanding] = {}

    def show(self, standings: Mapping[str, DrillStanding]) -> None:
        metrics = self._metrics
        for name, before in self._shown.items():
            after = standings.get(name)
            for leg in before.legs.keys() - (after.legs.keys() if after is not None else set()):
                metrics.drill_seconds.remove(name, leg)
            if after is None:
                for family in (metrics.drill_last, metrics.drill_ok, metrics.drill_worst, metrics.drill_due):
                    family.remove_by_labels({"rollout": name})
        for name, one in standings.items():
            passed = one.outcome in ("", DrillOutcome.PASSED.value) and not one.missed
            metrics.drill_last.labels(name).set(one.passed_at or 0.0)
            metrics.drill_ok.labels(name).set(float(passed))
            for leg, seconds in one.legs.items():
                metrics.drill_seconds.labels(name, leg).set(seconds)
            for family, value in ((metrics.drill_worst, one.worst), (metrics.drill_due, one.due)):
                if value is not None:
                    family.labels(name).set(value)
                else:  # a schedule that was taken away would be overdue for ever
                    family.remove_by_labels({"rollout": name})
        self._shown = dict(standings)
