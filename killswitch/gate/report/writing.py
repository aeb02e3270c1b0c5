"""Writes the report of a gate run into a folder: a page, JSON and a comment, each whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from killswitch.errors import BadSettings
from killswitch.gate.report.document import GateReport
from killswitch.gate.report.html import page
from killswitch.gate.report.json_form import MAX_BYTES, from_json, to_json
from killswitch.gate.report.markdown import comment
from killswitch.private_files import new_private_file


def write_reports(report: GateReport, folder: Path) -> tuple[Path, ...]:
    """Write ``ROLE-RUN.html``, ``.json`` and ``.md``, readable by their owner alone: they hold what users wrote.

    The folder is made where there is none. Raises BadSettings if it cannot be written to.
    """
    stem = f"{report.record.role}-{report.record.run}"
    written = []
    for suffix, content in _forms(report):
        path = folder / f"{stem}.{suffix}"
        temporary = folder / f".{stem}.{suffix}.{os.getpid()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with new_private_file(temporary) as file:
                file.write(content)
            temporary.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise BadSettings([f"{folder}: the report cannot be written: {error.strerror or error}"]) from error
        written.append(path)
    return tuple(written)


def _forms(report: GateReport) -> Iterator[tuple[str, bytes]]:
    yield "html", page(report).encode(errors="replace")
    yield "json", to_json(report)
    yield "md", comment(report).encode(errors="replace")


def read_report_file(path: Path) -> GateReport:
    """A report that `write_reports` has written as JSON. Raises BadDocument or BadSettings."""
    try:
        with path.open("rb") as file:
            value = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadSettings([f"--report {path}: {error.strerror or error}"]) from error
    return from_json(value, where=str(path))
