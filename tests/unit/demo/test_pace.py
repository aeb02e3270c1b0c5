"""Simulated seconds are the clock of the demo; real durations are theirs divided by the speed."""

from __future__ import annotations

import pytest

from killswitch.daemon.settings import load_settings
from killswitch.demo.pace import FASTEST, Pace


@pytest.mark.parametrize("speed", [1.0, 2.0, 10.0, 30.0, FASTEST])
def test_the_daemon_accepts_the_settings_of_every_pace(speed: float, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in Pace(speed).settings().items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.interval == pytest.approx(30.0 / speed, abs=1e-3)
    assert settings.lag == pytest.approx(5.0 / speed, abs=1e-3)
    assert settings.scrape_interval == pytest.approx(30.0 / speed, abs=1e-3)


@pytest.mark.parametrize(("speed", "text"), [(1.0, "300s"), (10.0, "30s"), (7.0, "42857ms"), (60.0, "5s")])
def test_durations_are_written_with_their_unit(speed: float, text: str) -> None:
    assert Pace(speed).duration(300.0) == text


@pytest.mark.parametrize("speed", [0.0, 0.5, -1.0, 61.0, float("nan"), float("inf")])
def test_a_speed_that_cannot_be_kept_is_refused(speed: float) -> None:
    with pytest.raises(ValueError, match="use 1 to 60"):
        Pace(speed)


def test_there_and_back_again_is_the_same_time() -> None:
    assert Pace(10.0).simulated(Pace(10.0).real(123.0)) == pytest.approx(123.0)
