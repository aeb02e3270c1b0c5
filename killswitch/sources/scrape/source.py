"""The embedded source: reads the services' own ``/metrics``, and needs no Prometheus.

A thread scrapes every target once in each scrape interval and keeps the counters that rules need
(`SampleHistory`). Wants are answered from these as Prometheus would. A scrape is made in the middle of
each interval of the clock's grid. So ticks fall between scrapes, and a scrape that is a little late still
counts in its own step.
"""

from __future__ import annotations

import logging
import math
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import requests

from killswitch.deadline import Deadline
from killswitch.errors import BadSettings
from killswitch.model import QuantileSignal, RatioSignal, Reading, Readings, Reason, Unreadable, Want
from killswitch.net.bounded_http import BoundedSession, Credentials, refusal
from killswitch.net.credentials import TLS
from killswitch.sources.counter_resets import created_metric
from killswitch.sources.gauge_histograms import gauge_count
from killswitch.sources.samples import SampleReader
from killswitch.sources.scrape.exposition import samples_of, series_of
from killswitch.sources.scrape.sample_history import KEEP, SampleHistory

_log = logging.getLogger(__name__)

_MOST_BYTES: Final = 4 * 1024 * 1024  # of one target's answer
_SECRET: Final = re.compile(r"(?i)(?:^|[&;])[^=&;]*(?:token|key|secret|passw|pwd|auth|sig)[^=&;]*=")
_MOST_SERIES: Final = 20_000  # kept of one target
_PARALLEL: Final = 8
_TIDY_EVERY: Final = 600.0  # seconds


