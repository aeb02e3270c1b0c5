"""Records in a folder: ``<rollout>/<day>/<batch>.parquet`` or ``.jsonl``, and drops as ``dropped-<batch>.jsonl``."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from killswitch.errors import BadDocument
from killswitch.shadow.flat_record import dropped_row, row_of
from killswitch.shadow.private_folders import private_folder, remove_left_folders
from killswitch.shadow.sinks import Batch
from killswitch.shadow.sinks.folders import Folder, open_folder
from killswitch.shadow.sinks.jsonl import JsonLines
from killswitch.shadow.sinks.parquet import Parquet

DROPPED: Final = "dropped-"
_IN_A_DAY: Final = re.compile(r"[^/]+/\d{4}-\d\d-\d\d/[^/]+")
_MADE_AT: Final = re.compile(r"(\d{13})-")  # a batch's name begins with milliseconds


class RecordFormat(Protocol):
    """How rows become a file."""

    suffix: str

    def write(self, rows: Iterable[dict[str, Any]], path: Path) -> None: ...

    def without_user(self, source: Path, target: Path, user: str) -> tuple[int, int]: ...

    def without_texts(self, source: Path, target: Path, before: float) -> int: ...


class RecordFiles:
    """A `Sink` that keeps each batch as one whole file. ``place``: a path, or an fsspec URL.

    Files of both formats may be in the folder, and both are rewritten when a user is forgotten.
    """

    def __init__(self, place: str | Path, kind: Literal["parquet", "jsonl"] = "parquet") -> None:
        remove_left_folders()
        self.folder: Folder = open_folder(place)
        self._formats: dict[str, RecordFormat] = {"jsonl": JsonLines()}
        if kind == "parquet":
            self._formats["parquet"] = Parquet()
        self._kind = kind
        self._first: str | None = None  # the first batch: only that one may be a killed worker's
        self._texts_removed: dict[str, float] = {}  # by rollout: files made before this have none

    def write(self, batch: Batch) -> None:
        where = f"{batch.rollout}/{batch.day}"
        self._first = self._first or batch.name
        if batch.records:
            made = self._formats[self._kind]
            if batch.name == self._first:
                # a worker that was killed may have written this batch in the other format
                other = f"{where}/{batch.name}.{'jsonl' if self._kind == 'parquet' else 'parquet'}"
                if self.folder.has(other):
                    self.folder.remove(other)
            self._put(f"{where}/{batch.name}.{made.suffix}", made, map(row_of, batch.records))
        if batch.drops:
            self._put(f"{where}/{DROPPED}{batch.name}.jsonl", self._formats["jsonl"], map(dropped_row, batch.drops))

    def forget(self, user: str) -> int:
        """Raises BadDocument, after all other files are done, for a file that cannot be read."""
        total = 0
        unreadable: list[str] = []
        self.folder.remove_unfinished()
        for name, form in self._records():
            with self._fetched(name) as (source, target):
                try:
                    gone, left = form.without_user(source, target, user)
                except BadDocument as error:
                    unreadable.append(str(error))
                    continue
                if gone and left:
                    self.folder.put(name, target)
                elif gone:
                    self.folder.remove(name)
                total += gone
        if unreadable:
            raise BadDocument(f"{total} records removed; {len(unreadable)} files were not read: {unreadable[0]}")
        return total

    def remove_texts(self, before: Callable[[str], float]) -> int:
        total = 0
        limits: dict[str, float] = {}
        for name, form in self._records():
            rollout = name.partition("/")[0]
            limit = limits.setdefault(rollout, before(rollout))
            made_at = _made_at(name)
            # a file is looked at once: what is written later into the past has no texts by then
            if made_at is not None and not self._texts_removed.get(rollout, 0.0) <= made_at < limit:
                continue
            # a pair is older than the file it is in, whatever the service's clock said of it
            older_than = limit if made_at is None else math.inf
            with self._fetched(name) as (source, target):
                try:
                    had = form.without_texts(source, target, older_than)
                except BadDocument:
                    continue  # named by whoever reads the records
                if had:
                    self.folder.put(name, target)
                total += had
        self._texts_removed |= limits
        return total

    def close(self) -> None:
        pass

    def _put(self, name: str, form: RecordFormat, rows: Iterable[dict[str, Any]]) -> None:
        with private_folder() as folder:
            made = folder / "made"
            form.write(rows, made)
            self.folder.put(name, made)

    def _records(self) -> Iterator[tuple[str, RecordFormat]]:
        for name in list(self.folder.names()):
            suffix = name.rpartition(".")[2]
            if not _IN_A_DAY.fullmatch(name):
                continue  # the judge's verdicts are next to the days
            if suffix == "parquet" and suffix not in self._formats:
                self._formats[suffix] = Parquet()
            if suffix in self._formats and not name.rpartition("/")[2].startswith(DROPPED):
                yield name, self._formats[suffix]

    @contextmanager
    def _fetched(self, name: str) -> Iterator[tuple[Path, Path]]:
        """A local copy of a file, and where its new form is made."""
        with private_folder() as folder:
            source = folder / "source"
            self.folder.fetch(name, source)
            yield source, folder / "made"


def _made_at(name: str) -> float | None:
    """Unix seconds at which the raw pairs of a file were written, None for a file of another name."""
    found = _MADE_AT.match(name.rpartition("/")[2])
    return int(found[1]) / 1000.0 if found else None
