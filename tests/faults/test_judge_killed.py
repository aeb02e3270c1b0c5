"""A judge killed with -9 while calls are paid for: no verdict is bought twice, but the one in flight at each kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from killswitch.errors import BadDocument
from killswitch.shadow.judge.opening import waiting_pairs
from killswitch.shadow.judge.texts import PairTexts
from killswitch.shadow.judge.verdict_file import read_entries, verdict_path
from killswitch.shadow.judge.verdicts import read_findings
from tests.doubles.judge_server import JudgeServer

ROOT = Path(__file__).parents[2]
PAIRS = 8


def start(server: JudgeServer, records: Path) -> subprocess.Popen[str]:
    settings = records / "judge.yaml"
    settings.write_text(f"judge: {{model: claude-judge, url: '{server.url}', share: 1, repeat_share: 0}}\n")
    command = ["shadow", "judge", "support", "--records", ".", "--judge", "judge.yaml"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KILLSWITCH_")}
    return subprocess.Popen(
        [sys.executable, "-m", "killswitch", *command],
        env={**environment, "PYTHONPATH": str(ROOT)},
        cwd=records,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def put_pairs(records: Path) -> None:
    waiting = waiting_pairs(records, "support", share=1.0)
    for number in range(PAIRS):
        answers = ("plain", "GOOD") if number % 2 else ("GOOD", "plain")
        waiting.put(PairTexts(f"r{number}", time.time(), 1, "gpt-new", f"question {number}", *answers))


def test_a_killed_judge_buys_no_verdict_twice(tmp_path: Path) -> None:
    """Killed in its first call, between the orders of a pair, and later: each kill costs one call at most."""
    put_pairs(tmp_path)
    kills = (1, 2, 6)
    with JudgeServer() as server:
        for place in kills:
            before = len(server.asked)
            process = start(server, tmp_path)

            def kill(number: int, process: subprocess.Popen[str] = process, at: int = before + place) -> None:
                if number == at:
                    process.send_signal(signal.SIGKILL)
                    process.wait(30)

            server.tell = kill
            assert process.wait(60) == -signal.SIGKILL
            process.communicate()
        server.tell = lambda _: None
        process = start(server, tmp_path)
        said, problems = process.communicate(timeout=60)
        assert process.returncode == 0, problems
        bought = Counter((request, first) for request, first, _ in server.asked)
    again = sum(bought.values()) - len(bought)
    assert again <= len(kills)
    entries = list(read_entries(verdict_path(tmp_path, "support")))
    assert not [entry for entry in entries if isinstance(entry, BadDocument)]
    found = read_findings(tmp_path, "support")
    assert found is not None
    assert found.scores == {f"r{number}": float(number % 2) for number in range(PAIRS)}
    assert f"judged {PAIRS} pairs" in said
    assert list(waiting_pairs(tmp_path, "support", share=1.0).take()) == []


def test_sigterm_stores_the_call_under_way(tmp_path: Path) -> None:
    """It is paid for, so it is waited for: the next run asks the other calls alone."""
    put_pairs(tmp_path)
    with JudgeServer() as server:
        process = start(server, tmp_path)
        server.tell = lambda number: process.send_signal(signal.SIGTERM) if number == 3 else None
        _, problems = process.communicate(timeout=60)
        assert process.returncode == 0, problems
        assert len(server.asked) == 3
    found = read_findings(tmp_path, "support")
    assert found is not None
    assert found.counts.judged == 1
    assert found.counts.skipped == {"stopping": PAIRS - 1}
