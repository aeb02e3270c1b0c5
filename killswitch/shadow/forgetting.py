"""Removes a user from what shadow mode has kept: raw pairs, lines set aside, pairs for the judge, records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from killswitch.errors import BadDocument
from killswitch.router.shadow.raw_pair import RawPair, from_line
from killswitch.shadow.judge.waiting import FOLDER, WaitingPairs
from killswitch.shadow.raw_files import RawFiles
from killswitch.shadow.sinks import Sink


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How many were removed. ``set_aside``: files of unreadable lines, of which it is not known whose they are."""

    raw_pairs: int
    set_aside: int
    waiting_for_judge: int
    records: int

    @property
    def total(self) -> int:
        return self.raw_pairs + self.waiting_for_judge + self.records


def forget(user: str, *, spool: Path | None, records: Path | None, sink: Sink | None) -> Forgotten:
    """``user``: the keyed hash. The spool is held meanwhile, so that no worker writes what has just been removed.

    Raises Unavailable or Refused. What was removed before that stays removed; run it again.
    """
    if spool is None:
        return Forgotten(0, 0, _of_judges(user, records), sink.forget(user) if sink is not None else 0)
    files = RawFiles(spool)
    with files.lock():
        raw, aside = _of_spool(user, files)
        return Forgotten(raw, aside, _of_judges(user, records), sink.forget(user) if sink is not None else 0)


def _of_spool(user: str, files: RawFiles) -> tuple[int, int]:
    files.remove_unfinished()
    names, broken = files.raw_and_broken()
    removed = 0
    for name in names:
        lines = list(files.lines(name))
        kept = [line for line in lines if not _is_theirs(line, user)]
        if len(kept) < len(lines):
            removed += len(lines) - len(kept)
            files.rewrite(name, kept)
    for path in broken:
        path.unlink(missing_ok=True)
    return removed, len(broken)


def _is_theirs(line: bytes, user: str) -> bool:
    try:
        entry = from_line(line)
    except BadDocument:
        return False  # the worker will set it aside
    return isinstance(entry, RawPair) and entry.user == user


def _of_judges(user: str, records: Path | None) -> int:
    if records is None or not records.is_dir():
        return 0
    return sum(WaitingPairs(folder, share=0.0).forget(user) for folder in sorted(records.glob(f"*/{FOLDER}")))
