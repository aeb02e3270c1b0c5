"""An evaluation in a child process: whatever a warehouse's driver does, the daemon has an answer."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import struct
import threading
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from killswitch.controller.slow_signals import unknown_findings
from killswitch.daemon.slow_child import evaluate_in_child
from killswitch.errors import BadSettings
from killswitch.model import Reason, Unreadable, Verdict
from killswitch.slow.findings import SlowFinding
from killswitch.slow.history import ExposureHistory, Wave
from killswitch.slow_settings import SlowSettings
from tests.doubles.warehouses import signal_of
from tests.servers.etcd import wait_until

NOW = 1_776_664_860.0
SETTINGS = SlowSettings("duckdb:///does/not/exist", "select 1", "user_id", "day", (signal_of(),))
HISTORY = ExposureHistory("copilot", (Wave(NOW - 9 * 86_400.0, "", 0.0, 5.0, 1, 0.05),))


def answers(settings: SlowSettings, history: ExposureHistory, now: float) -> Sequence[SlowFinding]:
    return unknown_findings(settings, history, now, Unreadable(Reason.STALE, f"asked by {os.getpid()}"))


def hangs(settings: SlowSettings, history: ExposureHistory, now: float) -> Sequence[SlowFinding]:
    threading.Event().wait()
    return answers(settings, history, now)


def dies(settings: SlowSettings, history: ExposureHistory, now: float) -> Sequence[SlowFinding]:
    os.kill(os.getpid(), signal.SIGKILL)
    return answers(settings, history, now)


def raises(settings: SlowSettings, history: ExposureHistory, now: float) -> Sequence[SlowFinding]:
    raise RuntimeError("a bug of a driver")


def half_an_answer(settings: SlowSettings, history: ExposureHistory, now: float) -> Sequence[SlowFinding]:
    Connection._send_bytes = _send_half  # type: ignore[attr-defined]  # in the child alone
    return answers(settings, history, now)


def half_an_answer_and_hangs(settings: SlowSettings, history: ExposureHistory, now: float) -> Sequence[SlowFinding]:
    Connection._send_bytes = _send_half_and_hang  # type: ignore[attr-defined]
    return answers(settings, history, now)


def _send_half(connection: Connection, buffer: memoryview) -> None:
    os.write(connection.fileno(), struct.pack("!i", len(buffer)) + buffer[: len(buffer) // 2])
    os._exit(1)


def _send_half_and_hang(connection: Connection, buffer: memoryview) -> None:
    os.write(connection.fileno(), struct.pack("!i", len(buffer)) + buffer[: len(buffer) // 2])
    threading.Event().wait()


def stands_back(settings: SlowSettings, history: ExposureHistory, now: float) -> Sequence[SlowFinding]:
    said = f"nice {os.nice(0)}, oom {Path('/proc/self/oom_score_adj').read_text().strip()}"
    return unknown_findings(settings, history, now, Unreadable(Reason.STALE, said))


def refuses(settings: SlowSettings, history: ExposureHistory, now: float) -> Sequence[SlowFinding]:
    raise BadSettings(["install killswitch[warehouse]", "set a password"])


def test_a_child_process_asks_and_its_answer_comes_back() -> None:
    (found,) = evaluate_in_child(SETTINGS, HISTORY, NOW, work=answers)
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, Reason.STALE)
    assert f"asked by {os.getpid()}" not in found.sentence


def test_a_driver_that_hangs_is_ended() -> None:
    (found,) = evaluate_in_child(SETTINGS, HISTORY, NOW, work=hangs, ended_after=2.0)
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, Reason.SOURCE_TIMEOUT)


@pytest.mark.parametrize("work", [dies, raises])
def test_a_driver_that_ends_its_process_is_unknown(work: object) -> None:
    (found,) = evaluate_in_child(SETTINGS, HISTORY, NOW, work=work)  # type: ignore[arg-type]
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, Reason.INTERNAL_ERROR)


@pytest.mark.parametrize("work", [half_an_answer, half_an_answer_and_hangs])
def test_half_an_answer_is_unknown(work: object) -> None:
    (found,) = evaluate_in_child(SETTINGS, HISTORY, NOW, work=work, for_an_answer=2.0)  # type: ignore[arg-type]
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, Reason.INTERNAL_ERROR)


def test_refused_settings_are_refused_with_every_line() -> None:
    with pytest.raises(BadSettings) as refused:
        evaluate_in_child(SETTINGS, HISTORY, NOW, work=refuses)
    assert refused.value.problems == ("install killswitch[warehouse]", "set a password")


def test_a_warehouse_that_is_not_there_is_unknown() -> None:
    (found,) = evaluate_in_child(SETTINGS, HISTORY, NOW)
    assert found.verdict is Verdict.UNKNOWN
    assert found.evaluated_at == 1_776_664_800.0


def test_the_child_stands_back_for_the_daemon_that_judges() -> None:
    """Its priority is the lowest, and where memory is short the kernel ends it first."""
    (found,) = evaluate_in_child(SETTINGS, HISTORY, NOW, work=stands_back)
    assert "nice 19, oom 1000" in found.sentence
    assert os.nice(0) < 19


def test_a_child_that_cannot_be_started_is_unknown() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        (found,) = evaluate_in_child(SETTINGS, HISTORY, NOW, work=answers)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, Reason.INTERNAL_ERROR)
    assert "no process could be started" in found.sentence


def test_the_child_ends_with_a_daemon_that_is_killed(tmp_path: Path) -> None:
    """The daemon ends by `_exit`, so nothing tells its children."""
    told = tmp_path / "child"
    context = multiprocessing.get_context("spawn")
    daemon = context.Process(target=_daemon, args=(str(told),))
    daemon.start()
    wait_until(lambda: told.exists() and told.read_text().endswith("."), "the child asks")
    child = int(told.read_text().rstrip("."))
    assert Path(f"/proc/{child}").exists()
    daemon.kill()
    daemon.join(30.0)
    wait_until(lambda: not _runs(child), "the child has ended")


def _daemon(told: str) -> None:
    evaluate_in_child(replace(SETTINGS, source=told), HISTORY, NOW, work=tells_and_hangs)


def tells_and_hangs(settings: SlowSettings, history: ExposureHistory, now: float) -> Sequence[SlowFinding]:
    Path(settings.source).write_text(f"{os.getpid()}.")
    return hangs(settings, history, now)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
