"""A check of the doctor: what is looked at, what was found, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from killswitch.deadline import Deadline
from killswitch.flags.flag import Flag
from killswitch.model import Rollout, Selector, Unreadable
from killswitch.preflight.backtest.results import Terms
from killswitch.preflight.fleet_seen import AskFleet
from killswitch.sources import Source
from killswitch.sources.counter_health import CounterHealth
from killswitch.sources.inventory import ListsMetrics

PATIENCE = 120.0
"""Seconds that one read of the metric source may take."""


class Status(StrEnum):
    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was examined. ``about``: the rollout and rule, or the source or store. ``fix``: "" if none."""

    about: str
    status: Status
    found: str
    fix: str = ""


AskFlags = Callable[[], tuple[dict[str, Flag], dict[str, str]]]
AskCounters = Callable[[Selector, Selector, float, Deadline], CounterHealth | Unreadable]
TryWriting = Callable[[str], None]
AskControllers = Callable[[], int | None]
AskRouters = Callable[[str], int]
AskPermissions = Callable[[], Iterable[Check]]
MeasureInterval = Callable[[Selector, float, Deadline], float | Unreadable]


@dataclass(frozen=True, slots=True)
class Setup:
    """What is examined. ``wall``: this machine's time in Unix seconds, None if the source is a recording.

    ``flags`` reads the flags of the store and raises what the store raises; None without a store. ``measure``
    measures scrape intervals and ``counters`` looks at each series; None if the source cannot.
    ``scrape_interval``: as configured, in seconds. ``try_writing`` raises if the store would not take a trip of
    the rollout. ``controllers``: how many are alive, None if that is unknown. ``routers``: how many follow a rollout's
    flag; raises what the store raises. ``fleet``: what routers and controllers have left in the store;
    ``permissions``: the checks of what these credentials may do there; both raise what the store raises. ``labels``:
    the source, if it says what labels its metrics have. ``version``: of this command.
    ``all_rules``: whether ``rollouts`` are all that have rule files.
    """

    source: Source
    rollouts: Sequence[Rollout]
    terms: Terms
    scrape_interval: float
    wall: float | None = None
    measure: MeasureInterval | None = None
    counters: AskCounters | None = None
    flags: AskFlags | None = None
    try_writing: TryWriting | None = None
    controllers: AskControllers | None = None
    routers: AskRouters | None = None
    fleet: AskFleet | None = None
    permissions: AskPermissions | None = None
    labels: ListsMetrics | None = None
    version: str = ""
    all_rules: bool = True
