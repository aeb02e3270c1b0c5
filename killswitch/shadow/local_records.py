"""The records of a rollout on this machine: where they are, or a copy of what an fsspec URL names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from killswitch.errors import BadSettings
from killswitch.shadow.private_folders import private_folder
from killswitch.shadow.sinks.folders import open_folder


@contextmanager
def local_records(place: str, rollout: str) -> Iterator[Path]:
    """The folder or file of records. A copy of a remote folder is private, and gone at the end.

    Raises BadSettings for a URL that cannot be opened, Unavailable if the store behind it fails.
    """
    if "://" not in place:
        yield Path(place)
        return
    if place.startswith("clickhouse"):
        raise BadSettings(
            ["the report reads files, not ClickHouse; export the pairs: SELECT … INTO OUTFILE 'pairs.parquet'"]
        )
    remote = open_folder(place)
    with private_folder() as folder:
        for name in remote.names():
            if name.startswith(f"{rollout}/") and ".." not in name.split("/"):
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                remote.fetch(name, target)
        yield folder
