"""The command that turns the shadow down, over a real store and real files of records."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from killswitch.cli.app import app
from killswitch.flags.flag import SHADOW
from killswitch.flags.shadow_share import ShadowShare
from killswitch.stores.opening import open_store
from killswitch.trips.switch import Switch
from tests.doubles.pair_records import BEGAN, ROLLOUT, pair, write_lines
from tests.servers.etcd import EtcdCluster, wait_until

RULES = "rollout: support\ncontrol: sol-4\ncanary: sol-5\nmetrics: cohort-labels\n"
HAPPY = "I'd be happy to help you with that"


class Desk:
    """A rollout in stage shadow at 50 %, armed just before its first pair."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.switch = Switch(open_store(url), wall=lambda: BEGAN - 60.0, by="ann", origin="test")
        self.arm()

    def arm(self) -> None:
        self.switch.arm(
            ROLLOUT, control="sol-4", canary="sol-5", percent=0.0, stage=SHADOW, salt="", shadow=ShadowShare(50.0)
        )

    def arguments(self, *more: str) -> list[str]:
        return ["shadow", "decide", ROLLOUT, "--records", str(self.folder), "--store", self.url, *more]

    def decide(self, *more: str) -> None:
        done = CliRunner().invoke(app, self.arguments("--once", *more))
        assert done.exit_code == 0, done.output

    @property
    def flag(self) -> Any:
        return self.switch.stored(ROLLOUT).flag


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(f"sqlite://{tmp_path}/flags.db", tmp_path / "pairs")


def bad(desk: Desk, **changes: Any) -> None:
    """Each answer of the canary opens otherwise than control's."""
    write_lines(desk.folder, (pair(number, other_opening=HAPPY, **changes) for number in range(600)))


def test_no_go_turns_it_to_nothing(desk: Desk) -> None:
    bad(desk)
    desk.decide()
    assert desk.flag.shadow_share.nothing
    assert desk.flag.updated_by.startswith("shadow-decide: NO_GO: openings:")
    assert (desk.flag.armed, desk.flag.stage) == (True, SHADOW)


def test_go_by_the_rule_files_criteria_keeps_a_tenth(desk: Desk, tmp_path: Path) -> None:
    off = ("similarity", "equivalent", "facts", "tool_calls", "language", "errors", "openings", "latency_p95")
    criteria = {"refusals": "20pp", "format": "20pp", **dict.fromkeys(off, False)}
    (tmp_path / "rules.yaml").write_text(RULES + f"shadow: {{criteria: {str(criteria).replace('False', 'false')}}}\n")
    noise = (pair(1_000 + number, kind="noise") for number in range(60))
    write_lines(desk.folder, [*(pair(number) for number in range(600)), *noise])
    desk.decide("--rules", str(tmp_path / "rules.yaml"))
    assert desk.flag.shadow_percent == 5.0
    assert desk.flag.updated_by.startswith("shadow-decide: GO: 2 criteria proven")


def test_pairs_of_an_earlier_generation_decide_nothing(desk: Desk) -> None:
    bad(desk)
    desk.switch.end(ROLLOUT)
    desk.arm()
    desk.decide()
    assert (desk.flag.generation, desk.flag.shadow_percent) == (2, 50.0)


@pytest.mark.parametrize("trouble", ["no store", "no records", "broken records"])
def test_trouble_changes_nothing_and_is_no_failure(desk: Desk, trouble: str) -> None:
    if trouble == "broken records":
        write_lines(desk.folder, [pair(1)]).write_text("{broken")
    elif trouble == "no store":
        bad(desk)
    more = ["--store", "etcd://127.0.0.1:9"] if trouble == "no store" else []
    desk.decide(*more)
    assert desk.flag.shadow_percent == 50.0


def test_wrong_options_are_refused(desk: Desk, tmp_path: Path) -> None:
    for more, said in ((["--every", "0s"], "--every"), (["--rules", str(tmp_path / "none")], "none")):
        done = CliRunner().invoke(app, desk.arguments(*more))
        assert done.exit_code == 2
        assert said in done.output


def test_a_process_next_to_real_etcd_looks_and_ends_at_sigterm(tmp_path: Path) -> None:
    """The first look is at once; a person who raises the shadow again is not overruled by later ones."""
    with EtcdCluster(tmp_path / "etcd") as etcd:
        desk = Desk(etcd.url, tmp_path / "pairs")
        bad(desk)
        command = [sys.executable, "-m", "killswitch", *desk.arguments("--every", "100ms")]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            wait_until(lambda: desk.flag.shadow_share.nothing, "it is turned down")
            raised = desk.switch.set_stage(ROLLOUT, percent=0.0, stage=SHADOW, shadow=ShadowShare(100.0))
            said: Callable[[str], bool] = lambda line: "turned down for it once already" in line  # noqa: E731
            assert process.stderr is not None
            assert any(said(line) for line in process.stderr)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        assert desk.flag.shadow_percent == raised.shadow_percent == 100.0
