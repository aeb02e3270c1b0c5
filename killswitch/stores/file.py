"""Flags and roles in a JSON file that another program writes: one document, or a list of them. Read only.

Made for a mounted ConfigMap: the path may be a link whose target is swapped, so the file is opened by name for each
read. A file has no revisions. This reader counts the changes it has seen, so its revisions are valid in this process
only.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from killswitch.errors import BadDocument, Unavailable
from killswitch.flags.document import MAX_DOCUMENT_BYTES
from killswitch.stores import Item, keys
from killswitch.stores.polling import PollingWatch, file_stamp
from killswitch.stores.reader import READ_TIMEOUT, ReadView

_MAX_BYTES = 8 * 1024 * 1024
_POLL = 0.5  # seconds


class FileReader:
    """A `Reader` of one file."""

    sees_controllers = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._content: bytes | None = None
        self._revision = 0
        self._changed_at: dict[str, tuple[bytes, int]] = {}

    def describe(self) -> str:
        return f"file {self._path}"

    def read(
        self,
        names: Sequence[str],
        *,
        prefixes: Sequence[str] = (),
        counted: Sequence[str] = (),
        changed_after: int = 0,
        timeout: float = READ_TIMEOUT,  # noqa: ARG002  # a local file needs no deadline
    ) -> ReadView:
        """See `Reader.read`. A file that is not there holds no flags; one that is not JSON raises BadDocument."""
        with self._lock:
            documents = self._documents(names)
            items = {
                name: Item(name, value, self._changed_at[name][1])
                for name, value in documents.items()
                if name in names
                or (self._changed_at[name][1] > changed_after and any(name.startswith(prefix) for prefix in prefixes))
            }
            counts = {prefix: sum(name.startswith(prefix) for name in documents) for prefix in counted}
            return ReadView(items, self._revision, counts)

    def watch(self, name: str, *, after: int, prefix: bool = False) -> PollingWatch:
        return PollingWatch(self, name, after, prefix=prefix, stamp=lambda: file_stamp(self._path), interval=_POLL)

    def forget(self) -> None:
        self._lock = threading.Lock()

    def close(self) -> None:
        """Nothing is held open."""

    def _documents(self, names: Sequence[str]) -> dict[str, bytes]:
        content = self._read_file()
        if self._revision == 0 or content != self._content:
            self._content = content
            self._revision += 1
        documents = {} if content is None else dict(_documents(content, names, self._path))
        before = self._changed_at
        # a flag that was gone and came back has changed, even if its content is equal
        self._changed_at = {
            name: before[name] if name in before and before[name][0] == value else (value, self._revision)
            for name, value in documents.items()
        }
        return documents

    def _read_file(self) -> bytes | None:
        try:
            with self._path.open("rb") as file:
                content = file.read(_MAX_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Unavailable(f"file {self._path}: {error.strerror or type(error).__name__}") from error
        if len(content) > _MAX_BYTES:
            raise BadDocument(f"file {self._path}: over {_MAX_BYTES} bytes")
        return content


def _documents(content: bytes, names: Sequence[str], path: Path) -> Iterator[tuple[str, bytes]]:
    """Key and document of every flag and role in the file."""
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadDocument(f"file {path}: not JSON ({error})") from error
    if isinstance(parsed, dict):
        # one document is given under every name asked for, so that the follower refuses another rollout's by its name
        for name in dict.fromkeys((*(n for n in names if n.startswith(keys.FLAGS)), _key(parsed, path))):
            yield name, _bounded(parsed, path)
        return
    if not isinstance(parsed, list):
        raise BadDocument(f"file {path}: not a document of a flag or role, and not a list of them")
    seen: set[str] = set()
    for document in parsed:
        name = _key(document, path)
        if name in seen:
            raise BadDocument(f"file {path}: {name.removeprefix(keys.ROOT).partition('/')[2]!r:.80} is in it twice")
        seen.add(name)
        yield name, _bounded(document, path)


def _key(document: Any, path: Path) -> str:
    """A role's document says ``role``, a flag's ``rollout``."""
    if not isinstance(document, dict):
        return keys.flag("")
    rollout, role = document.get("rollout"), document.get("role")
    if rollout is not None and role is not None:
        raise BadDocument(f"file {path}: a document names both a rollout and a role; write one document for each")
    if isinstance(role, str):
        return keys.role(role)
    return keys.flag(rollout if isinstance(rollout, str) else "")


def _bounded(document: Any, path: Path) -> bytes:
    value = json.dumps(document).encode()
    if len(value) > MAX_DOCUMENT_BYTES:
        raise BadDocument(f"file {path}: a document over {MAX_DOCUMENT_BYTES} bytes")
    return value
