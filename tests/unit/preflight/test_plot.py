"""The picture of a back-test is drawn whatever happened, and says nothing but what it was given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.histories import History, openmetrics
from killswitch.errors import BadSettings
from killswitch.model import Decide
from killswitch.preflight.backtest.backtest import backtest
from killswitch.preflight.backtest.results import ReplayedTrip, RolloutHistory, RuleHistory, Terms
from killswitch.preflight.plot import Rates, draw, judged_spans, suspect_at
from killswitch.rules.loading import load_text
from killswitch.sources.recording import Recording
from tests.unit.preflight.backtest.test_backtest import REFUSING, RULES

pytestmark = pytest.mark.simulation


def _drawn(folder: Path, history: History, name: str, decide: Decide = Decide.EVIDENCE) -> Path:
    (folder / "x.om").write_text(openmetrics(history))
    source = Recording(folder / "x.om", scrape_interval=history.scrape_interval)
    rollouts = [replace(rollout, decide=decide) for rollout in load_text(RULES).rollouts]
    terms = Terms(*source.span, tracks=True)
    draw(source, backtest(source, rollouts, terms), terms, folder / name)
    return folder / name


def test_the_picture_names_the_trip_and_every_rule(tmp_path: Path) -> None:
    text = _drawn(tmp_path, replace(REFUSING, seconds=7200, onset=5400), "x.svg").read_text()
    for words in (
        "copilot: tripped by refusal_rate",
        "error_rate",
        "latency_p95",
        "thumbs_down_rate",
        "breach: 1 in 400",
    ):
        assert f"<!-- {words}" in text


@pytest.mark.parametrize("decide", list(Decide))
def test_a_history_without_a_trip_is_drawn_in_either_mode(tmp_path: Path, decide: Decide) -> None:
    file = _drawn(tmp_path, History(seconds=3600, rate=200, gaps=((600, 1200),), scrape_interval=30), "x.png", decide)
    assert file.read_bytes().startswith(b"\x89PNG")


def test_a_picture_of_nothing_or_of_no_known_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match=r"\.png"):
        _drawn(tmp_path, History(seconds=600), "x.gif")
    with pytest.raises(BadSettings, match="nothing to draw"):
        _drawn(tmp_path, History(seconds=600, arrival=1e9), "x.png")


def test_a_window_over_its_limit_is_suspect_until_proven() -> None:
    """Amber: armed, over the limit, evidence below what is needed. Not before the arming, nor once it is a breach."""
    times = np.arange(0.0, 300.0, 30.0)
    rates = Rates(times, np.full(10, 0.05), np.full(10, 0.01), np.full(10, 0.02))
    rates.canary[[4, 5]] = 0.01, np.nan
    kept = RuleHistory(
        "error_rate", needed=400.0, track=[(times[:7], np.array([1.0] * 7)), (times[7:], np.full(3, 1e3))]
    )
    assert times[suspect_at(rates, kept, [(45.0, 300.0)])].tolist() == [60.0, 90.0, 180.0]
    bare = RuleHistory("error_rate")
    assert times[suspect_at(rates, bare, [(45.0, 200.0)])].tolist() == [60.0, 90.0, 180.0]


def test_nothing_is_suspect_between_a_trip_and_the_next_arming() -> None:
    rollout = load_text(RULES).rollouts[0]
    trips = tuple(ReplayedTrip("copilot", "error_rate", ("error_rate",), at, "", 1) for at in (100.0, 500.0))
    history = RolloutHistory(rollout, 10.0, 5.0, 30, trips, ())
    assert judged_spans(history, Terms(0.0, 900.0, rearm_after=60.0)) == [(10.0, 100.0), (160.0, 500.0), (560.0, 900.0)]
    assert judged_spans(replace(history, trips=trips[:1]), Terms(0.0, 900.0)) == [(10.0, 100.0)]


def test_the_picture_names_what_amber_is(tmp_path: Path) -> None:
    text = _drawn(tmp_path, replace(REFUSING, seconds=7200, onset=5400), "x.svg").read_text()
    assert "<!-- SUSPECT: over, not proven" in text
    assert "f1b82d" in text
