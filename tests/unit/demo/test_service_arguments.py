"""The simulated service's command line."""

from __future__ import annotations

import pytest

from killswitch.demo.service import arguments
from killswitch.demo.traffic import Regression

_GIVEN = ["--store", "sqlite:///f.db", "--rollout", "demo"]


def test_what_is_not_said_has_a_default() -> None:
    chosen = arguments(_GIVEN)
    assert (chosen.control, chosen.canary, chosen.port, chosen.pace.speed) == ("model-old", "model-new", 0, 1.0)
    assert chosen.regression is Regression.NONE


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rollout", "Not A Name"], "use 1 to 63 of a-z"),
        (["--speed", "0"], "use 1 to 60"),
        (["--speed", "many"], "could not convert"),
        (["--rate", "-5"], "must be over 0"),
        (["--rate", "nan"], "must be over 0"),
        (["--rate", "1000", "--speed", "60"], "at most 10000 requests a real second"),
        (["--users", "0"], "--users must be from 1"),
        (["--port", "70000"], "--port from 0 to 65535"),
        (["--regression", "everything"], "none, refusals, errors"),
        (["--regress-after", "inf"], "must be over 0"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_to_say_instead(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments([*_GIVEN, *words])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
