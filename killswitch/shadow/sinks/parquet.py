"""Records as Parquet, written by DuckDB: a hundredth of the bytes of JSON, and read column by column."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from killswitch.errors import BadDocument, Unavailable
from killswitch.net.bounded_http import excerpt
from killswitch.shadow.flat_record import TEXTS, lines_of
from killswitch.shadow.pairs import COLUMNS, duckdb_module

_MEMORY: Final = "128MB"
_LONGEST_ROW: Final = 2 << 20  # bytes: three texts as they are kept take a tenth; DuckDB takes this many times over


class Parquet:
    """The file format ``parquet``. Raises BadSettings that names the extra if DuckDB is not installed."""

    suffix = "parquet"

    def __init__(self) -> None:
        self._duckdb = duckdb_module()
        self._connection: Any = self._duckdb.connect(
            config={"memory_limit": _MEMORY, "threads": 1, "autoinstall_known_extensions": False}
        )

    def write(self, rows: Iterable[dict[str, Any]], path: Path) -> None:
        lines = path.with_name(f"{path.name}.lines")
        lines.touch(mode=0o600)
        try:
            lines.write_bytes(lines_of(rows))
            relation = self._connection.read_json(
                str(lines), columns=dict(COLUMNS), format="newline_delimited", maximum_object_size=_LONGEST_ROW
            )
            self._save(relation, path)
        finally:
            lines.unlink()

    def without_user(self, source: Path, target: Path, user: str) -> tuple[int, int]:
        """Copy what is not of this user. How many rows went, and how many are left."""
        relation = self._read(source)
        if "user" not in relation.columns:
            return 0, self._count(source, "true")
        gone, left = (
            self._count(source, '"user" = $value', user),
            self._count(source, '"user" IS DISTINCT FROM $value', user),
        )
        if gone and left:
            column, constant = self._duckdb.ColumnExpression("user"), self._duckdb.ConstantExpression(user)
            self._save(relation.filter(column.isnull() | (column != constant)), target)
        return gone, left

    def without_texts(self, source: Path, target: Path, before: float) -> int:
        """Copy the rows, those of before this time without their texts. How many had some."""
        relation = self._read(source)
        texts = [name for name in TEXTS if name in relation.columns]
        if "at" not in relation.columns or not texts:
            return 0
        had = self._count(source, f'"at" < $value AND coalesce({", ".join(texts)}) IS NOT NULL', before)
        if had:
            column, constant = self._duckdb.ColumnExpression, self._duckdb.ConstantExpression
            case = self._duckdb.CaseExpression(column("at") < constant(before), constant(None))
            emptied = {name: case.otherwise(column(name)).cast("VARCHAR").alias(name) for name in texts}
            self._save(relation.select(*(emptied.get(name, column(name)) for name in relation.columns)), target)
        return had

    def _read(self, source: Path) -> Any:
        try:
            return self._connection.read_parquet(str(source))
        except self._duckdb.Error as error:
            raise BadDocument(f"{source.name}: no Parquet file ({type(error).__name__}); move it away") from error

    def _count(self, source: Path, condition: str, *values: object) -> int:
        query = f"SELECT count(*) FROM read_parquet($path) WHERE {condition}"  # noqa: S608  names of ours
        given = {"path": str(source), **({"value": values[0]} if values else {})}
        return int(self._connection.execute(query, given).fetchall()[0][0])

    def _save(self, relation: Any, path: Path) -> None:
        path.touch(mode=0o600)  # DuckDB writes into it, and asks the umask for a new one
        try:
            relation.write_parquet(str(path), compression="zstd")
        except self._duckdb.Error as error:
            raise Unavailable(
                f"DuckDB cannot write records: {excerpt(str(error))}; is there space and memory?"
            ) from error
        path.chmod(0o600)
