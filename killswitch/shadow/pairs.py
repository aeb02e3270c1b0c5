"""The recorded pairs of a rollout as one DuckDB view, `pairs`, over Parquet and JSON lines and both formats of them.

Needs the extra `shadow`. The view has the columns of `COLUMNS`, whatever the files have: a column that a file's format
lacks is NULL, and one that this version does not know is left out.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from killswitch.errors import BadSettings
from killswitch.shadow.private_folders import private_folder, remove_left_folders
from killswitch.shadow.record import PairRecord, Side
from killswitch.shadow.small_files import in_few_files

MEMORY = "100MB"
THREADS = 2
LATEST = 1e11  # Unix seconds; a record of a later time, or of before 1970, is no time that can be shown
LONGEST_LINE = 16 << 20  # bytes of one record as JSON; DuckDB takes twice that to read it
# Bytes of JSON lines that are converted at once: DuckDB holds many times that.
_AT_ONCE = 8 << 20
_USUAL_LINE = 1 << 20  # bytes; DuckDB takes a buffer of twice this at least
_TYPES = {"str": "VARCHAR", "int": "BIGINT", "float": "DOUBLE", "bool": "BOOLEAN", "tuple[str, ...]": "VARCHAR[]"}
_SIDES = ("control", "other")
_OF_A_GENERATION = 'generation, count(*) AS pairs, min("at") AS oldest, max("at") AS newest'
# Each id counts once in each kind of pair, the earliest of it, and an answer that was used again not at all: neither is
# new evidence of a model. Only the ids that are repeated are sorted, because a million of them need memory.
_EVIDENCE = """
CREATE TEMP VIEW asked AS SELECT * FROM of_one_generation WHERE NOT coalesce(reused, false);
CREATE TEMP TABLE repeated AS SELECT hash(pair, kind) AS key FROM asked WHERE coalesce(pair, '') != ''
    GROUP BY ALL HAVING count(*) > 1;
CREATE TEMP VIEW pairs AS SELECT * FROM asked
    WHERE coalesce(pair, '') = '' OR hash(pair, kind) NOT IN (SELECT key FROM repeated)
    UNION ALL SELECT * FROM asked
    WHERE coalesce(pair, '') != '' AND hash(pair, kind) IN (SELECT key FROM repeated)
    QUALIFY row_number() OVER (PARTITION BY pair, kind ORDER BY "at", other_seconds, other_opening) = 1;
"""
_LEFT_OUT = """
CREATE TEMP TABLE left_out AS SELECT unnest(['other generations', 'reused answers', 'repeated ids']) AS reason,
    unnest([everyone - one, one - asked, asked - pairs]) AS number FROM (SELECT
        (SELECT CAST(coalesce(sum(pairs), 0) AS BIGINT) FROM generations) AS everyone,
        (SELECT count(*) FROM of_one_generation) AS one,
        (SELECT count(*) FROM asked) AS asked, (SELECT count(*) FROM pairs) AS pairs)
