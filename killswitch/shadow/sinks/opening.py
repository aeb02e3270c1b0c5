"""Opens the sink that a person names: a folder, an fsspec URL, or ClickHouse."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from killswitch.net.credentials import Secret
from killswitch.shadow.sinks import Sink
from killswitch.shadow.sinks.clickhouse import SCHEMES, ClickHouse
from killswitch.shadow.sinks.record_files import RecordFiles


def open_sink(
    place: str, kind: Literal["parquet", "jsonl"] = "parquet", *, user: str = "", password_file: Path | None = None
) -> Sink:
    """``place``: a path, an fsspec URL, or ``clickhouse+http://host:8123/database``. Raises BadSettings."""
    if place.partition("://")[0] in SCHEMES:
        password = Secret.from_file(password_file) if password_file is not None else None
        return ClickHouse(place, user=user, password=password)
    return RecordFiles(place, kind)
