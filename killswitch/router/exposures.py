"""The log of exposures: which user was in which cohort from when on. For services that pin users by a cookie.

::

    log = ExposureLog("/var/lib/copilot/exposures", key_file="/run/secrets/user-key")
    router = Router("support-copilot", store="etcd://etcd:2379", control="model-old", exposures=log)

One row a user and change: the user's first assignment in a generation, and each change of cohort. The request path
hashes a new user and appends one row to a bounded queue; a user who was seen costs one look into a dictionary. A thread
writes the rows in batches. It never raises, and it never waits for a disk or a warehouse.

The key of the hash is of a file, as in the shadow's records (`killswitch.flags.keyed_hash`). Nothing else of a user is
kept: neither in memory, nor in the queue, nor in a row.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from killswitch.errors import BadSettings
from killswitch.flags.bucketing import routing_bytes
from killswitch.flags.keyed_hash import hash_bytes
from killswitch.model import Cohort
from killswitch.router import counting_forks
from killswitch.router.batch_files import BatchFiles
from killswitch.router.key_file import KEY_FILE_VARIABLE, KeyFile
from killswitch.router.lock_free_count import LockFreeCount
from killswitch.router.route_types import Route, RouteReason, Split
from killswitch.timestamps import to_iso
from killswitch.wording import plain

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

SUFFIX = ".jsonl"
MOST_USERS = 200_000  # remembered for each rollout
MOST_WAITING = 20_000  # rows in memory while nothing takes them
MOST_CHANGES = 8  # rows for one user's changes in a generation: a cookie that flips with every request writes no more
_BATCH = 5_000  # rows that are written before `every` is over
_CANARY = Cohort.CANARY  # looked up once: the request path compares it
_AT_EXIT = 2.0  # seconds
_FLUSH_LOOK = 0.05  # seconds between two looks whether the thread is alive

log = logging.getLogger(__name__)


class Exposure(NamedTuple):
    """A row: the user's hash (32 hexadecimal digits), and Unix seconds."""

    user: str
    rollout: str
    generation: int
    cohort: str
    at: float

    def as_line(self) -> bytes:
        """One line of JSON, its time in ISO 8601."""
        return (json.dumps({**self._asdict(), "at": to_iso(self.at)}) + "\n").encode()


Write = Callable[[Sequence[Exposure]], None]


