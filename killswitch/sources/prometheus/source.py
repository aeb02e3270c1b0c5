"""Prometheus as a metric source, and what speaks its query API (Thanos, Mimir, …)."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from itertools import chain, pairwise
from typing import Final

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, Unavailable
from killswitch.model import Buckets, Readings, Reason, Selector, Unreadable, Want
from killswitch.net.bounded_http import Credentials
from killswitch.net.credentials import TLS
from killswitch.sources.asks import Ask, Free, Shape, Sum, Users
from killswitch.sources.assembly import Assemblies, Assembly
from killswitch.sources.closer_looks import with_closer
from killswitch.sources.columns import Answers, Column
from killswitch.sources.counter_health import CounterHealth, process_in_words
from killswitch.sources.counter_lookups import AbsentCache, SeenCache
from killswitch.sources.falls import Falls
from killswitch.sources.gauge_histograms import gauge_counts, without_gauges
from killswitch.sources.histogram_edges import Layouts
from killswitch.sources.prometheus import answers, counter_queries, promql, quiet
from killswitch.sources.prometheus.answers import Unusable
from killswitch.sources.prometheus.client import PrometheusClient
from killswitch.sources.prometheus.dialect import Dialect
from killswitch.sources.prometheus.gauge_lookups import GaugeLookups
from killswitch.sources.prometheus.listing import PrometheusListing
from killswitch.sources.prometheus.native_histograms import NativeHistograms
from killswitch.sources.prometheus.queries import Query, Ranges, most_ticks, plan
from killswitch.sources.prometheus.quiet import Quiet
from killswitch.sources.prometheus.session import PrometheusSession
from killswitch.sources.prometheus.user_queries import UserQuery, plan_users
from killswitch.sources.user_counts import Crowded

_log = logging.getLogger(__name__)
Planned = tuple[Query | UserQuery | Free, str]
"""A query, and its text."""

_MOST_POINTS: Final = 11_000  # Prometheus gives no more of one series
_MOST_USER_POINTS: Final = 60  # so that 20,000 counters of users stay under the samples that a server reads at most


class Prometheus:
    """A `Source`. ``url`` is ``http(s)://host:port/prefix``; ``scrape_interval`` in seconds.

    ``timeout`` is the total for one query in seconds; ``parallel`` how many are under way at once.
    Raises BadSettings for a URL that is none, or that holds a password.
    """

    def __init__(
        self,
        url: str,
        *,
        scrape_interval: float = 15.0,
        credentials: Credentials | None = None,
        tls: TLS | None = None,
        proxy: str | None = None,
        timeout: float = 10.0,
        parallel: int = 4,
        session: PrometheusSession | None = None,
    ) -> None:
        session = session or PrometheusSession(credentials=credentials, tls=tls, proxy=proxy, timeout=timeout)
        self._client = PrometheusClient(url, session)
        listing = PrometheusListing(self._client)  # as `ListsMetrics`
        self.metric_names, self.label_names = listing.metric_names, listing.label_names
        self.series_count, self.growth = listing.series_count, listing.growth
        self.label_values, self.typical_interval = listing.label_values, listing.typical_interval
        self._threads = ThreadPoolExecutor(max_workers=parallel, thread_name_prefix="prometheus")
        self._dialect = Dialect(self._client, scrape_interval)
        self._quiet = Quiet(self._dialect.ranges.before)
        self._seen = SeenCache()
        self._absent = AbsentCache()
        self._crowded = Crowded()
        self._idle: frozenset[Ask] = frozenset()
        self._assemblies = Assemblies()
        self._falls = Falls()
        self._layouts = Layouts()
        self._native = NativeHistograms()
        self._gauges = GaugeLookups(self._client)
        self._planned = lru_cache(maxsize=4)(self._plan)  # of steps, what is asked besides, histograms, windows
        self._planned_quick = lru_cache(maxsize=1)(self._plan_quick)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    # --- Source ---

    def now(self, deadline: Deadline) -> float:
        """The server's own clock; a little old by the time it arrives. Raises Unavailable or AccessDenied."""
        point = self._client.instant("time()", None, deadline)
        if isinstance(point, Unreadable):
            if point.reason is Reason.SOURCE_REFUSED:
                raise AccessDenied(point.detail)
            raise Unavailable(point.detail)
        return point

    def read(self, wants: Sequence[Want], tick: float, deadline: Deadline) -> Readings:
        return self.read_back(wants, [tick], deadline)[tick]

    def read_back(self, wants: Sequence[Want], ticks: Sequence[float], deadline: Deadline) -> Mapping[float, Readings]:
        if not ticks:
            return {}
        self._dialect.learn(ticks[-1], deadline)
        found = self._read(wants, ticks, deadline)
        natively = self._native.wants(wants, found)
        if natively:
            found = self._native.merged(natively, found, self._read(natively, ticks, deadline))
        counted = (want for want in wants if isinstance(found[ticks[-1]][want.key].canary, Buckets))
        return without_gauges(wants, found, self._gauges.there(gauge_counts(counted), ticks[-1], deadline))

    def _read(self, wants: Sequence[Want], ticks: Sequence[float], deadline: Deadline) -> Mapping[float, Readings]:
        assembly = self._assemblies.of(wants, self._dialect.ranges)
        found = self._numbers(assembly, ticks, deadline)
        falls = self._falls.at(
            assembly.falls(found), ticks, lambda asks, times: self._answers(asks, times, deadline, known=False)
        )
        closer = assembly.closer(found, falls, len(ticks))
        looks = self._answers([look.ask for look in closer.values()], ticks, deadline, known=False)
        found = with_closer(found, closer, looks, len(ticks))
        seen = self._look_up(assembly.doubts(found, len(ticks)), ticks[0], deadline)
        return dict(zip(ticks, assembly.readings(found, seen, falls, len(ticks)), strict=True))

    def _numbers(self, assembly: Assembly, ticks: Sequence[float], deadline: Deadline) -> Answers:
        """What the wants need at first; whether histograms have every edge is asked only while that is unknown."""
        if len(ticks) > 1:
            self._layouts.forget(assembly.layouts)
            found = self._answers((*assembly.asks, *assembly.layouts), ticks, deadline)
            absent: Answers = self._answers(list(assembly.absent(found, len(ticks))), ticks, deadline, known=False)
        else:
            found = self._counts_at(assembly, ticks, deadline)
            found |= self._lives_at(assembly, found, ticks, deadline)
            doubtful = self._layouts.doubtful(assembly.histograms, found, ticks[0])
            whole: Answers = {ask: [None] for ask in assembly.layouts}
            asked = self._answers(doubtful, ticks, deadline, known=False)
            self._layouts.keep(assembly.histograms, {**found, **asked}, ticks[0])
            found = {**found, **whole, **asked}
            absent = self._absent_at(assembly.absent(found, 1), ticks[0], deadline)
        return {**found, **absent}

    def _counts_at(self, assembly: Assembly, ticks: Sequence[float], deadline: Deadline) -> dict[Ask, Column]:
        """Trials and events of one tick; events that had no trials at the tick before are asked once there are some."""
        if not assembly.events:  # native histograms alone
            return self._steps_at(assembly.asks, frozenset(), ticks, deadline)
        if not self._idle <= assembly.events:
            self._idle = frozenset()
        crowded = self._crowded.at(ticks[0])
        found = self._steps_at(assembly.asks, self._idle | crowded.keys(), ticks, deadline)
        self._crowded.keep(found, ticks[0])
        found |= {ask: column for ask, column in crowded.items() if ask in assembly.asks}
        idle = assembly.idle(found)
        found |= self._answers([ask for ask in self._idle if ask not in idle], ticks, deadline, known=False)
        nothing: Column = [None]
        found |= dict.fromkeys((ask for ask in assembly.asks if ask not in found), nothing)
        self._idle = idle & assembly.events
        return found

    def _steps_at(
        self, every: Sequence[Ask], but: AbstractSet[Ask], ticks: Sequence[float], deadline: Deadline
    ) -> dict[Ask, Column]:
        """The numbers of one tick, ``but`` for some. Quiet counters are asked the cheap way, and in full if that fails.

        Which counters are quiet changes with each tick, and planning takes longer than asking: see `_kept_plan`.
        """
        steps = (ask for ask in every if quiet.is_step(ask))
        known = self._quiet.known(steps, ticks[0]) - but if self._dialect.takes_pairs else frozenset()
        quick = _mostly(self._planned_quick(tuple(every), self._dialect.ranges), known) if known else []
        known = known.intersection(_asks_of(quick))
        others = dict.fromkeys(ask for ask in every if ask not in but and ask not in known)
        of_quick = self._submit(quick, ticks, deadline)
        of_others = self._submit(self._kept_plan(tuple(every), others), ticks, deadline)
        found = {ask: column for ask, column in _collected(of_quick).items() if ask in known and _is_number(column)}
        spoilt = known - found.keys()
        found |= {ask: column for ask, column in _collected(of_others).items() if ask in others}
        if spoilt:
            found |= self._answers(list(spoilt), ticks, deadline, known=False)
        self._quiet.keep(found, ticks[0], spoilt)
        return found

    def _lives_at(self, assembly: Assembly, found: Answers, ticks: Sequence[float], deadline: Deadline) -> Answers:
        wanted = dict.fromkeys(assembly.lives(found))
        jobs = self._submit(self._kept_plan(assembly.every_live, wanted), ticks, deadline)
        return {ask: column for ask, column in _collected(jobs).items() if ask in wanted}

    def _absent_at(self, asks: Mapping[Ask, float], tick: float, deadline: Deadline) -> Answers:
        known = self._absent.known(asks, tick)
        asked = self._answers([ask for ask in asks if ask not in known], [tick], deadline, known=False)
        found = {**known, **asked}
        self._absent.keep(found, tick)
        return found

    # --- asking ---

    def _answers(
        self, asks: Sequence[Ask], ticks: Sequence[float], deadline: Deadline, *, known: bool = True
    ) -> dict[Ask, Column]:
        """A column for every ask; a query that fails is the failure of its asks alone.

        ``known``: the same will be asked again, so its plan is kept.
        """
        at_most = min(_MOST_POINTS, min(map(most_ticks, asks), default=_MOST_POINTS))
        if any(isinstance(ask, Users) for ask in asks):
            at_most = min(at_most, _MOST_USER_POINTS)
        planned = self._planned if known else self._plan
        spans = [run[at : at + at_most] for run in _even_runs(ticks) for at in range(0, len(run), at_most)]
        queries = planned(tuple(asks), len(spans[0]), self._dialect.ranges)
        jobs = [job for span in spans for job in self._submit(queries, span, deadline)]
        if len(spans) == 1:
            return _collected(jobs)
        columns: dict[Ask, list[Column]] = {ask: [] for ask in asks}
        for job in jobs:
            for ask, column in job.result().items():
                columns[ask].append(column)
        return {ask: _joined(parts, spans) for ask, parts in columns.items()}

    def _submit(
        self, queries: Sequence[Planned], ticks: Sequence[float], deadline: Deadline
    ) -> list[Future[Mapping[Ask, Column]]]:
        return [self._threads.submit(self._client.columns, query, text, ticks, deadline) for query, text in queries]

    def _kept_plan(self, every: tuple[Ask, ...], wanted: Mapping[Ask, None]) -> list[Planned]:
        """For those ``wanted`` of ``every``: the queries of the plan of all, and a plan for what these leave out.

        The plan of all is kept; answers that are not wanted are left out.
        """
        kept = _mostly(self._planned(every, 1, self._dialect.ranges), wanted.keys())
        asked = set(_asks_of(kept))
        return [*kept, *self._plan(tuple(ask for ask in wanted if ask not in asked), 1, self._dialect.ranges)]

    def _plan_quick(self, every: tuple[Ask, ...], ranges: Ranges) -> list[Planned]:
        """The plan of all, of which steps are asked the cheap way; the queries share their asks with that plan."""
        steps = [query for query, _ in self._planned(every, 1, ranges) if isinstance(query, Query)]
        quick = [replace(query, shape=Shape.GROWN) for query in steps if query.shape is Shape.STEP and not query.native]
        return [(query, query.text(ranges)) for query in quick]

    @staticmethod
    def _plan(asks: tuple[Ask, ...], ticks: int, ranges: Ranges) -> list[Planned]:
        queries = plan((ask for ask in asks if isinstance(ask, Sum)), ticks)
        free = [(ask, ask.query) for ask in asks if isinstance(ask, Free)]
        users = [(query, query.text(ranges)) for query in plan_users(ask for ask in asks if isinstance(ask, Users))]
        return [*((query, query.text(ranges)) for query in queries), *users, *free]

    # --- what the server knows ---

    def _look_up(self, asks: Sequence[Ask], tick: float, deadline: Deadline) -> Answers:
        known = {ask: self._seen.at(ask, tick) for ask in asks}
        found = self._answers([ask for ask, column in known.items() if column is None], [tick], deadline, known=False)
        for ask, column in found.items():
            self._seen.keep(ask, tick, column)
        return {**{ask: column for ask, column in known.items() if column is not None}, **found}

    def counter_health(
        self, events: Selector, trials: Selector, tick: float, deadline: Deadline
    ) -> CounterHealth | Unreadable:
        """Which counters fall without a restart, and how much is in series that are born late."""
        self._dialect.learn(tick, deadline)
        falls, born, total = counter_queries.queries(events, trials, self._dialect.ranges)

        def asked() -> CounterHealth:
            rows = [self._client.rows_at(text, tick, deadline) for text in (falls, born, total)]
            try:
                named = [(process_in_words(row["metric"]), int(answers.number(row["value"][1]))) for row in rows[0]]
                first, every = (answers.number(some[0]["value"][1]) if some else 0.0 for some in rows[1:])
            except (LookupError, TypeError, Unusable):
                raise Unusable(Reason.GARBAGE, "the answer about resets holds no number") from None
            return CounterHealth(tuple(named), first, every)

        return self._client.guarded(asked, deadline)

    def measure_scrape_interval(self, selector: Selector, tick: float, deadline: Deadline) -> float | Unreadable:
        """The median distance, in seconds, between samples of the selected series in the 10 minutes before ``tick``."""
        text = f"{promql.selector(selector)}[10m]"

        def interval() -> float:
            rows = self._client.rows_at(text, tick, deadline)
            try:
                stamps = [[float(sample[0]) for sample in row["values"]] for row in rows]
            except (LookupError, TypeError, ValueError):
                raise Unusable(Reason.GARBAGE, f"the answer to {text} holds no samples") from None
            gaps = [later - earlier for series in stamps for earlier, later in pairwise(series)]
            if not gaps:
                raise Unusable(Reason.NO_DATA, f"fewer than two samples of {text}")
            return statistics.median(gaps)

        return self._client.guarded(interval, deadline)


