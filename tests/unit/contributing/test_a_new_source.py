"""A worked example: a metric store from outside, by the protocol `Source`. It reads lines of JSON, a sample each.

A store that can hand out raw samples needs only to load them: `SampleReader` does the counting, in the same way as for
every other source. The contract's tests that need no second source run against it. (tests/integration/sources/
test_sources_contract.py also compares each source with a real Prometheus: add yours to its ``opened``.)
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from killswitch.deadline import Deadline
from killswitch.errors import Unavailable
from killswitch.model import Cohort, Matcher, Range, RatioSignal, Reading, Readings, Reason, Selector, Unreadable, Want
from killswitch.sources import Source
from killswitch.sources.samples import SampleReader, SampleSeries
from killswitch.sources.scrape.exposition import series_of
from tests.integration.sources import test_sources_contract as contract
from tests.integration.sources.contract_series import Points, cases


class JsonLines:
    """A file with one sample a line: ``{"metric": …, "labels": {…}, "at": milliseconds, "value": …}``."""

    def __init__(self, path: Path, *, scrape_interval: float) -> None:
        self._path = path
        self._reader = SampleReader(self._load, scrape_interval)

    def now(self, deadline: Deadline) -> float:
        """The store's own clock, never ours. Raises Unavailable."""
        try:
            return self._path.stat().st_mtime
        except OSError as error:
            raise Unavailable(f"{self._path}: {error.strerror}") from error

    def read(self, wants: Sequence[Want], tick: float, deadline: Deadline) -> Readings:
        return self.read_back(wants, [tick], deadline)[tick]

    def read_back(
        self, wants: Sequence[Want], ticks: Sequence[float], deadline: Deadline
    ) -> Mapping[float, Readings]:  # fmt: skip
        """Never raises for what the store does: an error is a reason, and moves no evidence."""
        try:
            return self._reader.read_back(wants, ticks)
        except OSError as error:
            down = Unreadable(Reason.SOURCE_DOWN, f"{self._path}: {error.strerror}")
            return {tick: {want.key: Reading(down, down, want.seconds) for want in wants} for tick in ticks}

    def close(self) -> None:
        """Nothing is held open."""

    @cached_property
    def _samples(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._path.read_text(encoding="utf-8").splitlines()]

    def _load(self, metric: str, since: int, until: int) -> Iterator[SampleSeries]:
        """The series of a metric between two times in milliseconds, both included."""
        found: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for sample in self._samples:
            if sample["metric"] == metric and since <= sample["at"] <= until:
                found[json.dumps(sample["labels"], sort_keys=True)].append((sample["at"], sample["value"]))
        for labels, samples in found.items():
            stamps, values = zip(*sorted(samples), strict=True)
            yield SampleSeries(json.loads(labels), np.array(stamps, dtype=np.int64), np.array(values, dtype=float))


def lines(series: Mapping[str, Points]) -> str:
    """The contract's series as this store keeps them."""
    samples: list[dict[str, Any]] = []
    for name, points in series.items():
        metric, labels = series_of(name)
        samples += [{"metric": metric, "labels": labels, "at": round(at * 1000), "value": one} for at, one in points]
    return "".join(f"{json.dumps(sample)}\n" for sample in samples)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of one scrape interval alone, which is enough for an example."""
    series = {}
    for case, points in cases(15).items():
        labels = f'case="{case}",cohort="canary",instance="a"'
        series[f"alone_15_total{{{labels}}}"] = points
        series[f'requests_15_total{{case="{case}",cohort="control",instance="a"}}'] = points
        series[f"requests_15_total{{{labels}}}"] = points
        series[f"errors_15_total{{{labels}}}"] = [(at, value // 10) for at, value in points]
    folder = tmp_path_factory.mktemp("lines")
    (folder / "samples.jsonl").write_text(lines(series))
    return folder


@pytest.fixture(autouse=True)
def opened_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    """The contract opens its sources by name; here each name is the new one."""
    monkeypatch.setattr(contract, "opened", lambda _name, interval, folder, _server: opened(interval, folder))


def opened(interval: int, folder: Path) -> Source:
    return JsonLines(folder / "samples.jsonl", scrape_interval=interval)


SERVER: Any = None  # no test below asks the real Prometheus


@pytest.mark.parametrize("case", ["aligned", "just-after", "half-way", "burst", "late", "missing", "jitter"])
def test_every_count_falls_into_exactly_one_step(case: str, folder: Path) -> None:
    contract.test_each_count_is_in_one_step_whatever_scrapes_are_missed(case, "lines", 15, folder, SERVER)


def test_a_counter_that_begins_again_counts_from_zero(folder: Path) -> None:
    contract.test_a_counter_that_begins_again_counts_from_zero("lines", 15, folder, SERVER)


def test_a_cohort_that_ends_is_stale_and_then_gone(folder: Path) -> None:
    contract.test_a_cohort_that_ends_is_stale_and_then_gone("lines", folder, SERVER)


def test_one_read_and_the_same_read_back_agree(folder: Path) -> None:
    contract.test_one_read_and_the_same_read_back_agree("lines", folder, SERVER)


def test_a_store_that_is_down_is_a_reason_and_no_error(tmp_path: Path) -> None:
    source = JsonLines(tmp_path / "missing.jsonl", scrape_interval=15.0)
    requests = (Selector("requests_total"),)
    cohorts = {cohort: (Matcher("cohort", "=", cohort.value),) for cohort in Cohort}
    want = Want("r", "error_rate", "step", RatioSignal(requests, requests), cohorts, 30.0, Range.STEP)
    reading = source.read([want], 1_800_000_000.0, Deadline(1))[want.key]
    assert isinstance(reading.canary, Unreadable)
    assert reading.canary.reason is Reason.SOURCE_DOWN
    with pytest.raises(Unavailable):
        source.now(Deadline(1))
