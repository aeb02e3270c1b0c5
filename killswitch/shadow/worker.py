"""The worker: takes raw pairs from the spool, compares them, and keeps the records, until it is stopped.

It runs in a process of its own, because comparing in the service would make its users wait. While the sink or an
embedding server fails, raw files wait in the spool, which the service keeps under its limit.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from killswitch.errors import BadDocument, KillswitchError, Unavailable
from killswitch.flags.flag import check_rollout_name
from killswitch.router.shadow.complaints import where_raised
from killswitch.router.shadow.raw_pair import Dropped, RawPair, from_line
from killswitch.shadow.comparison import Comparing, compare
from killswitch.shadow.raw_files import RawBatch, RawFiles, made_at_ms
from killswitch.shadow.record import PairRecord
from killswitch.shadow.sinks import Batch, Sink
from killswitch.shadow.text_keeping import TextKeeping
from killswitch.timestamps import DAY, HOUR, to_iso

MOST_FILES: Final = 600
"""Raw files of a batch: the service writes one a second."""

MOST_BYTES: Final = 32_000_000
"""Of the raw files of a batch."""

_TOGETHER: Final = 32  # pairs compared at once: an embedding server is asked once for them
_LONGEST_WAIT: Final = 60.0  # seconds between two tries of a sink that fails
_SWEEP_EVERY: Final = HOUR

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Progress:
    """What the worker has done since it began. ``broken``: lines that could not be read or compared."""

    pairs: int = 0
    files: int = 0
    broken: int = 0
    expired: int = 0
    texts_removed: int = 0
    waiting_files: int = 0
    waiting_bytes: int = 0
    oldest_seconds: float = 0.0
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """``batch_seconds``: raw files are gathered this long, so that records are few files.

    ``raw_for``: seconds that raw files may wait; they are all texts.
    """

    spool: Path
    batch_seconds: float = 60.0
    raw_for: float = 7 * DAY


@dataclass(slots=True)
class _Gathered:
    """The records of a batch by rollout and day."""

    records: dict[tuple[str, str], list[PairRecord]] = field(default_factory=lambda: defaultdict(list))
    drops: dict[tuple[str, str], list[Dropped]] = field(default_factory=lambda: defaultdict(list))
    broken: list[bytes] = field(default_factory=list)


class Worker:
    """One worker of one spool. ``wall``: Unix seconds now. ``after_try`` is called after each batch and each try.

    ``keeping`` says how long the texts of a rollout are kept. ``offer`` gets each pair while there are texts: a judge
    may want it. It must be safe to offer a pair twice.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        sink: Sink,
        comparing: Comparing,
        *,
        wall: Callable[[], float],
        keeping: TextKeeping,
        after_try: Callable[[], None] = lambda: None,
        offer: Callable[[RawPair], object] = lambda pair: None,  # noqa: ARG005
    ) -> None:
        self._settings = settings
        self._raw = RawFiles(settings.spool)
        self._sink = sink
        self._comparing = comparing
        self._wall = wall
        self._after_try = after_try
        self._offer = offer
        self._keeping = keeping
        self._swept_at: float | None = None
        self._gathered: tuple[object, _Gathered] | None = None
        # by rollout and day, then by minute: reason to requests
        self._expired: defaultdict[tuple[str, str], dict[float, Counter[str]]] = defaultdict(dict)
        self.progress = Progress()

    def run(self, stopping: threading.Event, *, poll: float = 1.0) -> None:
        """Work until ``stopping`` is set; the batch under way is finished first."""
        wait = poll
        while not stopping.is_set():
            try:
                self.expire()
                while not stopping.is_set() and self.run_once():
                    wait = poll
                self.sweep()
                self._say("")
            except KillswitchError as error:
                asked = error.retry_after if isinstance(error, Unavailable) else _LONGEST_WAIT
                wait = min(max(2 * wait, asked or 0.0), _LONGEST_WAIT)
                self._say(str(error))
            self._after_try()
            stopping.wait(wait)

    def run_to_the_end(self) -> None:
        """Work until the spool is empty. Raises as `run_once`."""
        while self.run_once(at_once=True):
            pass
        self._swept_at = None
        self.sweep()

    def run_once(self, *, at_once: bool = False) -> bool:
        """Compare and keep one batch; whether there was one. ``at_once``: do not wait for more raw files.

        Raises Unavailable or Refused where the sink, the spool or an embedding server fails: then nothing is lost, and
        the same batch is next.
        """
        with self._raw.lock():
            waiting = self._raw.waiting()
            self._measure(waiting.files, waiting.bytes, waiting.oldest_ms)
            full = waiting.files >= MOST_FILES or waiting.bytes >= MOST_BYTES
            due = waiting.files and self.progress.oldest_seconds >= self._settings.batch_seconds
            # a clock that was set back makes the oldest file young for ever
            ahead = waiting.files and self.progress.oldest_seconds < 0.0
            if not (at_once or full or due or ahead):
                return False
            batch = self._raw.next_batch(most_files=MOST_FILES, most_bytes=MOST_BYTES)
            if batch is None:
                return False
            # while a sink fails, nothing is compared again: an embedding server is paid for each time
            key = (batch.name, self._raw.stamps(batch))
            if self._gathered is None or self._gathered[0] != key:
                self._gathered = (key, self._gather(batch))
            self._keep(batch, self._gathered[1])
            self._gathered = None
        self._after_try()
        return True

    def expire(self) -> None:
        """Remove raw files that have waited too long, also while the sink fails. Their pairs are counted."""
        with self._raw.lock():
            for name in self._raw.older_than(int((self._wall() - self._settings.raw_for) * 1000)):
                for entry, _ in self._entries(name, _Gathered()):
                    self._lose(entry)
                self._raw.remove(name)

    def _lose(self, entry: RawPair | Dropped) -> None:
        """Count it for its minute: the report counts what was dropped since a generation began."""
        reasons = {"expired": 1} if isinstance(entry, RawPair) else entry.reasons
        self.progress.expired += isinstance(entry, RawPair)
        if isinstance(entry, RawPair) and entry.kind == "noise":
            return  # its request has a canary pair
        mine = self._expired[_place(entry.rollout, entry.at)]
        mine.setdefault(entry.at - entry.at % 60.0, Counter()).update(reasons)

    def sweep(self) -> None:
        """Once an hour: remove texts of records that are older than they may be.

        The spool is held meanwhile, as `forget` holds it: else one of both could write a file back as it was read, and
        with it a user whom the other has just removed.
        """
        now = self._wall()
        if self._swept_at is not None and 0.0 <= now - self._swept_at < _SWEEP_EVERY:
            return
        self._keeping.read_again()
        with self._raw.lock():
            self.progress.texts_removed += self._sink.remove_texts(
                lambda rollout: now - self._keeping.seconds_for(rollout)
            )
        self._swept_at = now

    def _gather(self, batch: RawBatch) -> _Gathered:
        gathered = _Gathered()
        self._keeping.read_again()
        for name in batch.files:
            by = self._comparing_of(name)
            pairs: list[tuple[RawPair, bytes]] = []
            for entry, line in self._entries(name, gathered):
                if isinstance(entry, Dropped):
                    gathered.drops[_place(entry.rollout, entry.at)].append(entry)
                    continue
                pairs.append((entry, line))
                if len(pairs) >= _TOGETHER:
                    self._compare(pairs, gathered, by)
                    pairs = []
            self._compare(pairs, gathered, by)
        return gathered

    def _entries(self, name: str, gathered: _Gathered) -> Iterator[tuple[RawPair | Dropped, bytes]]:
        for line in self._raw.lines(name):
            try:
                entry = from_line(line)
                _place(entry.rollout, entry.at)
            except (BadDocument, OverflowError, ValueError, OSError):
                gathered.broken.append(line)
                continue
            yield entry, line

    def _compare(self, pairs: list[tuple[RawPair, bytes]], gathered: _Gathered, by: Comparing) -> None:
        """A pair that no comparison survives is set aside alone: it must not hold up those behind it."""
        try:
            records = compare([pair for pair, _ in pairs], by)
        except KillswitchError:
            raise
        except Exception:  # noqa: BLE001  # logged
            if len(pairs) == 1:
                log.error("shadow: a pair cannot be compared; it is set aside (%s)", where_raised())  # noqa: TRY400  # its text may hold the pair's
                ((pair, line),) = pairs
                gathered.broken.append(line)
                if pair.kind == "candidate":  # a request without a pair, which the report must know of
                    lost = Dropped(pair.rollout, pair.at, {"failed": 1})
                    gathered.drops[_place(pair.rollout, pair.at)].append(lost)
                return
            for one in pairs:
                self._compare([one], gathered, by)
            return
        for record in records:
            gathered.records[_place(record.rollout, record.at)].append(record)
        for pair, _ in pairs:
            self._offer(pair)

    def _keep(self, batch: RawBatch, gathered: _Gathered) -> None:
        for place in sorted(gathered.records.keys() | gathered.drops.keys()):
            rollout, day = place
            records, drops = gathered.records.get(place, ()), gathered.drops.get(place, ())
            self._sink.write(Batch(batch.name, rollout, day, tuple(records), tuple(drops)))
        for (rollout, day), minutes in sorted(self._expired.items()):
            lost = tuple(Dropped(rollout, at, dict(reasons)) for at, reasons in sorted(minutes.items()))
            self._sink.write(Batch(f"{batch.name}-expired", rollout, day, (), lost))
        self._expired.clear()
        if gathered.broken and not self._raw.set_aside(f"{batch.name}.lines", gathered.broken):
            log.warning("shadow: %d lines cannot be read, and there is no room to set them aside", len(gathered.broken))
        self._raw.finish(batch)
        self.progress.pairs += sum(map(len, gathered.records.values()))
        self.progress.files += len(batch.files)
        self.progress.broken += len(gathered.broken)

    def _comparing_of(self, name: str) -> Comparing:
        """Texts of a raw file that is older than they may be kept are not kept at all."""
        made = made_at_ms(name)
        age = 0.0 if made is None else self._wall() - made / 1000.0
        return replace(self._comparing, keep_texts=lambda pair: self._keeping.seconds_for(pair.rollout) > max(age, 0.0))

    def _measure(self, files: int, size: int, oldest_ms: int | None) -> None:
        self.progress.waiting_files, self.progress.waiting_bytes = files, size
        self.progress.oldest_seconds = 0.0 if oldest_ms is None else self._wall() - oldest_ms / 1000.0

    def _say(self, trouble: str) -> None:
        """Log a trouble once, and its end."""
        if trouble and trouble != self.progress.trouble:
            log.warning("shadow worker: %s; raw pairs wait in %s", trouble, self._settings.spool)
        elif self.progress.trouble and not trouble:
            log.info("shadow worker: works again")
        self.progress.trouble = trouble


def _place(rollout: str, at: float) -> tuple[str, str]:
    """Rollout and day. Raises BadDocument for no rollout's name, else what `to_iso` raises for a time of no year."""
    return check_rollout_name(rollout), to_iso(at)[:10]