# --- plans --------------------------------------------------------------------------------------


def _mostly(planned: Iterable[Planned], wanted: AbstractSet[Ask]) -> list[Planned]:
    """The queries at least half of whose asks are wanted: of others, what is not wanted would cost too much."""
    return [one for one in planned if 2 * sum(ask in wanted for ask in _asks_of([one])) >= len(_asks_of([one]))]


def _asks_of(planned: Iterable[Planned]) -> list[Ask]:
    each = ([query] if isinstance(query, Free) else query.cells.values() for query, _ in planned)
    return list(chain.from_iterable(each))


# --- ticks --------------------------------------------------------------------------------------


def _even_runs(ticks: Sequence[float]) -> Iterator[Sequence[float]]:
    """Ticks in runs of one spacing, because a range query has only one."""
    start = 0
    for at in range(2, len(ticks) + 1):
        if at == len(ticks) or abs((ticks[at] - ticks[at - 1]) - (ticks[start + 1] - ticks[start])) > 0.0005:
            if at - start < 2:
                continue
            yield ticks[start:at]
            start = at
    if start < len(ticks):
        yield ticks[start:]


def _collected(jobs: Sequence[Future[Mapping[Ask, Column]]]) -> dict[Ask, Column]:
    return {ask: column for job in jobs for ask, column in job.result().items()}


def _is_number(column: Column) -> bool:
    return not isinstance(column, Unreadable) and column[0] is not None and not isinstance(column[0], Unreadable)


def _joined(parts: Sequence[Column], spans: Sequence[Sequence[float]]) -> Column:
    return list(
        chain.from_iterable(
            [part] * len(span) if isinstance(part, Unreadable) else part
            for part, span in zip(parts, spans, strict=True)
        )
    )
