"""The worker's side of the spool: raw files in order, in batches that a killed worker's successor repeats exactly.

A batch is written down before it begins (``.batch-<name>``) and marked when its records are safe (``.done-<name>``).
After a kill the same files make the same batch under the same name, so its records take their own place again; marked,
it only has its raw files left to delete. No pair is lost by a kill, and none is recorded twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from killswitch.errors import Unavailable
from killswitch.private_files import new_private_file, sync_folder
from killswitch.router.shadow.spool import SUFFIX

_PLAN: Final = ".batch-"
_DONE: Final = ".done-"
_LOCK: Final = ".worker.lock"
_BROKEN: Final = "broken"
MOST_BROKEN_BYTES: Final = 64_000_000
"""Of lines that could not be read, all together; more is counted and not kept."""


@dataclass(frozen=True, slots=True)
class RawBatch:
    """Raw files to be compared together, oldest first. ``name`` is that of the first, without its ending."""

    name: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Raw files that wait: how many, how large together, and the milliseconds in the oldest one's name."""

    files: int
    bytes: int
    oldest_ms: int | None


class RawFiles:
    """The raw files of one spool folder. Use it while `lock` is held. Raises Unavailable if the folder fails."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def lock(self, wait: float = 60.0) -> Iterator[None]:
        """Hold the folder: a second worker or `forget` waits this many seconds. Raises Unavailable."""
        with self._errors("opened"):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            opened = os.open(self.folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            ends = time.monotonic() + wait
            while True:
                try:
                    fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= ends:
                        raise Unavailable(f"{self.folder}: another worker is busy with it; try again") from None
                    time.sleep(0.05)
            yield
        finally:
            os.close(opened)

    def waiting(self) -> Waiting:
        files = self._raw()
        sizes = 0
        for name in files:
            with contextlib.suppress(OSError):
                sizes += (self.folder / name).stat().st_size
        return Waiting(len(files), sizes, made_at_ms(files[0]) if files else None)

    def next_batch(self, *, most_files: int, most_bytes: int) -> RawBatch | None:
        """The batch that a killed worker left, else one of the oldest files; None if there is no file."""
        for done in sorted(self.folder.glob(f"{_DONE}*")):
            self._delete(RawBatch(done.name.removeprefix(_DONE), self._listed(done)))
        for plan in sorted(self.folder.glob(f"{_PLAN}*")):
            files = self._listed(plan)
            if files and not plan.name.endswith(".tmp"):
                return RawBatch(plan.name.removeprefix(_PLAN), files)
            plan.unlink(missing_ok=True)  # killed while it was written down: nothing had begun
        return self._plan(most_files, most_bytes)

    def lines(self, name: str) -> Iterator[bytes]:
        """The lines of a raw file; none if it is gone."""
        with self._errors("read"), contextlib.suppress(FileNotFoundError), (self.folder / name).open("rb") as file:
            yield from file

    def finish(self, batch: RawBatch) -> None:
        """Its records are safe: mark it, and delete its files."""
        with self._errors("marked"):
            (self.folder / f"{_PLAN}{batch.name}").rename(self.folder / f"{_DONE}{batch.name}")
            sync_folder(self.folder)
        self._delete(batch)

    def set_aside(self, name: str, lines: list[bytes]) -> bool:
        """Keep lines that could not be read, for a person. False if there is no room for them."""
        aside = self.folder / _BROKEN
        with self._errors("written"):
            if aside.is_symlink():
                aside.unlink()  # texts must not leave the folder
            aside.mkdir(mode=0o700, exist_ok=True)
            used = sum(path.stat().st_size for path in aside.iterdir())
            if used + sum(map(len, lines)) > MOST_BROKEN_BYTES:
                return False
            self._write_whole(aside / name, b"".join(lines))
        return True

    def older_than(self, before_ms: int) -> list[str]:
        """Raw files older than this. What was set aside and is older is removed: texts must not stay for ever."""
        aside = self.folder / _BROKEN
        if aside.is_dir():
            for path in aside.iterdir():
                if (made_at_ms(path.name) or before_ms) < before_ms:
                    path.unlink(missing_ok=True)
        return [name for name in self._raw() if (made_at_ms(name) or before_ms) < before_ms]

    def stamps(self, batch: RawBatch) -> tuple[tuple[int, int], ...]:
        """A value that changes when one of the files of a batch does."""
        found = []
        for name in batch.files:
            try:
                stat = (self.folder / name).stat()
                found.append((stat.st_ino, stat.st_size))
            except OSError:
                found.append((0, 0))
        return tuple(found)

    def rewrite(self, name: str, lines: list[bytes]) -> None:
        """Put these lines in the place of a file's own; without any the file goes, unless a batch has it."""
        with self._errors("rewritten"):
            self._write_whole(self.folder / name, b"".join(lines))

    def raw_and_broken(self) -> tuple[list[str], list[Path]]:
        """All raw files, and all files of lines that were set aside."""
        aside = self.folder / _BROKEN
        return self._raw(), sorted(aside.iterdir()) if aside.is_dir() else []

    def remove_unfinished(self) -> None:
        """Remove files that were left half-written, by a service or a worker: it is not known whose texts they hold.

        A service that is alive fails to rename its file, and writes those pairs once more.
        """
        with self._errors("removed"):
            for entry in os.scandir(self.folder):
                if entry.name.startswith(".") and entry.name.endswith((".part", ".tmp")):
                    Path(entry.path).unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        with self._errors("removed"):
            (self.folder / name).unlink(missing_ok=True)

    def _raw(self) -> list[str]:
        """Oldest first: names begin with 13 digits of milliseconds."""
        with self._errors("listed"):
            return sorted(
                entry.name
                for entry in os.scandir(self.folder)
                # a pipe would hold the worker up for good, and a link may lead to a file that is none of ours
                if entry.name.endswith(SUFFIX) and entry.name[0] != "." and entry.is_file(follow_symlinks=False)
            )

    def _plan(self, most_files: int, most_bytes: int) -> RawBatch | None:
        taken: list[str] = []
        size = 0
        for name in self._raw()[:most_files]:
            with contextlib.suppress(OSError):
                size += (self.folder / name).stat().st_size
            if taken and size > most_bytes:
                break
            taken.append(name)
        if not taken:
            return None
        batch = RawBatch(taken[0].removesuffix(SUFFIX), tuple(taken))
        with self._errors("written"):
            self._write_whole(self.folder / f"{_PLAN}{batch.name}", json.dumps(batch.files).encode())
        return batch

    def _listed(self, plan: Path) -> tuple[str, ...]:
        try:
            names = json.loads(plan.read_bytes()) if plan.is_file() and not plan.is_symlink() else None
        except (OSError, ValueError):
            return ()
        if not isinstance(names, list):
            return ()
        # a name that leads out of the folder is none of ours
        return tuple(name for name in names if isinstance(name, str) and "/" not in name and name.endswith(SUFFIX))

    def _delete(self, batch: RawBatch) -> None:
        with self._errors("deleted"):
            for name in batch.files:
                (self.folder / name).unlink(missing_ok=True)
            sync_folder(self.folder)
            (self.folder / f"{_DONE}{batch.name}").unlink(missing_ok=True)

    def _write_whole(self, path: Path, content: bytes) -> None:
        temporary = path.with_name(f"{path.name if path.name[0] == '.' else '.' + path.name}.tmp")
        with new_private_file(temporary) as file:
            file.write(content)
        temporary.rename(path)
        sync_folder(path.parent)

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Unavailable(
                f"{self.folder}: cannot be {what} ({error.strerror}); free space or fix its mode"
            ) from error


def made_at_ms(name: str) -> int | None:
    """The milliseconds that a raw file's name begins with."""
    first = name.partition("-")[0]
    return int(first) if first.isdecimal() and len(first) == 13 else None
