"""A counter that was infinite once is unreadable there, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from killswitch.deadline import Deadline
from killswitch.model import Cohort, Counts, Matcher, Range, RatioSignal, Reason, Selector, Unreadable, Want
from killswitch.sources.recording import Recording


@pytest.mark.parametrize("kind", list(Range))
@pytest.mark.filterwarnings("error")
def test_an_infinite_sample_spoils_its_own_ranges_and_no_later_one(tmp_path: Path, kind: Range) -> None:
    lines = []
    for cohort in Cohort:
        for at in range(0, 1200, 15):
            value = "+Inf" if (at, cohort) == (300, Cohort.CONTROL) else str(at)
            lines.append(f'n_total{{cohort="{cohort}"}} {value} {at}')
    (tmp_path / "x.om").write_text("\n".join([*lines, "# EOF", ""]))
    counter = (Selector("n_total"),)
    cohorts = {cohort: (Matcher("cohort", "=", cohort.value),) for cohort in Cohort}
    want = Want("r", "rule", "part", RatioSignal(counter, counter), cohorts, 30.0, kind)
    found = Recording(tmp_path / "x.om").read_back([want], [240.0, 300.0, 360.0, 900.0], Deadline(5))
    control = {tick: readings[want.key].control for tick, readings in found.items()}
    spoilt = control[300.0]
    assert isinstance(spoilt, Unreadable)
    assert spoilt.reason is Reason.NUMERIC
    for tick in (240.0, 360.0, 900.0):
        side = control[tick]
        assert isinstance(side, Counts), tick
        assert side.trials == pytest.approx(30.0)
