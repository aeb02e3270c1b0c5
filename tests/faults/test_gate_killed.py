"""A gate run killed with -9, stopped, frozen or run twice at once: no answer is paid for twice."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections import Counter
from pathlib import Path

import pytest

from killswitch.registry import gate_runs
from killswitch.stores.opening import open_store
from tests.doubles.gate_desks import CANDIDATE, PROD, ROLE, GateDesk, says
from tests.doubles.model_providers import OpenAIProvider
from tests.doubles.provider_faults import hang
from tests.servers.etcd import wait_until

WORKERS = 4
KILLS = (1, 2, 30, 51, 100)  # after this many calls of the process


class Bills:
    """Counts what is billed, and does something at the n-th call from now on."""

    def __init__(self) -> None:
        self.billed: Counter[tuple[str, str]] = Counter()
        self._guard = threading.Lock()
        self._at: tuple[int, signal.Signals, subprocess.Popen[str]] | None = None

    def strike(self, process: subprocess.Popen[str], after: int, how: signal.Signals) -> None:
        with self._guard:
            self._at = (sum(self.billed.values()) + after, how, process)

    def __call__(self, model: str, prompt: str) -> str:
        with self._guard:
            self.billed[model, prompt] += 1
            if self._at is not None and sum(self.billed.values()) >= self._at[0]:
                _, how, process = self._at
                self._at = None
                process.send_signal(how)
        return says(model, prompt)

    def twice_too_often(self) -> int:
        """How many calls were paid for beyond one of the candidate and two of prod a row."""
        return sum(max(0, count - (1 if model == CANDIDATE else 2)) for (model, _), count in self.billed.items())


@pytest.mark.timeout(600)
def test_kill_9_at_many_moments_pays_nothing_twice(tmp_path: Path) -> None:
    """Five kills: what is paid for again is at most what was under way at each of them, one call a worker."""
    bills = Bills()
    with OpenAIProvider(answer=bills) as provider:
        desk = GateDesk(tmp_path, provider.url, rows=400)
        for after in KILLS:
            process = desk.start("--concurrency", str(WORKERS))
            bills.strike(process, after, signal.SIGKILL)
            assert process.wait(120) == -signal.SIGKILL
            process.communicate()
        process = desk.start("--concurrency", str(WORKERS), "--json")
        said, problems = process.communicate(timeout=120)
        assert process.returncode == 0, problems
        total = sum(bills.billed.values())
        document = json.loads(said)
        asked = document["run"]["golden"]["asked"]
        again = desk.json("--concurrency", str(WORKERS))
        assert sum(bills.billed.values()) == total
    assert again["run"]["numbers"] == document["run"]["numbers"]
    assert bills.twice_too_often() <= WORKERS * len(KILLS)
    assert sum(count for (model, _), count in bills.billed.items() if model == CANDIDATE) <= (
        asked + WORKERS * (len(KILLS) + 1)
    )
    assert gate_runs.newest(open_store(desk.store), ROLE) is not None


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_finishes_what_is_under_way(tmp_path: Path, how: signal.Signals) -> None:
    """The calls under way are kept, the command says how to go on, and the next run pays for no call again."""
    bills = Bills()
    with OpenAIProvider(answer=bills) as provider:
        provider.seconds = {PROD: 0.1, CANDIDATE: 0.1}
        desk = GateDesk(tmp_path, provider.url, rows=400)
        process = desk.start("--concurrency", str(WORKERS))
        bills.strike(process, 30, how)
        said, problems = process.communicate(timeout=60)
        assert process.returncode == 2, problems
        assert "it was stopped" in said
        assert "the same command goes on" in problems
        assert gate_runs.newest(open_store(desk.store), ROLE) is None
        provider.seconds = {}
        assert desk.run("--concurrency", str(WORKERS)).exit_code == 0
    assert bills.twice_too_often() == 0


def test_a_frozen_provider_ends_by_its_patience(tmp_path: Path) -> None:
    """It takes connections and never answers. Ctrl-C ends the run at once, too, calls under way or not."""
    with OpenAIProvider(answer=says) as provider:
        provider.always("", hang())
        desk = GateDesk(tmp_path, provider.url, rows=400)
        done = desk.run("--patience", "2s", "--json")
        assert done.exit_code == 2, done.output
        document = json.loads(done.stdout)
        assert document["run"]["verdict"] == "UNKNOWN"
        assert "has given no answer for" in document["run"]["why"]
        before = len(provider.asked)
        process = desk.start()
        wait_until(lambda: len(provider.asked) >= before + 4, "calls are under way")
        process.send_signal(signal.SIGINT)
        _, problems = process.communicate(timeout=60)
        assert process.returncode == 2, problems


def test_two_runs_at_once_pay_nothing_twice(tmp_path: Path) -> None:
    """The second is refused in words while the first holds the answers."""
    bills = Bills()
    with OpenAIProvider(answer=bills) as provider:
        provider.seconds = {PROD: 5.0, CANDIDATE: 5.0}  # so that the first is surely under way
        desk = GateDesk(tmp_path, provider.url, rows=60)
        first = desk.start()
        wait_until(lambda: bills.billed, "the first run asks")
        second = desk.run()
        provider.seconds = {}
        assert second.exit_code == 2
        assert f"a gate run of {ROLE} is under way (process {first.pid})" in second.output
        first.communicate(timeout=60)
    assert bills.twice_too_often() == 0


def test_what_was_under_way_at_a_kill_counts_as_spent(tmp_path: Path) -> None:
    """The ledger does not know whether those calls were billed, so they count once its lease has ended."""
    bills = Bills()
    with OpenAIProvider(answer=bills) as provider:
        desk = GateDesk(tmp_path, provider.url, rows=400, more="max_per_day: $0.50\n")
        desk.price(PROD, CANDIDATE, dollars="200")
        for after in (30,):
            process = desk.start("--concurrency", str(WORKERS))
            bills.strike(process, after, signal.SIGKILL)
            assert process.wait(120) == -signal.SIGKILL
            process.communicate()
        done = desk.run("--json")
        assert done.exit_code == 2
        billed = sum(200 * tokens for tokens in provider.billed.values())
    assert billed <= 500_000
