"""The answers that were paid for, kept on disk, so that a run that was stopped goes on and pays nothing twice.

One SQLite file a role. An answer is on the disk before it counts, so a process that is killed loses only the calls that
were under way. The file holds what models have said to users' texts: only its owner may read it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from killswitch.documents import Fields, parse_object
from killswitch.errors import BadDocument, BadSettings, Refused
from killswitch.gate.answers import Answer
from killswitch.gate.call_failures import CallFailure
from killswitch.gate.row_order import RowCall
from killswitch.private_files import make_private_file
from killswitch.roles.absence import Absence
from killswitch.token_usage import KINDS, Usage

MAX_AGE: Final = 86_400.0  # seconds: last week's latency is no evidence of today's
_MAX_BYTES: Final = 16 * 1024 * 1024  # of one answer
_APPLICATION_ID: Final = 0x6B696C67  # "kilg": tells our file from another program's database
_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
_SCHEMA: Final = f"""
PRAGMA journal_mode = wal;
PRAGMA synchronous = full;
PRAGMA secure_delete = on;
PRAGMA application_id = {_APPLICATION_ID};
CREATE TABLE IF NOT EXISTS answers (
    setup TEXT NOT NULL, model TEXT NOT NULL, row TEXT NOT NULL, call TEXT NOT NULL, at REAL NOT NULL,
    answer TEXT NOT NULL, PRIMARY KEY (setup, model, row, call)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class AnswerKey:
    """``setup``: the hash of how the pair of models is asked. ``row``: the row's hash. ``call``: which of its calls."""

    setup: str
    model: str
    row: str
    call: RowCall


@dataclass(frozen=True, slots=True)
class _Done:
    """What a statement came to: its first row, and how many rows it has changed."""

    first: Any
    changed: int


def default_cache_folder() -> Path:
    """``killswitch/gate`` in the user's folder for caches."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(given) if given and Path(given).is_absolute() else Path.home() / ".cache"
    return root / "killswitch" / "gate"


@contextmanager
def open_answer_cache(
    folder: Path, role: str, *, wall: Callable[[], float], max_age: float = MAX_AGE
) -> Iterator[GateAnswers]:
    """The role's kept answers, for this process alone. Those older than ``max_age`` seconds are deleted.

    Raises Refused while another run uses them, and BadSettings for a folder or file that cannot be used.
    """
    path = _path(folder, role)
    with _in_words(folder):
        _make_folder(folder)
    with _locked(folder, role):
        with _in_words(path):
            make_private_file(path)
            _check_owner(path)
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            with _in_words(path):
                _recognise(connection, path)
                connection.executescript(_SCHEMA)
            cache = GateAnswers(connection, path, wall=wall, max_age=max_age)
            cache.forget_old()
            yield cache
        finally:
            connection.close()


def forget_answers(folder: Path, role: str) -> bool:
    """Delete what is kept of the role. Whether there was any. Raises Refused while a run uses it, BadSettings."""
    path = _path(folder, role)
    if not path.exists():
        return False
    with _locked(folder, role), _in_words(path):
        for name in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
            name.unlink(missing_ok=True)
    return True


class GateAnswers:
    """Kept answers by key. Safe from any thread. ``unreadable`` counts those that were damaged, and are asked again."""

    def __init__(
        self, connection: sqlite3.Connection, path: Path, *, wall: Callable[[], float], max_age: float
    ) -> None:
        self.path = path
        self.unreadable = 0
        self._connection = connection
        self._wall = wall
        self._max_age = max_age
        self._guard = threading.Lock()

    def kept(self, key: AnswerKey) -> Answer | None:
        """The answer, None where there is none that is young enough."""
        found = self._execute(
            "SELECT at, answer FROM answers WHERE setup = ? AND model = ? AND row = ? AND call = ?", _row(key)
        ).first
        if found is None or not self._is_young(found[0]):
            return None
        try:
            return _answer(str(found[1]), key.model)
        except (BadDocument, ValueError):
            self.unreadable += 1
            return None

    def keep(self, key: AnswerKey, answer: Answer) -> None:
        """Write the answer; it is on the disk when this returns."""
        values = (*_row(key), self._wall(), _document(answer))
        self._execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?)", values)

    def forget_row(self, setup: str, row: str) -> None:
        """Delete all answers to one row, so that all its calls are made again."""
        self._execute("DELETE FROM answers WHERE setup = ? AND row = ?", (setup, row))

    def forget_setup(self, setup: str) -> int:
        """Delete all answers of one pair of models. How many."""
        return self._execute("DELETE FROM answers WHERE setup = ?", (setup,)).changed

    def forget_old(self) -> None:
        """Delete what is too old, and what is dated in the future: it cannot be known how old that is."""
        now = self._wall()
        self._execute("DELETE FROM answers WHERE NOT at BETWEEN ? AND ?", (now - self._max_age, now))

    def _execute(self, statement: str, values: tuple[object, ...]) -> _Done:
        with self._guard, _in_words(self.path):
            cursor = self._connection.execute(statement, values)
            return _Done(cursor.fetchone(), cursor.rowcount)

    def _is_young(self, at: object) -> bool:
        return isinstance(at, float) and 0.0 <= self._wall() - at <= self._max_age


def _path(folder: Path, role: str) -> Path:
    return folder / f"{role}.answers"


def _row(key: AnswerKey) -> tuple[str, str, str, str]:
    return key.setup, key.model, key.row, key.call.value


def _make_folder(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if not folder.is_dir():
        raise BadSettings([f"cache {folder}: it is no folder; name one with --cache"])
    found = folder.stat()
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & _OTHERS:
        # who may write to it may put a log of SQLite's there, which is read into the file
        fix = "name another folder with --cache, or take the right away with `chmod go-w`"
        raise BadSettings([f"cache {folder}: others may write to it, and so to the answers; {fix}"])


def _check_owner(path: Path) -> None:
    """Answers that another user has written could make any candidate pass."""
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & _OTHERS:
        problem = "it is not your own file, or others may write to it; delete it, or name another folder with --cache"
        raise BadSettings([f"cache {path}: {problem}"])


def _recognise(connection: sqlite3.Connection, path: Path) -> None:
    found = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and found != _APPLICATION_ID:
        raise BadSettings([f"cache {path}: it is another program's database; name another folder with --cache"])


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    """Raises BadSettings for what is wrong with the file or the folder."""
    try:
        yield
    except sqlite3.Error as error:
        raise BadSettings([f"cache {path}: {error}; free its disk, or delete the file with --forget"]) from error
    except OSError as error:
        raise BadSettings([f"cache {path}: {error.strerror}; name another folder with --cache"]) from error


@contextmanager
def _locked(folder: Path, role: str) -> Iterator[None]:
    """The kernel gives the lock up with its process, whatever ended that. The file stays, and names the holder."""
    path = folder / f"{role}.lock"
    with _in_words(path):
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
            process = f"process {holder}" if holder.isdigit() else "another process"
            said = f"a gate run of {role} is under way ({process}) with the answers in {folder}"
            raise Refused(f"{said}; wait for its end, or name another folder with --cache") from error
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(lock)


def _document(answer: Answer) -> str:
    usage = answer.usage
    document = {
        "answered_by": answer.answered_by,
        "text": answer.text,
        "failure": answer.failure,
        "seconds": answer.seconds,
        "usage": None if usage is None else {kind: getattr(usage, kind) for kind in KINDS},
        "cost": answer.cost,
        "attempts": answer.attempts,
        "left_out": list(answer.left_out),
        "absence": answer.absence,
        "kind": answer.kind,
        "guessed": answer.guessed,
    }
    return json.dumps(document)


def _answer(document: str, model: str) -> Answer:
    """Raises BadDocument or ValueError for a damaged one."""
    fields = parse_object(document.encode(), "kept answer", max_bytes=_MAX_BYTES)
    usage: Any = fields.raw.get("usage")
    return Answer(
        model=model,
        answered_by=fields.optional_text("answered_by"),
        text=fields.optional_text("text"),
        failure=fields.optional_text("failure"),
        seconds=fields.optional_number("seconds"),
        usage=None if usage is None else _usage(Fields(usage, "kept answer, usage")),
        cost=None if fields.raw.get("cost") is None else fields.integer("cost"),
        attempts=fields.integer("attempts"),
        left_out=fields.texts("left_out"),
        absence=None if fields.raw.get("absence") is None else Absence(fields.text("absence")),
        kind=None if fields.raw.get("kind") is None else CallFailure(fields.text("kind")),
        guessed=fields.integer("guessed"),
    )


def _usage(fields: Fields) -> Usage:
    return Usage(**{kind: fields.integer(kind) for kind in KINDS})