class AgedClock:
    """The wall clock as it was at the start, aged by the monotonic one: setting the clock later changes nothing.

    Never before ``not_before``: a restart must not write samples among those it finds.
    """

    def __init__(
        self,
        not_before: float = 0.0,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._offset = max(wall(), not_before) - monotonic()

    def now(self) -> float:
        """Unix seconds."""
        return self._offset + self._monotonic()


class Scrape:
    """A `Source`. ``targets`` are URLs of metrics pages; ``scrape_interval`` in seconds.

    ``samples`` is the sqlite file that outlives a restart; None keeps samples in memory.
    Raises BadSettings for a target that is no URL or holds a password.
    """

    def __init__(
        self,
        targets: Sequence[str],
        *,
        scrape_interval: float = 15.0,
        samples: Path | None = None,
        credentials: Credentials | None = None,
        tls: TLS | None = None,
        proxy: str | None = None,
        timeout: float = 10.0,
    ) -> None:
        self._targets = {url: _instance(url) for url in targets}
        self._interval = scrape_interval
        self._session = BoundedSession(
            timeout=min(timeout, scrape_interval * 0.9),
            max_body=_MOST_BYTES,
            credentials=credentials,
            tls=tls,
            proxy=proxy,
        )
        self._history = SampleHistory(samples)
        self._clock = _clock_after(self._history)
        self._reader = SampleReader(self._history.load, scrape_interval)
        self._down: dict[str, str] = {}
        self._tidy_at = 0.0
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(min(_PARALLEL, max(1, len(targets))), thread_name_prefix="scrape-target")
        self._thread = threading.Thread(target=self._run, name="scrape", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(self._interval + 1.0)
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._session.close()
        self._history.close()

    # --- Source ---

    def now(self, deadline: Deadline) -> float:  # noqa: ARG002  nothing to wait for
        return self._clock.now()

    def read(self, wants: Sequence[Want], tick: float, deadline: Deadline) -> Readings:
        return self.read_back(wants, [tick], deadline)[tick]

    def read_back(
        self,
        wants: Sequence[Want],
        ticks: Sequence[float],
        deadline: Deadline,  # noqa: ARG002  a local file
    ) -> Mapping[float, Readings]:
        try:
            self._history.need({metric for want in wants for metric in _metrics(want)})
            return self._reader.read_back(wants, ticks)
        except sqlite3.Error as error:
            problem = Unreadable(Reason.SOURCE_DOWN, f"the kept samples cannot be read: {error}")
            return {tick: {want.key: Reading(problem, problem, want.seconds) for want in wants} for tick in ticks}

    # --- scraping ---

    def _run(self) -> None:
        slot = math.floor(self._clock.now() / self._interval)
        while True:
            due = (slot + 0.5) * self._interval
            if self._stop.wait(max(0.0, due - self._clock.now())):
                return
            # later, the sample would belong to the next slot: leave a gap
            if self._clock.now() < due + self._interval / 2:
                self._scrape_all()
            slot = max(slot + 1, math.floor(self._clock.now() / self._interval))

    def _scrape_all(self) -> None:
        try:
            list(self._pool.map(self._scrape, self._targets))
            if self._clock.now() >= self._tidy_at:
                self._tidy_at = self._clock.now() + _TIDY_EVERY
                self._history.forget_before(round((self._clock.now() - KEEP) * 1000))
        except sqlite3.Error as error:
            _log.warning("scraped samples cannot be kept: %s", error)
        except Exception:  # noqa: BLE001  the thread outlives whatever a target shows it
            if not self._stop.is_set():  # else the pool has just been shut down
                _log.exception("a scrape failed in a way it should not; the next is due in its turn")

    def _scrape(self, url: str) -> None:
        instance = self._targets[url]
        stamp = round(self._clock.now() * 1000)
        problem = ""
        try:
            response = self._session.get(url, headers={"Accept": "text/plain;version=0.0.4"})
            failure = refusal(response)
            if failure is not None:
                problem = str(failure)
            else:
                self._history.add(stamp, self._samples(response.content, instance))
        except (requests.RequestException, ValueError) as error:
            problem = str(error)
        if problem != self._down.get(url, ""):
            # said once when it begins, changes and ends, not every interval
            _log.warning("cannot scrape %s: %s", instance, problem) if problem else _log.info("%s is back", instance)
            self._down[url] = problem

    def _samples(self, page: bytes, instance: str) -> Sequence[tuple[str, Mapping[str, str], float]]:
        """Raises ValueError for a page that is none; it repeats the page, but no credential."""
        try:
            return list(self._wanted(page.decode(), instance))
        except ValueError:
            list(self._wanted(self._session.showable(page).decode(), instance))
            raise ValueError("the page is none, and repeats a credential") from None

    def _wanted(self, text: str, instance: str) -> Iterator[tuple[str, Mapping[str, str], float]]:
        """The samples to keep: of metrics that rules need, or all while no rule has asked yet."""
        needed, kept = self._history.needed, 0
        for series, value in samples_of(text):
            metric = series.partition("{")[0].rstrip()
            if needed and metric not in needed:
                continue
            kept += 1
            if kept > _MOST_SERIES:
                raise ValueError(f"more than {_MOST_SERIES} series; let the service show fewer")
            _, labels = series_of(series)
            if "instance" in labels:  # as Prometheus does
                labels["exported_instance"] = labels["instance"]
            yield metric, {**labels, "instance": instance}, value


def _metrics(want: Want) -> Iterator[str]:
    for metric in _counters(want):
        yield metric
        created = created_metric(metric)
        if created is not None:
            yield created
    gauge = gauge_count(want)
    if gauge is not None:
        yield gauge


def _counters(want: Want) -> Iterator[str]:
    match want.signal:
        case RatioSignal(events, trials):
            yield from (selector.metric for selector in (*events, *trials))
        case QuantileSignal(buckets):
            yield buckets.metric


def _clock_after(history: SampleHistory) -> AgedClock:
    """A clock that continues after the newest sample; samples from days ahead are a wrong clock's, and go."""
    wall = time.time()
    if history.last() > wall + KEEP:
        _log.warning("the kept samples lie in the future: the clock was wrong then, or is now; they are dropped")
        history.forget_after(round(wall * 1000))
    return AgedClock(history.last() + 0.001)


def _instance(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise BadSettings(["a target to scrape is given as http(s)://host:port/metrics"])
    if _SECRET.search(parts.query):
        raise BadSettings(
            [("put no token, key or password into a target's query (it is logged); give it as source_bearer_file or "
             "in source_headers_file")]
        )  # fmt: skip
    if parts.username is not None:
        raise BadSettings(["put no user or password into a target's URL; give them as files or variables"])
    return parts.netloc
