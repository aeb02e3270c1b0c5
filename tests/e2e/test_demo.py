"""``killswitch demo`` as a user runs it: it tells its story, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.servers.etcd import wait_until

# an interval is 2.5 s: reading the hour before back takes a busy machine longer than a third of a second
QUICK = ("--speed", "12", "--rate", "50", "--after", "150")
PATIENCE = 240.0  # seconds, for a machine with better things to do


class Demo:
    """A running demo, with a temporary folder of its own to leave things in."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._mark = f"KILL_SWITCH_DEMO_TEST={uuid.uuid4()}"
        self._folder = folder / "temporary"
        self._folder.mkdir()
        self._log = folder / "output"
        name, _, value = self._mark.partition("=")
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "killswitch", "demo", *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, name: value, "TMPDIR": str(self._folder)},
            )

    @property
    def output(self) -> str:
        return self._log.read_text()

    def says(self, text: str) -> None:
        wait_until(
            lambda: text in self.output or self.process.poll() is not None, f"{text!r} is said", seconds=PATIENCE
        )
        assert text in self.output

    def ends(self) -> int:
        return self.process.wait(PATIENCE)

    def left_behind(self) -> Sequence[str]:
        """Processes that bear the mark, and files."""
        found = [str(path) for path in self._folder.iterdir()]
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if self._mark.encode() in (process / "environ").read_bytes().split(b"\0"):
                    found.append((process / "cmdline").read_text().replace("\0", " "))
            except OSError:  # it has just ended, or is somebody else's
                continue
        return found


def story(output: str) -> list[str]:
    return re.findall(r"^[1-5]\. .*$", output, re.MULTILINE)


@pytest.mark.parametrize("servers", ["embedded", "real"])
def test_a_bad_canary_is_removed_and_the_story_has_five_lines(servers: str, tmp_path: Path) -> None:
    """A bad canary gets no more traffic, and the demo tells the story in five lines."""
    demo = Demo(tmp_path, *QUICK, "--regression", "errors", *(["--real"] if servers == "real" else []))
    code = demo.ends()
    lines = story(demo.output)
    assert code == 0, demo.output
    assert [line[0] for line in lines] == ["1", "2", "3", "4", "5"]
    assert "it fails 10% of its requests instead of 1%" in lines[1]
    assert re.search(r"tripped .+ later: error_rate ", lines[2])
    assert "all traffic routed to model-old" in lines[3]
    assert "The canary's share is 0" in lines[4]
    assert demo.left_behind() == []


def test_a_canary_that_stays_healthy_is_left_alone(tmp_path: Path) -> None:
    demo = Demo(tmp_path, *QUICK, "--regression", "none")
    assert demo.ends() == 0, demo.output
    lines = story(demo.output)
    assert lines[2] == "3. The kill switch looked every 30 s and held."
    assert lines[3] == "4. No one was paged."
    assert "TRIPPED" not in demo.output
    assert demo.left_behind() == []


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("Ctrl-C ends both", signal.SIGINT),  # nothing, or half a service, has been started
        ("counts at", signal.SIGINT),
        ("past: 90 minutes", signal.SIGTERM),  # the daemon is starting
        ("gets 5% of the users", signal.SIGINT),
    ],
)
def test_ctrl_c_at_any_moment_leaves_no_process_and_no_file(
    moment: str, number: signal.Signals, tmp_path: Path
) -> None:
    demo = Demo(tmp_path, *QUICK)
    demo.says(moment)
    demo.process.send_signal(number)
    assert demo.ends() == 130, demo.output
    assert "ended early; everything that was started is removed" in demo.output
    assert "Traceback" not in demo.output
    assert demo.left_behind() == []


def test_an_impatient_second_ctrl_c_changes_nothing(tmp_path: Path) -> None:
    demo = Demo(tmp_path, *QUICK, "--real")
    demo.says("gets 5% of the users")
    while demo.process.poll() is None:
        demo.process.send_signal(signal.SIGINT)
        try:
            demo.process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
    assert demo.process.returncode in (130, -signal.SIGINT), demo.output
    assert demo.left_behind() == []