"""
Newest = Literal["newest"]
NEWEST: Newest = "newest"


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
        raise BadSettings([no_pairs_of(source, rollout)])
    return tuple(found)


def no_pairs_of(records: Path, rollout: str) -> str:
    """That the folder has no pairs of the rollout, and of which rollouts it has."""
    there = ", ".join(rollouts_in(records)) or "none"
    missing = f"{records} has no recorded pairs of {rollout!r:.80}; rollouts with pairs there: {there:.400}"
    return f"{missing}; expected {records}/ROLLOUT/DAY/*.parquet"


def rollouts_in(records: Path) -> tuple[str, ...]:
    """The rollouts that have a folder of records. Sorted; none where the folder cannot be read."""
    try:
        return tuple(sorted(one.name for one in records.iterdir() if one.is_dir() and not one.name.startswith(".")))
    except OSError:
        return ()


@contextmanager
def open_pairs(
    source: Path,
    rollout: str,
    *,
    since: float | None = None,
    until: float | None = None,
    last: float | None = None,
    generation: int | Newest | None = None,
    memory: str = MEMORY,
) -> Iterator[Any]:
    """A connection with the view `pairs` of this rollout's records, ``since <= at < until`` in Unix seconds.

    A record without a possible time is left out. ``last``: only records of this many seconds before the newest of them.
    ``generation``: only records of this one, or of the newest that there is in this time; None for all. The table
    `generations` has each generation of this time, with ``pairs`` and the ``oldest`` and ``newest`` of them.
    Raises BadSettings if there are no records, if a file cannot be read, or if DuckDB is not installed.
    """
    duckdb = duckdb_module()
    remove_left_folders()
    with private_folder() as folder:  # for what does not fit in memory
        settings = {
            "memory_limit": memory,
            "threads": THREADS,
            "temp_directory": str(folder),
            "autoinstall_known_extensions": False,
        }
        connection = duckdb.connect(config=settings)
        try:
            connection.execute("SET preserve_insertion_order = false")
            try:
                records = _records(duckdb, connection, files_of(source, rollout), folder)
            except (duckdb.Error, OSError) as error:
                raise BadSettings([f"{source}: these recorded pairs cannot be read: {error}"]) from error
            column, constant = duckdb.ColumnExpression, duckdb.ConstantExpression
            records = records.filter(column("rollout") == constant(rollout))
            begin, end = max(since or 0.0, 0.0), min(LATEST if until is None else until, LATEST)
            records = records.filter((column("at") >= constant(begin)) & (column("at") < constant(end)))
            _create_view(duckdb, connection, records, last, generation)
            yield connection
        except duckdb.OutOfMemoryException as error:
            raise BadSettings(
                [f"{source}: so many records do not fit in {memory} of memory; choose fewer with --since and --until"]
            ) from error
        except duckdb.IOException as error:
            raise BadSettings([f"{source}: a file of recorded pairs can no longer be read: {error}"]) from error
        finally:
            connection.close()


def _create_view(
    duckdb: Any, connection: Any, records: Any, last: float | None, generation: int | Newest | None
) -> None:
    """The view `pairs` of one generation of the records, or of all, and the table `generations` of all."""
    column, constant = duckdb.ColumnExpression, duckdb.ConstantExpression
    if generation == NEWEST:
        ((generation,),) = records.max("generation").fetchall()
    wanted = records
    if generation is not None:
        wanted = records.filter(column("generation") == constant(generation))
    if last is not None:
        ((newest,),) = wanted.max("at").fetchall()
        recent = column("at") >= constant((newest or 0.0) - last)
        records, wanted = records.filter(recent), wanted.filter(recent)
    records.aggregate(_OF_A_GENERATION, "generation").create("generations")
    wanted.create_view("of_one_generation")
    connection.execute(_EVIDENCE)
    connection.execute(_LEFT_OUT)


def _records(duckdb: Any, connection: Any, files: Sequence[Path], folder: Path) -> Any:
    """All files as one relation. JSON lines are converted once: every query would parse them again."""
    parquet = [path for path in files if path.suffix == ".parquet"]
    for path in files:
        if path.suffix != ".parquet":
            parquet += _converted(duckdb, connection, path, folder / f"{len(parquet)}-")
    few = in_few_files(connection, parquet, folder)
    stored = connection.read_parquet([str(path) for path in few], union_by_name=True)
    known = set(stored.columns)
    wanted = [
        (duckdb.ColumnExpression(name) if name in known else duckdb.ConstantExpression(None))
        .cast(connection.type(kind))
        .alias(name)
        for name, kind in COLUMNS.items()
    ]
    return stored.select(*wanted)


def _converted(duckdb: Any, connection: Any, source: Path, prefix: Path) -> Iterator[Path]:
    """A file of JSON lines as Parquet files, each of a part of it, so that a file of any length fits in memory.

    Raises BadSettings that names the lines.
    """
    lines = Path(f"{prefix}lines.jsonl")
    first = 1  # the number of the part's first line
    for number, part in enumerate(_parts(source)):
        longest = max(map(len, part), default=0)
        where = f"{source}, lines {first} to {first + len(part) - 1}"
        if longest > LONGEST_LINE:
            at = first + next(index for index, line in enumerate(part) if len(line) > LONGEST_LINE)
            raise BadSettings([f"{source}, line {at}: a record of more than {LONGEST_LINE} bytes; remove it"])
        lines.write_bytes(b"".join(part))
        target = Path(f"{prefix}{number}.parquet")
        try:
            connection.read_json(
                str(lines),
                columns=dict(COLUMNS),
                format="newline_delimited",
                maximum_object_size=max(_USUAL_LINE, longest),
            ).write_parquet(str(target))
        except duckdb.OutOfMemoryException as error:
            raise BadSettings([f"{where}: too large to be read in {MEMORY}; split the file at that line"]) from error
        except duckdb.Error as error:
            raise BadSettings([f"{where}: these recorded pairs cannot be read: {error}"]) from error
        first += len(part)
        yield target
    lines.unlink(missing_ok=True)


def _parts(source: Path) -> Iterator[list[bytes]]:
    """The lines of a file, some megabytes of them at a time. Of a line that is too long only a part is read."""
    with source.open("rb") as file:
        part: list[bytes] = []
        size = 0
        while line := file.readline(LONGEST_LINE + 1):
            if part and size + len(line) > _AT_ONCE:
                yield part
                part, size = [], 0
            part.append(line)
            size += len(line)
        yield part  # empty for an empty file, which is one of no records
