"""`killswitch init` as a process on a terminal of its own, with the answers typed by a person."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

from bench.histories import History, openmetrics
from killswitch.rules.loading import load_folder

QUESTIONS = ("Model of control", "Model of canary", "Name of the rollout", "Slack channel", "Who is mentioned")
ANSWERS = ("", "model-next", "support-copilot", "#llm-oncall", "<!here>")
SECONDS = 120.0


def test_five_answers_make_a_first_rule_file(tmp_path: Path) -> None:
    """Each question has its default; the file is what was answered, and the daemon's reader accepts it."""
    (tmp_path / "x.om").write_text(openmetrics(History(seconds=7200.0, judged=True, labels={"job": "copilot"})))
    leader, follower = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KILLSWITCH_")}
    command = [sys.executable, "-m", "killswitch", "init", "--data", "x.om"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env={**environment, "COLUMNS": "80"}, stdin=follower, stdout=follower, stderr=follower
    )
    os.close(follower)
    shown = ""
    for question, answer in zip(QUESTIONS, ANSWERS, strict=True):
        shown += _until(leader, question, shown)
        os.write(leader, f"{answer}\n".encode())
    shown += _until(leader, "next:", shown)
    assert process.wait(SECONDS) == 0, shown
    os.close(leader)
    (rollout,) = load_folder(tmp_path / "rules").rollouts
    assert (rollout.name, rollout.control, rollout.canary) == ("support-copilot", "model-old", "model-next")
    assert (rollout.page.slack, rollout.page.mention) == ("#llm-oncall", "<!here>")


def _until(terminal: int, words: str, before: str) -> str:
    """What the terminal shows until ``words`` are there; fails with all of it if they do not come."""
    shown, ends = "", time.monotonic() + SECONDS
    while words not in before + shown:
        assert time.monotonic() < ends, before + shown
        shown += os.read(terminal, 4096).decode(errors="replace")
    return shown
