"""A gate report in files: whole, for their owner alone, and read back as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from killswitch.errors import BadDocument, BadSettings
from killswitch.gate.report.document import GateReport
from killswitch.gate.report.json_form import from_json, to_json
from killswitch.gate.report.writing import read_report_file, write_reports
from killswitch.roles.gate_record import GateVerdict
from tests.doubles.gate_reports import answer, every_kind, record, report_of, row
from tests.doubles.html_reader import HOSTILE


def test_a_report_is_written_in_three_forms_for_its_owner_alone(tmp_path: Path) -> None:
    report = report_of(every_kind("bug"))
    files = write_reports(report, tmp_path / "new" / "folder")
    assert [one.name for one in files] == [
        f"review_triage-{report.record.run}.{suffix}" for suffix in ("html", "json", "md")
    ]
    assert {one.stat().st_mode & 0o777 for one in files} == {0o600}


def test_a_report_that_is_written_again_replaces_the_old_one(tmp_path: Path) -> None:
    write_reports(report_of(every_kind("bug")), tmp_path)
    write_reports(report_of(every_kind("refund")), tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadSettings, match="file: the report cannot be written"):
        write_reports(report_of(()), tmp_path / "file")


@pytest.mark.parametrize("text", ["bug", "".join(HOSTILE[:6])])
def test_a_report_is_read_back_as_it_was(text: str) -> None:
    """Rows that agree have no texts in it; all others are whole."""
    report = report_of(every_kind(text))
    back = from_json(to_json(report), where="report.json")
    assert (back.record, back.outcome) == (report.record, report.outcome)
    assert back.results[1:6] == report.results[1:6]
    assert [one.agrees for one in back.results] == [one.agrees for one in report.results]
    assert to_json(back) == to_json(report)


def test_a_run_without_a_row_has_a_report(tmp_path: Path) -> None:
    """It ended before its first row: UNKNOWN, with the reason and what to do."""
    report = GateReport(record(GateVerdict.UNKNOWN, "the key is refused", numbers=(), asked_rows=0), (), None)
    files = write_reports(report, tmp_path)
    assert read_report_file(files[1]) == report
    assert all("the key is refused" in one.read_text() for one in files)


def test_texts_of_a_report_are_cut_and_bounded() -> None:
    rows = tuple(row(number, "bug", answer("bug", text="x" * 9000), answer("other")) for number in range(1100))
    found = json.loads(to_json(report_of(rows)))
    assert len(found["rows"]) == 1100
    assert sum(one["input"] is not None for one in found["rows"]) == 1000
    assert len(found["rows"][0]["prod"]["text"]) == 4000


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ({"format": 2}, "format 2; this version reads 1"),
        ({"rows": 3}, "rows must be a list of objects"),
        ({"gate": None}, "gate: not a JSON object"),
        ({"floor": {}}, "floor: rows must be a whole number"),
        ({"rows": [{}]}, "rows: id must be a text"),
    ],
)
def test_a_damaged_report_is_refused_by_its_field(damage: dict[str, object], said: str) -> None:
    document = json.loads(to_json(report_of(every_kind("bug"))))
    with pytest.raises(BadDocument, match=said):
        from_json(json.dumps({**document, **damage}).encode(), where="report.json")


def test_a_file_that_is_no_report_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text("<html>")
    with pytest.raises(BadDocument, match=r"report\.json: not JSON"):
        read_report_file(file)
    with pytest.raises(BadSettings, match="No such file"):
        read_report_file(tmp_path / "none.json")
