"""Sampled pairs that wait for the judge, one private file each, because the worker drops texts once it compared them.

The worker puts a pair here and goes on; it never waits for a judge. The judge takes the pairs in the order of their
hash and deletes each one when its verdicts are stored. What waits longer than its time to live is deleted unjudged.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path

from killswitch.documents import parse_object
from killswitch.errors import BadDocument, Unavailable
from killswitch.router.shadow.complaints import where_raised
from killswitch.router.shadow.raw_pair import RawPair
from killswitch.shadow.judge.sampling import is_sampled, place_of
from killswitch.shadow.judge.texts import PairTexts, texts_of
from killswitch.shadow.redaction import Redact, redact_forms

_log = logging.getLogger(__name__)

FOLDER = "judge-waiting"
MOST_WAITING = 20_000
MAX_BYTES = 2 * 1024 * 1024  # of one file; texts are cut far below
_END = ".pair"
_NEW = ".new-"


class WaitingPairs:
    """``folder``: ``<records>/<rollout>/judge-waiting``. ``share``: of the pairs, 0 to 1; 0 puts nothing there.

    ``redact`` takes personal data out of each text first, because a judge is often another provider's. At most
    ``most`` pairs wait; more are not taken. Several processes may put, one judge takes.
    """

    def __init__(self, folder: Path, *, share: float, redact: Redact = redact_forms, most: int = MOST_WAITING) -> None:
        self.folder = folder
        self.share = share
        self._redact = redact
        self._most = most
        self._counted: int | None = None

    def offer(self, pair: RawPair) -> bool:
        """Let the pair wait if it is sampled and both answered in words; whether it waits now.

        Raises Unavailable if it cannot be written: nothing of it was kept.
        """
        if not is_sampled(pair.id, self.share):
            return False
        texts = texts_of(pair)
        if texts is None:
            return False
        try:
            redacted = replace(
                texts,
                request=self._redact(texts.request),
                control_answer=self._redact(texts.control_answer),
                candidate_answer=self._redact(texts.candidate_answer),
            )
        except Exception:  # noqa: BLE001  # a hook of the user's
            said = "a text could not be redacted, so its pair does not wait for the judge; fix the hook (%s)"
            _log.error(said, where_raised())  # the exception's text may hold what was to be redacted
            return False
        return self.put(redacted)

    def put(self, texts: PairTexts) -> bool:
        """Write the pair whole, mode 0600; False if `most` wait already. Raises Unavailable."""
        if self._count() >= self._most:
            return False
        target = self._path(texts.pair)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.folder, prefix=_NEW)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(json.dumps(asdict(texts), ensure_ascii=False).encode(errors="replace"))
                # its time shows what has expired, so nothing need be read; a clock that is ahead keeps no text longer
                at = min(texts.at, Path(name).stat().st_mtime)
                os.utime(name, (at, at))
                Path(name).replace(target)
            except (OSError, OverflowError):
                with contextlib.suppress(OSError):
                    Path(name).unlink()
                raise
        except OSError as error:
            raise Unavailable(f"{self.folder} cannot be written ({error.strerror}); free space there") from error
        except OverflowError:
            return False  # a time of no year
        self._counted = self._count() + 1
        return True

    def _count(self) -> int:
        """How many wait, counted again only when the folder seems full: it is emptied by another process."""
        if self._counted is None or self._counted >= self._most:
            self._counted = sum(1 for _ in self._files())
        return self._counted

    def _path(self, pair: str) -> Path:
        """Named by place, so that the names' order is the order of judging."""
        digest = hashlib.sha256(pair.encode(errors="replace")).hexdigest()[:24]
        return self.folder / f"{int(place_of(pair) * 2**52):013x}-{digest}{_END}"

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob(f"*{_END}"))

    def take(self) -> Iterator[PairTexts]:
        """The waiting pairs in the order of judging. A file that cannot be read is deleted: it will never be."""
        for path in self._files():
            try:
                with path.open("rb") as file:
                    content = file.read(MAX_BYTES + 1)
                yield _read(content)
            except FileNotFoundError:
                continue
            except BadDocument:
                self._delete(path)
            except OSError as error:
                raise Unavailable(f"{path} cannot be read ({error.strerror}); check its owner") from error

    def done(self, pair: str) -> None:
        """The pair's verdicts are stored: delete its texts."""
        self._delete(self._path(pair))

    def expire(self, *, before: float) -> int:
        """Delete pairs asked ``before`` this Unix time, and what a killed writer left; how many pairs were deleted."""
        expired = 0
        for path in (*self._files(), *self.folder.glob(f"{_NEW}*")):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    self._delete(path)
                    expired += path.suffix == _END
        return expired

    def forget(self, user: str) -> int:
        """Delete the waiting pairs of a user, by the keyed hash; how many.

        Files that are half-written go as well: no one knows whose texts they hold. A writer that is alive fails to
        rename its file, and its batch is tried again.
        """
        for path in self.folder.glob(f"{_NEW}*"):
            self._delete(path)
        mine = [texts.pair for texts in self.take() if user and texts.user == user]
        for pair in mine:
            self.done(pair)
        return len(mine)

    @staticmethod
    def _delete(path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise Unavailable(f"{path} cannot be deleted ({error.strerror}); check the folder's owner") from error


def _read(content: bytes) -> PairTexts:
    where = "waiting pair"
    document = parse_object(content, where, max_bytes=MAX_BYTES)
    texts = {
        field.name: document.text(field.name, empty=field.name != "pair")
        for field in fields(PairTexts)
        if field.name not in ("at", "generation")
    }
    return PairTexts(at=document.number("at"), generation=document.integer("generation"), **texts)
