"""A recording of metrics as a source: OpenMetrics text with times, as ``promtool tsdb create-blocks-from`` reads it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from killswitch.deadline import Deadline
from killswitch.errors import BadDocument
from killswitch.model import Readings, Reason, Selector, Unreadable, Want
from killswitch.sources.counter_health import CounterHealth, of_samples
from killswitch.sources.counter_resets import Counter
from killswitch.sources.sample_listing import SampleListing
from killswitch.sources.samples import SampleReader, SampleSeries, selected
from killswitch.sources.scrape.exposition import is_number, sample_of, series_of

_TURN_INTO_NUMBERS: Final = 500_000  # samples; text takes ten times the memory of numbers
_MEASURED: Final = 3_600_000  # milliseconds in which the scrape interval is measured


class SampledHistory:
    """A `Source` over series in memory, by metric. ``scrape_interval`` in seconds is theirs."""

    def __init__(self, by_metric: Mapping[str, Sequence[SampleSeries]], *, scrape_interval: float = 15.0) -> None:
        self._by_metric = by_metric
        self._reader = SampleReader(lambda metric, _from, _to: by_metric.get(metric, ()), scrape_interval)
        listing = SampleListing(by_metric)  # as `ListsMetrics`
        self.metric_names, self.label_names = listing.metric_names, listing.label_names
        self.series_count, self.growth = listing.series_count, listing.growth
        self.label_values, self.typical_interval = listing.label_values, listing.typical_interval

    def at_interval(self, scrape_interval: float) -> SampledHistory:
        """The same samples, read as scraped every ``scrape_interval`` seconds."""
        return SampledHistory(self._by_metric, scrape_interval=scrape_interval)

    @property
    def span(self) -> tuple[float, float]:
        """The times of the first and the last sample, Unix seconds."""
        ends = [series.stamps[[0, -1]] for of_metric in self._by_metric.values() for series in of_metric]
        if not ends:
            return (0.0, 0.0)
        return (float(min(first for first, _ in ends)) / 1000, float(max(last for _, last in ends)) / 1000)

    @property
    def metrics(self) -> frozenset[str]:
        return frozenset(self._by_metric)

    def now(self, deadline: Deadline) -> float:  # noqa: ARG002  nothing to wait for
        """The time of the last sample."""
        return self.span[1]

    def read(self, wants: Sequence[Want], tick: float, deadline: Deadline) -> Readings:
        return self.read_back(wants, [tick], deadline)[tick]

    def read_back(
        self,
        wants: Sequence[Want],
        ticks: Sequence[float],
        deadline: Deadline,  # noqa: ARG002  nothing to wait for
    ) -> Mapping[float, Readings]:
        return self._reader.read_back(wants, ticks)

    def counter_health(
        self,
        events: Selector,
        trials: Selector,
        tick: float,
        deadline: Deadline,  # noqa: ARG002  nothing to wait for
    ) -> CounterHealth | Unreadable:
        """Which counters fall without a restart, and how much is in series that are born late."""
        some, every = (
            [
                Counter(each.labels, each.stamps, each.values)
                for each in selected(self._by_metric.get(of.metric, ()), of)
            ]
            for of in (events, trials)
        )
        return of_samples(some, every, tick)

    def measure_scrape_interval(
        self,
        selector: Selector,
        tick: float,
        deadline: Deadline,  # noqa: ARG002  nothing to wait for
    ) -> float | Unreadable:
        """The median distance, in seconds, between samples of the selected series in the hour before ``tick``."""
        last = round(tick * 1000)
        found = [
            np.diff(series.stamps[(series.stamps > last - _MEASURED) & (series.stamps <= last)])
            for series in selected(self._by_metric.get(selector.metric, ()), selector)
        ]
        gaps = np.concatenate([*found, np.empty(0)])
        if not gaps.size:
            return Unreadable(Reason.NO_DATA, f"fewer than two samples of {selector.metric}")
        return float(np.median(gaps)) / 1000

    def close(self) -> None:
        """Nothing is held open."""


class Recording(SampledHistory):
    """One file as a `Source`, read once. ``scrape_interval`` in seconds is that of the recording.

    Raises BadDocument, with the line, for a file that is missing, truncated or no recording.
    """

    def __init__(self, path: Path, *, scrape_interval: float = 15.0) -> None:
        try:
            with path.open(encoding="utf-8", newline="\n") as lines:
                tables = _tables(lines)
        except (OSError, UnicodeDecodeError) as error:
            raise BadDocument(f"cannot read the recording {path}: {error}") from error
        except ValueError as error:
            raise BadDocument(f"{path}, {error}") from error
        merged: dict[tuple[str, frozenset[tuple[str, str]]], _Table] = {}
        for text, table in tables.items():
            try:
                metric, labels = series_of(text)
                table.into_numbers()
            except ValueError as error:
                raise BadDocument(f"{path}: {error} in the samples of {text[:200]}") from error
            merged.setdefault((metric, frozenset(labels.items())), _Table()).extend(table)
        by_metric: dict[str, list[SampleSeries]] = {}
        for (metric, of), table in merged.items():
            by_metric.setdefault(metric, []).append(table.series(dict(of)))
        super().__init__(by_metric, scrape_interval=scrape_interval)


class _Table:
    """The samples of one series during reading. Lines may spell its labels in different orders, or with empty ones."""

    __slots__ = ("_parts", "times", "values")

    def __init__(self) -> None:
        self.values: list[str] = []
        self.times: list[str] = []
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []

    def into_numbers(self) -> None:
        if self.values:
            times = np.array(self.times).astype(np.float64) * 1000
            if not np.isfinite(times).all():
                raise ValueError("a time that is not finite")
            self._parts.append((np.rint(times).astype(np.int64), np.array(self.values).astype(np.float64)))
            self.values.clear()
            self.times.clear()

    def extend(self, other: _Table) -> None:
        self._parts += other._parts

    def series(self, labels: Mapping[str, str]) -> SampleSeries:
        stamps = np.concatenate([stamps for stamps, _ in self._parts])
        values = np.concatenate([values for _, values in self._parts])
        # of samples at one time the first is kept, as a scrape does
        unique, first = np.unique(stamps, return_index=True)
        return SampleSeries(labels, unique, values[first])


def _tables(lines: Iterable[str]) -> dict[str, _Table]:
    """Samples by series, spelt as in the file. Raises ValueError with the line's number."""
    tables: dict[str, _Table] = {}
    ended = False
    for number, (series, value, time) in _samples(lines):
        if time is None:
            ended = value == "EOF"
            if ended:
                break
            raise ValueError(f"line {number}: a sample without a time; `name{{labels}} value seconds` is needed")
        table = tables.get(series)
        if table is None:
            table = tables[series] = _Table()
        table.values.append(value)
        table.times.append(time)
        if number % _TURN_INTO_NUMBERS == 0:
            for each in tables.values():
                each.into_numbers()
    if not ended:
        raise ValueError("the end: no `# EOF`; was the recording cut off?")
    return tables


def _samples(lines: Iterable[str]) -> Iterator[tuple[int, tuple[str, str, str | None]]]:
    for number, line in enumerate(lines, 1):
        if line[0] == "#":
            if line.rstrip(" \t\r\n") == "# EOF":
                yield number, ("", "EOF", None)
            continue
        # Most lines are labels, one blank, a value, one blank, a time. Cutting there takes a third of the time.
        # If neither number holds a quote, no label's value reaches beyond the brace.
        parts = line.removesuffix("\n").removesuffix("\r").rsplit(" ", 2)
        if len(parts) == 3 and parts[0].endswith('"}') and "#" not in line:
            found: tuple[str, str, str | None] = (parts[0], parts[1], parts[2])
        elif line.strip(" \t\r\n"):
            try:
                found = sample_of(line)
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
        else:
            continue
        if not (is_number(found[1]) and (found[2] is None or is_number(found[2]))):
            raise ValueError(f"line {number}: not a number: {' '.join(filter(None, found[1:]))[:40]!r}")
        yield number, found
