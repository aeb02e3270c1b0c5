"""The recorded pairs of a rollout as one DuckDB view, `pairs`, over Parquet and JSON lines and both formats of them.

Needs the extra `shadow`. The view has the columns of `COLUMNS`, whatever the files have: a column that a file's format
lacks is NULL, and one that this version does not know is left out.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from killswitch.errors import BadSettings
from killswitch.shadow.record import PairRecord, Side

MEMORY = "100MB"
THREADS = 2
LATEST = 1e11  # Unix seconds; a record of a later time, or of before 1970, is no time that can be shown
LONGEST_LINE = 16 << 20  # bytes of one record as JSON; each thread needs twice that
_TYPES = {"str": "VARCHAR", "int": "BIGINT", "float": "DOUBLE", "bool": "BOOLEAN", "tuple[str, ...]": "VARCHAR[]"}
_SIDES = ("control", "other")


def _columns() -> Iterator[tuple[str, str]]:
    for field in fields(PairRecord):
        if field.name in _SIDES:
            for inner in fields(Side):
                yield f"{field.name}_{inner.name}", _TYPES[str(inner.type).removesuffix(" | None")]
        else:
            yield field.name, _TYPES[str(field.type).removesuffix(" | None")]


COLUMNS: Mapping[str, str] = dict(_columns())
"""Each column of a stored record with its DuckDB type, in the record's order."""


def duckdb_module() -> Any:
    """The library. Raises BadSettings that names the extra if it is not installed."""
    try:
        return importlib.import_module("duckdb")
    except ImportError as error:
        raise BadSettings(
            ["recorded pairs are read with DuckDB; in the clone: pip install '.[daemon,shadow]'"]
        ) from error


def files_of(source: Path, rollout: str) -> tuple[Path, ...]:
    """The record files of a rollout: ``source`` is one file, or a folder with ``<rollout>/<day>/<file>``. Sorted.

    Raises BadSettings if there are none.
    """
    if source.is_file():
        return (source,)
    folder = source / rollout
    inside = rollout not in ("", ".", "..") and folder.parent == source
    found = sorted(path for kind in ("parquet", "jsonl") for path in folder.glob(f"*/*.{kind}")) if inside else []
    found = [path for path in found if not path.name.startswith((".", "dropped"))]
    if not found:
        raise BadSettings([f"{source} has no recorded pairs of {rollout}; expected {source}/{rollout}/<day>/*.parquet"])
    return tuple(found)


@contextmanager
def open_pairs(
    source: Path,
    rollout: str,
    *,
    since: float | None = None,
    until: float | None = None,
    last: float | None = None,
    generation: int | None = None,
    memory: str = MEMORY,
) -> Iterator[Any]:
    """A connection with the view `pairs` of this rollout's records, ``since <= at < until`` in Unix seconds.

    A record without a possible time is left out. ``last``: only records of this many seconds before the newest of them.
    ``generation``: only records of this one.
    Raises BadSettings if there are no records, if a file cannot be read, or if DuckDB is not installed.
    """
    duckdb = duckdb_module()
    with tempfile.TemporaryDirectory(prefix="killswitch-pairs-") as folder:  # mode 0700: what does not fit in memory
        settings = {
            "memory_limit": memory, "threads": THREADS, "temp_directory": folder, "autoinstall_known_extensions": False,
        }  # fmt: skip
        connection = duckdb.connect(config=settings)
        try:
            connection.execute("SET preserve_insertion_order = false")
            try:
                records = _records(duckdb, connection, files_of(source, rollout), Path(folder))
            except duckdb.Error as error:
                raise BadSettings([f"{source}: these recorded pairs cannot be read: {error}"]) from error
            column, constant = duckdb.ColumnExpression, duckdb.ConstantExpression
            records = records.filter(column("rollout") == constant(rollout))
            records = records.filter((column("at") >= constant(0.0)) & (column("at") < constant(LATEST)))
            if generation is not None:
                records = records.filter(column("generation") == constant(generation))
            if until is not None:
                records = records.filter(column("at") < constant(until))
            if last is not None:
                ((newest,),) = records.max("at").fetchall()
                since = max(since or 0.0, (newest or 0.0) - last)
            if since is not None:
                records = records.filter(column("at") >= constant(since))
            records.create_view("pairs")
            yield connection
        except duckdb.IOException as error:
            raise BadSettings([f"{source}: a file of recorded pairs can no longer be read: {error}"]) from error
        finally:
            connection.close()


def _records(duckdb: Any, connection: Any, files: Sequence[Path], folder: Path) -> Any:
    """All files as one relation. JSON lines are converted once: every query would parse them again."""
    parquet = [str(path) for path in files if path.suffix == ".parquet"]
    lines = [str(path) for path in files if path.suffix != ".parquet"]
    if lines:
        converted = folder / "lines.parquet"
        connection.read_json(
            lines, columns=dict(COLUMNS), format="newline_delimited", maximum_object_size=LONGEST_LINE
        ).write_parquet(str(converted))
        parquet.append(str(converted))
    stored = connection.read_parquet(parquet, union_by_name=True)
    known = set(stored.columns)
    wanted = [
        (duckdb.ColumnExpression(name) if name in known else duckdb.ConstantExpression(None))
        .cast(connection.type(kind))
        .alias(name)
        for name, kind in COLUMNS.items()
    ]
    return stored.select(*wanted)