class ExposureLog:
    """Give it to ``Router(…, exposures=)``; one a process, for any number of rollouts.

    ``folder``: where JSON-lines files are written, at most ``most_bytes`` of them; or ``write``: a callable of the
    service, such as an insert into its warehouse. It is called with a batch of rows on the log's own thread. If it
    raises, the batch is given to it again. ``key_file``: the file of the key that users are hashed with, default that
    of the variable ``KILLSWITCH_SHADOW_KEY_FILE``. ``every``: seconds between two batches. ``most_users``: users of a
    rollout that are remembered; one who is forgotten gets another row with the next request.

    ``registry``: where ``killswitch_router_exposures_total`` is exported, None for nowhere. Raises BadSettings.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        write: Write | None = None,
        key_file: str | Path | None = None,
        every: float = 5.0,
        most_users: int = MOST_USERS,
        most_bytes: int = 1_000_000_000,
        registry: CollectorRegistry | Literal["default"] | None = "default",
        calendar: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if (folder is None) == (write is None):
            raise BadSettings(["an exposure log needs either a folder, or `write`, a callable that takes its rows"])
        named = key_file if key_file is not None else os.environ.get(KEY_FILE_VARIABLE)
        if not named:
            raise BadSettings([f"an exposure log hashes users: give `key_file`, or set {KEY_FILE_VARIABLE}"])
        self.key_file = KeyFile(Path(named), clock=clock)
        self.calendar = calendar
        self._write = write if write is not None else _Folder(Path(folder or ""), most_bytes, calendar)
        self._every = every
        self._most_users = most_users
        self._counter = _counter(registry)
        self._notes: dict[str, ExposureNotes] = {}
        self._trouble = ""
        self._closed = False
        self.begin_in_child()
        counting_forks.started.add(self)

    def notes_of(self, rollout: str) -> ExposureNotes:
        """The memory of one rollout's users; its drops and rows are exported from now on, at 0."""
        known = self._notes.get(rollout)
        if known is None:
            known = self._notes[rollout] = ExposureNotes(self, rollout, self._most_users)
            self._count(Counter(), rollout)
        return known

    def begin_in_child(self, *, counts: bool = True) -> None:
        """Forget what waits and start the thread: in a forked child the rows are the parent's to write."""
        self._waiting: deque[Exposure] = deque()
        self._flushes: deque[threading.Event] = deque()
        self._writing = threading.Lock()
        self.counting = threading.Lock()  # held during a fork: the counter's own lock must be free in the child
        self._wanted = threading.Event()
        for notes in self._notes.values():
            notes.dropped.take()  # the parent counts them
        if not counts:
            self._counter = None
        self._start()

    def _start(self) -> bool:
        self._thread = threading.Thread(target=self._run, name="killswitch-exposures", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no more threads: rows wait for `flush`, and what finds no room is counted
            self._say("no thread could be started")
            return False
        return True

    def put(self, row: Exposure) -> bool:
        """Whether there was room. Called for each new user; never waits."""
        waiting = len(self._waiting)
        if waiting >= MOST_WAITING or self._closed:
            return False
        self._waiting.append(row)
        if waiting == _BATCH:
            self._wanted.set()
        return True

    def flush(self, timeout: float = _AT_EXIT) -> bool:
        """Write what waits, within ``timeout`` seconds; whether all is written. For the end of a process, and tests."""
        if self._thread.is_alive() or (not self._closed and self._start()):
            # the log's own thread writes: what hangs in the service's callable must not hang here as well
            written = threading.Event()
            self._flushes.append(written)
            self._wanted.set()
            until = time.monotonic() + timeout
            while not written.wait(max(0.0, min(_FLUSH_LOOK, until - time.monotonic()))):
                if time.monotonic() >= until:
                    return False
                if not self._thread.is_alive():  # `close` has ended it, after its last batch
                    break
            return not self._waiting
        if not self._writing.acquire(timeout=timeout):
            return False
        try:
            self._write_all()
        finally:
            self._writing.release()
        return not self._waiting

    def close(self, timeout: float = _AT_EXIT) -> None:
        """Write what waits and end the thread. Rows that are left are counted as dropped."""
        counting_forks.started.discard(self)
        self._closed = True
        self.flush(timeout)
        self._wanted.set()
        self._thread.join(timeout)
        left = Counter(row.rollout for row in self._waiting)
        self._waiting.clear()
        for rollout, number in left.items():
            self._count(Counter(dropped=number), rollout)

    # --- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        ending = False
        while not ending:
            self._wanted.wait(self._every)
            self._wanted.clear()
            ending = self._closed and not self._flushes  # after it one turn more: what came meanwhile is written
            asked = [self._flushes.popleft() for _ in range(len(self._flushes))]
            try:
                self._look_at_the_key()
                with self._writing:
                    self._write_all()
            except Exception:
                log.exception("exposures: unexpected error; the log goes on")
            for written in asked:
                written.set()

    def _look_at_the_key(self) -> None:
        key = self.key_file.key
        try:
            self.key_file.look_again()
        except BadSettings as error:
            log.warning("exposures: %s; the last key is kept", error)
        if self.key_file.key != key:  # no user has a row under the new one
            for notes in tuple(self._notes.values()):
                notes.forget()

    def _write_all(self) -> None:
        """Called by the one who holds `_writing`."""
        for rollout, notes in tuple(self._notes.items()):
            self._count(Counter(dropped=notes.dropped.take()), rollout)
        while batch := self._take():
            try:
                self._write(batch)
            except BaseException as error:  # noqa: BLE001  # the service's own callable; a SystemExit would end the thread
                self._waiting.extendleft(reversed(batch))
                self._say(f"rows cannot be written ({_what(error)})")
                return
            self._say("")
            self._tell(batch, "written")

    def _take(self) -> list[Exposure]:
        return [self._waiting.popleft() for _ in range(min(len(self._waiting), _BATCH))]

    def _tell(self, batch: Sequence[Exposure], outcome: str) -> None:
        for rollout, number in Counter(row.rollout for row in batch).items():
            self._count(Counter({outcome: number}), rollout)

    def _count(self, numbers: Counter[str], rollout: str) -> None:
        if self._counter is None:
            return
        with self.counting:
            for outcome in ("written", "dropped"):
                self._counter.labels(rollout, outcome).inc(numbers[outcome])

    def _say(self, trouble: str) -> None:
        """Log a trouble once, and its end."""
        if trouble and not self._trouble:
            log.warning("exposures: %s; rows wait in memory, and what finds no room is counted", trouble)
        elif self._trouble and not trouble:
            log.info("exposures: rows are written again")
        self._trouble = trouble


class ExposureNotes:
    """Which users of one rollout have a row already, in bounded memory: hashes of this process only, no user data.

    Two halves of at most ``most_users`` / 2: when the younger is full it becomes the elder, and the elder is forgotten.
    A user who comes again moves to the younger, so those who are forgotten are those who came longest ago. Their next
    request writes another row with the same cohort, and a reader takes the first.
    """

    __slots__ = ("_elder", "_generation", "_half", "_log", "_rollout", "_seen", "_younger", "dropped")

    def __init__(self, owner: ExposureLog, rollout: str, most_users: int) -> None:
        self._log = owner
        self._rollout = rollout
        self._half = max(1, most_users // 2)
        self._seen: tuple[Split | None, bool] = (None, False)  # the newest split, and whether it exposes
        self._generation = -1
        self._younger: dict[int, int] = {}  # hash of the user -> twice the changes, and 1 for the canary
        self._elder: dict[int, int] = {}
        self.dropped = LockFreeCount()

    def __len__(self) -> int:
        return len(self._younger) + len(self._elder)

    def note(self, split: Split, route: Route, key: object) -> None:
        """Called with each route that is given. Never raises, never waits."""
        try:
            seen, exposes = self._seen
            if split is not seen:
                exposes = self._begin(split, route.generation)
            if not exposes:
                return
            place = hash(key) if key.__class__ is str else hash(routing_bytes(key))
            known = self._younger.get(place)
            if known is None or known & 1 != (route[0] is _CANARY):
                self._note_change(route, key, place)
        except Exception:  # noqa: BLE001  # the request must be served, whatever the key is
            self.dropped.add()

    def forget(self) -> None:
        """Everyone gets a row again."""
        self._younger, self._elder = {}, {}

    def _begin(self, split: Split, generation: int) -> bool:
        exposes = split.exposes
        # in one assignment: another thread may begin with another split at the same time
        self._seen = (split, exposes)
        if exposes and generation != self._generation:
            self._generation = generation
            self.forget()
        return exposes

    def _note_change(self, route: Route, key: object, place: int) -> None:
        """A user who was not seen in this cohort just before."""
        canary = route.cohort is _CANARY
        known = self._younger.get(place, self._elder.get(place))
        changes = 0 if known is None else (known >> 1) + (known & 1 != canary)
        if (known is None or known & 1 != canary) and changes <= MOST_CHANGES and not self._put(route, key):
            return  # not remembered: the user's next request tries again
        if len(self._younger) >= self._half:
            self._younger, self._elder = {}, self._younger
        self._younger[place] = 2 * min(changes, MOST_CHANGES + 1) + canary

    def _put(self, route: Route, key: object) -> bool:
        data = routing_bytes(key)
        if data is None or route.reason is RouteReason.ERROR:
            return True  # no user: nothing is to be written
        user = hash_bytes(self._log.key_file.key, data)
        row = Exposure(user, self._rollout, route.generation, route.cohort.value, self._log.calendar())
        if self._log.put(row):
            return True
        self.dropped.add()
        return False


class _Folder:
    def __init__(self, folder: Path, most_bytes: int, calendar: Callable[[], float]) -> None:
        self._files = BatchFiles(folder, SUFFIX, calendar=calendar)
        self._most_bytes = most_bytes

    def __call__(self, rows: Sequence[Exposure]) -> None:
        """Raises OSError, also if the folder is at its limit."""
        lines = [row.as_line() for row in rows]
        if self._files.used() + sum(map(len, lines)) > self._most_bytes:
            raise OSError(f"{self._files.folder} is at its limit of {self._most_bytes} bytes: move its files away")
        self._files.write(lines)


def _what(error: BaseException) -> str:
    """A failure to write, without the text of a foreign exception: it may hold rows, or a password."""
    if isinstance(error, OSError) and type(error).__module__ == "builtins":
        return f"{type(error).__name__}: {plain(str(error), 300)}"
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"


def _counter(registry: CollectorRegistry | Literal["default"] | None) -> Any:
    if registry is None:
        return None
    from prometheus_client import REGISTRY  # noqa: PLC0415  # only if metrics are made

    from killswitch.router.standing_metrics import exposure_counter  # noqa: PLC0415

    return exposure_counter(REGISTRY if registry == "default" else registry)


def _flush_all() -> None:
    for one in tuple(counting_forks.started):
        if isinstance(one, ExposureLog):
            one.flush(_AT_EXIT)


atexit.register(_flush_all)
