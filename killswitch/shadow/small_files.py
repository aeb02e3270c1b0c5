"""Many small Parquet files as few: a worker writes one a minute, and DuckDB keeps something of each that it reads.

5,000 files of 40 records took over three minutes and 1.6 GB, because each query opened all of them again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

AT_ONCE: Final = 200
"""Files that are read as they are, and that are merged into one."""

_SMALL: Final = 2 << 20  # bytes
_MOST_BYTES: Final = 64 << 20  # of the files that are merged into one


def in_few_files(connection: Any, files: Sequence[Path], folder: Path) -> list[Path]:
    """The files, the small ones merged into copies in ``folder`` if there are more than `AT_ONCE` of them.

    Files that are in ``folder`` already are removed once they are merged. Raises OSError, and DuckDB's errors.
    """
    if len(files) <= AT_ONCE:
        return list(files)
    sizes = {file: file.stat().st_size for file in files}
    found = [file for file in files if sizes[file] > _SMALL]
    for number, group in enumerate(_groups([file for file in files if sizes[file] <= _SMALL], sizes)):
        target = folder / f"merged-{number}.parquet"
        connection.read_parquet([str(file) for file in group], union_by_name=True).write_parquet(str(target))
        for file in group:
            if file.parent == folder:
                file.unlink()
        found.append(target)
    return found


def _groups(files: Sequence[Path], sizes: dict[Path, int]) -> Iterator[list[Path]]:
    group: list[Path] = []
    size = 0
    for file in files:
        if group and (len(group) >= AT_ONCE or size + sizes[file] > _MOST_BYTES):
            yield group
            group, size = [], 0
        group.append(file)
        size += sizes[file]
    if group:
        yield group
