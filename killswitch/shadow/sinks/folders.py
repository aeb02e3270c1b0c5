"""A folder of whole files, on this machine or anywhere that fsspec reaches: a file is there in full, or not at all."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Protocol

from killswitch.errors import BadSettings, Unavailable
from killswitch.private_files import new_private_file, sync_folder

_TEMPORARY: Final = ".tmp-"
# their upload is of the whole object or of nothing; a rename there would be a second copy
_WHOLE_UPLOADS: Final = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss", "memory"})


class Folder(Protocol):
    """Files by their names relative to the folder, such as ``support/2026-05-03/1.parquet``. Raises Unavailable."""

    def put(self, name: str, local: Path) -> None:
        """Put a whole local file there, in the place of one of that name."""
        ...

    def names(self) -> Iterator[str]:
        """All files, sorted, without hidden ones."""
        ...

    def fetch(self, name: str, local: Path) -> None:
        """Copy a file to this machine."""
        ...

    def remove(self, name: str) -> None: ...

    def has(self, name: str) -> bool: ...

    def remove_unfinished(self) -> None:
        """Remove files that a writer left half-written: `names` has none of them. A live writer begins again."""
        ...


class LocalFolder:
    """A folder of this machine. Files have mode 0600, folders 0700."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, name: str, local: Path) -> None:
        target = self.path / name
        temporary = target.parent / f"{_TEMPORARY}{target.name}"
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _copy(local, temporary)
            temporary.rename(target)
            sync_folder(target.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise Unavailable(
                f"{target}: cannot be written ({error.strerror}); free space or fix the folder"
            ) from error

    def names(self) -> Iterator[str]:
        try:
            found = [path for path in self.path.rglob("*") if path.is_file() and not path.is_symlink()]
        except OSError as error:
            raise Unavailable(f"{self.path}: cannot be listed ({error.strerror}); name another folder") from error
        relative = (path.relative_to(self.path) for path in found)
        yield from sorted(str(path) for path in relative if not any(part.startswith(".") for part in path.parts))

    def fetch(self, name: str, local: Path) -> None:
        try:
            _copy(self.path / name, local)
        except OSError as error:
            raise Unavailable(f"{self.path / name}: cannot be read ({error.strerror})") from error

    def remove(self, name: str) -> None:
        try:
            (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise Unavailable(f"{self.path / name}: cannot be removed ({error.strerror})") from error

    def has(self, name: str) -> bool:
        return (self.path / name).exists()

    def remove_unfinished(self) -> None:
        for path in self.path.rglob(f"{_TEMPORARY}*"):
            self.remove(str(path.relative_to(self.path)))


class RemoteFolder:
    """A folder behind an fsspec URL, such as ``s3://bucket/pairs``. Raises BadSettings if the URL cannot be opened."""

    def __init__(self, url: str) -> None:
        try:
            import fsspec  # noqa: PLC0415  of the extra `shadow`

            self._files, self._root = fsspec.core.url_to_fs(url, skip_instance_cache=False)
        except (ImportError, ValueError) as error:
            raise BadSettings(
                [f"records at {url.partition('://')[0]}://…: {error}; install what this scheme needs"]
            ) from error
        protocol = self._files.protocol
        self._schemes = {protocol} if isinstance(protocol, str) else set(protocol)

    def put(self, name: str, local: Path) -> None:
        target = f"{self._root}/{name}"
        with self._errors(name, "written"):
            self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
            if self._schemes & _WHOLE_UPLOADS:
                self._files.put_file(str(local), target)
                return
            parent, _, last = target.rpartition("/")
            temporary = f"{parent}/{_TEMPORARY}{last}"
            self._files.put_file(str(local), temporary)
            self._files.mv(temporary, target)

    def names(self) -> Iterator[str]:
        found = self._found()
        yield from (name for name in found if not any(part.startswith(".") for part in name.split("/")))

    def fetch(self, name: str, local: Path) -> None:
        with self._errors(name, "read"):
            local.touch(mode=0o600)
            self._files.get_file(f"{self._root}/{name}", str(local))

    def remove(self, name: str) -> None:
        with self._errors(name, "removed"), contextlib.suppress(FileNotFoundError):
            self._files.rm_file(f"{self._root}/{name}")

    def has(self, name: str) -> bool:
        with self._errors(name, "looked for"):
            self._files.invalidate_cache()
            return bool(self._files.exists(f"{self._root}/{name}"))

    def remove_unfinished(self) -> None:
        for name in self._found():
            if name.rpartition("/")[2].startswith(_TEMPORARY):
                self.remove(name)

    def _found(self) -> list[str]:
        """All files, sorted, with hidden ones."""
        with self._errors("", "listed"):
            self._files.invalidate_cache()
            found = self._files.find(self._root)
        prefix = len(self._root.rstrip("/")) + 1
        return sorted(path[prefix:] for path in found)

    @contextlib.contextmanager
    def _errors(self, name: str, what: str) -> Iterator[None]:
        """Each file system of fsspec has errors of its own library."""
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as error:
            kind: Any = type(error).__name__
            raise Unavailable(f"records {name}: cannot be {what} ({kind}); is the store reachable?") from error


def open_folder(place: str | Path) -> Folder:
    """A path is a folder of this machine, what has ``://`` in it an fsspec URL."""
    return RemoteFolder(str(place)) if "://" in str(place) else LocalFolder(Path(place))


def _copy(source: Path, path: Path) -> None:
    """A private copy, on the disk at the return. Raises OSError."""
    with new_private_file(path) as out, source.open("rb") as content:
        shutil.copyfileobj(content, out, 1 << 20)
