"""The picture of a back-test is drawn whatever happened, and says nothing but what it was given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.histories import History, openmetrics
from killswitch.backtest import Terms, backtest
from killswitch.errors import BadSettings
from killswitch.model import Decide
from killswitch.plot import draw
from killswitch.rules.loading import load_text
from killswitch.sources.recording import Recording
from tests.unit.test_backtest import REFUSING, RULES


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
