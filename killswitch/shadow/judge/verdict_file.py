"""The file of a rollout's verdicts: JSON lines, appended one at a time, each whole or absent, readable by its owner."""

from __future__ import annotations

import fcntl
import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from killswitch.errors import BadDocument, BadSettings, Unavailable
from killswitch.flags.flag import check_rollout_name
from killswitch.shadow.judge.opinions import MOST_FAILURES, Entry, JudgedBy, Opinion, from_line, to_line

NAME = "judge.jsonl"


def verdict_path(records: Path, rollout: str) -> Path:
    """``<records>/<rollout>/judge.jsonl``. Raises BadSettings for a name that is no folder's."""
    try:
        check_rollout_name(rollout)
    except BadDocument as error:
        raise BadSettings([str(error)]) from error
    return records / rollout / NAME


def read_entries(path: Path) -> Iterator[Entry | BadDocument]:
    """Each line in order; a line that cannot be read as the error that says why. No file: nothing.

    A last line without its end is being written, or was when its writer was killed: it is left out. Raises Unavailable.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    except OSError as error:
        raise Unavailable(f"{path} cannot be read ({error.strerror}); check its owner and mode") from error
    with file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                yield from_line(line)
            except BadDocument as error:
                yield error


class VerdictFile:
    """The verdicts under one judge, open for one writing process. Safe from any thread.

    Raises Unavailable where another process writes it, or the folder cannot be written.
    """

    def __init__(self, path: Path, by: JudgedBy) -> None:
        self.path = path
        self.by = by
        self._lock = threading.Lock()
        self._answered: set[tuple[str, int, int]] = set()
        self._failures: Counter[tuple[str, int, int]] = Counter()
        self._begun: set[str] = set()
        self._begun_by_day: Counter[int] = Counter()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Unavailable(f"{path} cannot be written ({error.strerror}); check the folder's owner") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise Unavailable(f"another judge writes {path}; wait for it, or stop it") from error
        self._drop_torn_line()
        for entry in read_entries(path):
            if isinstance(entry, Opinion) and entry.by == by:
                self._note(entry)

    def _drop_torn_line(self) -> None:
        """Cut off what a killed writer left of a line: the next one would be glued to it."""
        size = end = os.fstat(self._file).st_size
        while end > 0:
            begin = max(0, end - 64 * 1024)
            newline = os.pread(self._file, end - begin, begin).rfind(b"\n")
            if newline >= 0:
                end = begin + newline + 1
                break
            end = begin
        if end < size:
            os.ftruncate(self._file, end)

    def _note(self, opinion: Opinion) -> None:
        key = (opinion.pair, opinion.order, opinion.round)
        if opinion.outcome == "failed":
            self._failures[key] += 1
        else:
            self._answered.add(key)
        if opinion.pair not in self._begun and not opinion.labelled:
            self._begun.add(opinion.pair)
            self._begun_by_day[_day(opinion.at)] += 1

    def needs(self, pair: str, order: int, asked: int = 0) -> bool:
        """This question has no answer yet, and did not fail `MOST_FAILURES` times."""
        key = (pair, order, asked)
        with self._lock:
            return key not in self._answered and self._failures[key] < MOST_FAILURES

    def begun(self, pair: str) -> bool:
        """The pair has an opinion, or a failed call."""
        with self._lock:
            return pair in self._begun

    def begun_on(self, at: float) -> int:
        """How many pairs of traffic had their first opinion on the day (UTC) of ``at``, Unix seconds."""
        with self._lock:
            return self._begun_by_day[_day(at)]

    def append(self, entry: Entry) -> None:
        """Write one line, on disk when this returns. Raises Unavailable: nothing of it was kept."""
        line = to_line(entry)
        with self._lock:
            size = os.fstat(self._file).st_size
            try:
                whole = os.write(self._file, line) == len(line)
                os.fsync(self._file)
            except OSError as error:
                os.ftruncate(self._file, size)
                raise Unavailable(f"{self.path} cannot be written ({error.strerror}); free space there") from error
            if not whole:
                os.ftruncate(self._file, size)
                raise Unavailable(f"{self.path} cannot be written (the disk is full); free space there")
            if isinstance(entry, Opinion):
                self._note(entry)

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _day(at: float) -> int:
    return int(at // 86_400)
