"""The worker is killed at each file operation of a batch in turn: no pair is lost, and none is there twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from killswitch.router.shadow.raw_pair import Dropped
from killswitch.shadow.comparison import Comparing
from killswitch.shadow.similarity import CharacterGrams
from killswitch.shadow.sinks.record_files import RecordFiles
from killswitch.shadow.text_keeping import TextKeeping
from killswitch.shadow.worker import Worker, WorkerSettings
from killswitch.timestamps import DAY
from tests.doubles.two_answers import AT, DENIED, raw_pair, write_raw

PAIRS = {f"pair-{number}" for number in range(6)}
# what changes a folder, and what makes a change safe
OPERATIONS = ("rename", "unlink", "fsync")


def filled(spool: Path) -> None:
    """Three raw files of two days, with drops."""
    for number in range(3):
        entries = [raw_pair(DENIED, id=f"pair-{2 * number + k}", at=AT + k * DAY) for k in range(2)]
        write_raw(spool, *entries, Dropped("support", AT, {"disk": 1}), number=number)


def run_worker(spool: Path, records: Path) -> None:
    sink = RecordFiles(records, "jsonl")
    comparing = Comparing(CharacterGrams())
    Worker(WorkerSettings(spool), sink, comparing, wall=lambda: AT, keeping=TextKeeping()).run_to_the_end()


@contextmanager
def killed_at(operation: int) -> Iterator[None]:
    """Kill this process just before its n-th operation."""
    made = 0

    def moment() -> None:
        nonlocal made
        made += 1
        if made == operation:
            os.kill(os.getpid(), signal.SIGKILL)

    def killing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            moment()
            return real(*arguments, **options)

        return call

    def half(source: BinaryIO, target: BinaryIO, _size: int = 0) -> None:
        """In the middle of writing is a moment, too."""
        content = source.read()
        target.write(content[: len(content) // 2])
        target.flush()
        moment()
        target.write(content[len(content) // 2 :])

    for name in OPERATIONS:
        setattr(os, name, killing(getattr(os, name)))
    shutil.copyfileobj = half  # type: ignore[assignment]  # of bytes alone
    yield


def killed(spool: Path, records: Path, operation: int) -> bool:
    """Whether the worker was killed before its end."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with killed_at(operation):
                run_worker(spool, records)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def recorded(records: Path) -> list[str]:
    """The ids of all records; every file that has a record's name is whole."""
    lines = [line for path in sorted(records.glob("*/*/[!.d]*.jsonl")) for line in path.read_text().splitlines()]
    return [json.loads(line)["pair"] for line in lines]


def test_killed_anywhere_no_pair_is_lost_and_none_is_there_twice(tmp_path: Path) -> None:
    operation = 0
    while True:
        operation += 1
        spool, records = tmp_path / f"spool-{operation}", tmp_path / f"records-{operation}"
        filled(spool)
        if not killed(spool, records, operation):
            break
        early = recorded(records)
        assert len(early) % 3 == 0, "a file has the three records of its day, or is not there"
        assert len(early) == len(set(early))
        waiting = {path.name for path in spool.glob("*.raw")}
        assert set(early) == PAIRS or len(waiting) == 3, "a raw file goes only when all records are safe"
        run_worker(spool, records)
        assert sorted(recorded(records)) == sorted(PAIRS)
        drops = [path.read_text().count("disk") for path in records.glob("*/*/dropped-*.jsonl")]
        assert sum(drops) == 3
        assert [path.name for path in spool.iterdir()] == [".worker.lock"]
    assert operation > 15


def test_killed_twice_in_a_row_at_any_two_operations(tmp_path: Path) -> None:
    """The successor dies, too, where the first one died and a step later."""
    for operation in (4, 8, 13):
        for again in (1, operation):
            spool, records = tmp_path / f"spool-{operation}-{again}", tmp_path / f"records-{operation}-{again}"
            filled(spool)
            assert killed(spool, records, operation)
            killed(spool, records, again)
            run_worker(spool, records)
            assert sorted(recorded(records)) == sorted(PAIRS)


def test_what_a_killed_worker_left_is_removed_or_used(tmp_path: Path) -> None:
    """Temporary files have hidden names, and no one reads them as records."""
    records = tmp_path / "records"
    filled(tmp_path / "spool")
    for operation in range(1, 12):
        killed(tmp_path / "spool", records, operation)
    run_worker(tmp_path / "spool", records)
    assert sorted(recorded(records)) == sorted(PAIRS)
    assert not list(records.rglob(".*"))
