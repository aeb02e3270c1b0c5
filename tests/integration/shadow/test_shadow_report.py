"""The report from files of records, as a person asks for it: ``killswitch shadow report``."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from typer.testing import CliRunner

from bench.shadow_report import make_pairs
from killswitch.cli.app import app
from killswitch.router.shadow.raw_pair import Dropped
from killswitch.shadow.record import PairRecord
from killswitch.shadow.report import queries
from killswitch.shadow.sinks import Batch
from killswitch.shadow.sinks.record_files import RecordFiles
from tests.doubles.pair_records import BEGAN, pair, write_lines

ROLLOUT = "support"
RULES = "rollout: support\ncontrol: sol-4\ncanary: sol-5\nmetrics: cohort-labels\npage: {slack: '#oncall'}\n"


def report(source: Path | str, *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    done = CliRunner().invoke(app, ["shadow", "report", ROLLOUT, "--records", str(source), *arguments])
    return done.exit_code, done.stdout, done.stderr


def document(source: Path, *arguments: str) -> dict[str, Any]:
    code, out, problems = report(source, "--json", *arguments)
    assert code in (0, 1, 3), problems
    found: dict[str, Any] = json.loads(out)
    return found


def as_parquet(lines: Path) -> Path:
    """The same records as a Parquet file next to the file of lines, which goes."""
    target = lines.with_suffix(".parquet")
    connection = duckdb.connect()
    connection.read_json(str(lines), format="newline_delimited").write_parquet(str(target))
    lines.unlink()
    return target


def friendly(number: int) -> PairRecord:
    """The canary opens with "I'd be happy", in several spellings, in 84 of 100 answers, control in 11."""
    happy = ("I'd be happy to help you with that", "I'D BE HAPPY to", "**I'd be happy** to show you")[number % 7 % 3]
    usual = ("Your parcel is on its way", "The refund was sent", "You can change it here")[number % 3]
    noise = number % 10 == 9
    canary = happy if number * 37 % 100 < (11 if noise else 84) else usual
    control = {"opening": happy if number * 53 % 100 < 11 else usual}
    return pair(number, kind="noise" if noise else "candidate", control=control, other_opening=canary)


def shown(lines: Sequence[str], word: str) -> str:
    return next(line for line in lines if line.startswith(word))


def test_the_tone_of_84_against_11_percent_is_no_go(tmp_path: Path) -> None:
    """Within the pairs of minutes, and said with both shares in all three forms."""
    write_lines(tmp_path, map(friendly, range(600)))
    page = tmp_path / "report.html"
    code, out, _ = report(tmp_path, "--html", str(page))
    assert code == 1
    assert out.startswith("NO GO: support, sol-5 against sol-4\n")
    tone = shown(out.splitlines(), "tone")
    assert re.search(r"“i'd be happy” opens 8[345]\.\d% against 1[0-2]\.\d% of answers", tone)
    assert "under 1 in a million by chance" in " ".join(out.split())
    assert "I&#x27;D BE HAPPY to" in page.read_text("utf-8")
    assert page.stat().st_mode & 0o777 == 0o600
    grown = document(tmp_path)["tone"]
    assert grown["grown"] == "i'd be happy"
    assert len(grown["examples"]) == 5


def test_answers_cut_at_the_limit_are_shown_both_ways(tmp_path: Path) -> None:
    """As often as refusals, in all three forms, next to control with itself; a canary that is cut more is NO GO."""
    cut: dict[str, Any] = {"other_finish_reason": "length"}
    pairs = [pair(number, **(cut if number % 10 == 0 else {})) for number in range(600)]
    pairs += [pair(1_000 + number, control={"finish_reason": "max_tokens"}) for number in range(4)]
    pairs += [pair(2_000 + number, kind="noise", **(cut if number == 0 else {})) for number in range(60)]
    pairs += [pair(3_000, control={"finish_reason": ""}), pair(3_001, kind="noise", other_finish_reason="")]
    write_lines(tmp_path, pairs)
    page = tmp_path / "report.html"
    code, out, _ = report(tmp_path, "--html", str(page))
    assert code == 1
    assert out.startswith("NO GO: ")
    assert "only the canary 60 (9.9%, floor 1.7%), only control 4 (0.66%, floor 0.0%)" in shown(out.splitlines(), "cut")
    found = document(tmp_path)
    canary = {"pairs": 604, "both": 0, "control_only": 4, "candidate_only": 60, "unknown": 1}
    again = {"pairs": 60, "both": 0, "first_only": 0, "second_only": 1, "unknown": 1}
    assert found["cut"] == canary | {f"noise_{name}": number for name, number in again.items()}
    (row,) = (one for one in found["decided"]["criteria"] if one["measure"] == "format")
    assert row["standing"] == "FAIL"
    assert "only the canary cut" in page.read_text("utf-8")


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    """In whatever format and order they are: lines, Parquet, and one of each."""
    records = [friendly(number) for number in range(300)]
    write_lines(tmp_path / "lines", records)
    as_parquet(write_lines(tmp_path / "parquet", reversed(records)))
    write_lines(tmp_path / "mixed", records[:100], name="a.jsonl")
    as_parquet(write_lines(tmp_path / "mixed", records[100:], day="2026-04-20", name="b.jsonl"))
    printed = {report(tmp_path / kind, "--json")[1] for kind in ("lines", "parquet", "mixed")}
    assert len(printed) == 1
    assert json.loads(printed.pop())["counts"]["asked"] == 270


def test_a_canary_like_control_is_not_yet_and_says_how_many_more(tmp_path: Path) -> None:
    noise = (pair(1_000 + number, kind="noise") for number in range(60))
    write_lines(tmp_path, [*(pair(number) for number in range(400)), *noise])
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES + "shadow: {criteria: {latency_p95: false}}\n")
    code, out, _ = report(tmp_path, "--rules", str(rules))
    assert code == 3
    assert re.match(r"NOT YET, about [\d,]+ more pairs needed, about \d+ (minute|hour)s? at this traffic: support", out)


def test_a_proven_canary_is_go(tmp_path: Path) -> None:
    """With criteria from a file, so that few pairs prove them."""
    rules = tmp_path / "rules.yaml"
    off = ("similarity", "equivalent", "facts", "tool_calls", "language", "errors", "openings", "latency_p95")
    criteria = {"refusals": "20pp", "format": "20pp", **dict.fromkeys(off, False)}
    rules.write_text(RULES + f"shadow: {json.dumps({'criteria': criteria})}\n")
    noise = (pair(1_000 + number, kind="noise") for number in range(60))
    write_lines(tmp_path, [*(pair(number) for number in range(600)), *noise])
    code, out, problems = report(tmp_path, "--rules", str(rules))
    assert (code, out[:3]) == (0, "GO:"), problems


def test_one_file_says_nothing_of_drops_so_it_is_no_go(tmp_path: Path) -> None:
    """Unless a person says that nothing was dropped."""
    rules = tmp_path / "rules.yaml"
    on = {"refusals": "20pp"}
    off = dict.fromkeys(("similarity", "equivalent", "facts", "tool_calls", "language", "errors", "openings"), False)
    criteria = {**on, **off, "latency_p95": False, "format": False}
    rules.write_text(RULES + f"shadow: {json.dumps({'criteria': criteria})}\n")
    file = write_lines(tmp_path, (pair(number) for number in range(600)))
    found = document(file, "--rules", str(rules))
    assert found["decided"]["verdict"] == "NOT_YET"
    assert "what was dropped is unknown" in found["decided"]["sentence"]
    assert document(file, "--rules", str(rules), "--ignore-drops")["decided"]["verdict"] == "GO"
    assert document(tmp_path, "--rules", str(rules))["decided"]["verdict"] == "GO"


def test_pairs_that_differ_are_worst_first_by_class(tmp_path: Path) -> None:
    """A class with one pair, however bad, does not lead the list."""

    def made(number: int) -> PairRecord:
        billing = number % 4 == 0
        bad = billing and number % 8 == 0
        return pair(
            number,
            kind="noise" if number % 10 == 9 else "candidate",
            prompt_class="billing" if billing else "orders",
            equivalent=not bad,
            differences=("number",) if bad else (),
        )

    alone = pair(9_999, prompt_class="rare", equivalent=False, differences=("url",))
    write_lines(tmp_path, [*map(made, range(800)), alone])
    rows = document(tmp_path)["classes"]
    assert [row["name"] for row in rows] == ["billing", "rare", "orders"]
    assert rows[0]["main_difference"] == "number"
    assert rows[0]["different"]["candidate"] == {"events": 100, "trials": 200, "share": 0.5}
    assert rows[1]["worst_case"] < rows[0]["worst_case"]


def test_what_was_dropped_is_in_the_denominator(tmp_path: Path) -> None:
    lines = write_lines(tmp_path, (pair(number) for number in range(100)))
    drops = [
        {"format": 1, "rollout": ROLLOUT, "at": BEGAN, "reasons": {"queue_full": 30, "timeout": 20}},
        {"format": 1, "rollout": ROLLOUT, "at": BEGAN - 7_200, "reasons": {"queue_full": 1_000}},
        {"format": 1, "rollout": "other", "at": BEGAN, "reasons": {"queue_full": 1_000}},
    ]
    (lines.parent / "dropped-1.jsonl").write_text("".join(json.dumps(drop) + "\n" for drop in drops))
    found = document(tmp_path, "--since", "1h")
    assert found["counts"]["dropped"] == {"queue_full": 30, "timeout": 20}
    assert found["counts"]["sampled"] == 150
    assert "left no pair" in found["decided"]["sentence"]


def test_an_age_counts_back_from_the_newest_pair(tmp_path: Path) -> None:
    write_lines(tmp_path, (pair(number) for number in range(0, 7_200, 10)))
    assert document(tmp_path, "--since", "1h")["counts"]["asked"] == 361
    assert document(tmp_path, "--until", str(BEGAN + 100))["counts"]["asked"] == 10


def test_pairs_that_are_not_settled_are_left_out(tmp_path: Path) -> None:
    """Of the newest pairs only the quick answers are recorded: a canary that times out would look well."""
    newest = time.time() + 3_600
    write_lines(tmp_path, [pair(0), pair(1), pair(2, at=newest)])
    found = document(tmp_path)
    assert found["counts"]["asked"] == 2
    assert found["period"]["until"] == BEGAN + 1
    assert document(tmp_path, "--until", str(newest + 1))["counts"]["asked"] == 3


def test_a_record_of_an_impossible_time_is_left_out(tmp_path: Path) -> None:
    write_lines(tmp_path, [pair(0), pair(1, at=1e300), pair(2, at=-5.0)])
    code, out, problems = report(tmp_path, "--until", "9e10", "--html", str(tmp_path / "report.html"))
    assert code == 3, problems
    assert "; 1 asked, " in out


def test_texts_that_do_not_fit_into_memory_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the report says so, instead of failing."""
    kept: dict[str, Any] = {
        "equivalent": False,
        "differences": ("number",),
        "control_text": "five",
        "other_text": "fifty",
    }
    write_lines(tmp_path, [pair(0, **kept)])
    whole = queries._examples

    def out_of_memory(connection: object, text: str | None, *rest: int) -> list[dict[str, Any]]:
        if text is not None:
            raise duckdb.OutOfMemoryException
        return whole(connection, text, *rest)

    assert document(tmp_path)["examples"][0]["candidate"] == "fifty"
    monkeypatch.setattr(queries, "_examples", out_of_memory)
    found = document(tmp_path)
    assert found["texts_left_out"] is True
    assert (found["examples"][0]["pair"], found["examples"][0]["candidate"]) == ("p0", None)


def test_what_the_worker_writes_is_what_the_report_reads(tmp_path: Path) -> None:
    """Pairs and drops, as Parquet in a folder and behind a URL."""
    records = tuple(friendly(number) for number in range(100))
    drops = (Dropped(ROLLOUT, BEGAN, {"queue_full": 7}),)
    url = f"memory://{tmp_path.name}"
    for place in (str(tmp_path), url):
        RecordFiles(place).write(Batch("1776600000000-1", ROLLOUT, "2026-04-19", records, drops))
    local, remote = document(tmp_path), json.loads(report(url, "--json")[1])
    assert local["counts"]["dropped"] == {"queue_full": 7}
    assert local["counts"]["asked"] == 90
    assert local == remote


def test_a_file_of_an_older_format_is_read_next_to_a_newer_one(tmp_path: Path) -> None:
    """A column that it lacks is unknown, one that nobody knows is left out, and a whole number stays one."""
    old = json.loads(write_lines(tmp_path, [pair(1)], name="a.jsonl").read_text())
    for name in ("other_cost_micros", "concurrent", "other_words"):
        del old[name]
    older = tmp_path / ROLLOUT / "2026-04-18" / "old.jsonl"
    older.parent.mkdir()
    older.write_text("".join(json.dumps(old | {"pair": f"o{number}", "novel": [1]}) + "\n" for number in range(3)))
    as_parquet(older)
    found = document(tmp_path)
    assert found["counts"]["asked"] == 4
    assert (found["cost"]["pairs"], found["cost"]["unknown_pairs"]) == (1, 3)


def test_a_month_costs_what_the_requests_are(tmp_path: Path) -> None:
    write_lines(tmp_path, (pair(number, other_cost_micros=700) for number in range(0, 3_601, 36)))
    assert document(tmp_path)["cost"]["month_candidate_micros"] is None
    assert document(tmp_path, "--requests-per-month", "1000000")["cost"]["month_candidate_micros"] == 7e8
    by_share = document(tmp_path, "--percent", "10")["cost"]
    assert by_share["requests_per_month"] == pytest.approx(101 / 0.10 * 720, rel=1e-3)


def test_without_noise_pairs_nothing_is_said_of_the_floor(tmp_path: Path) -> None:
    write_lines(tmp_path, (pair(number, equivalent=number % 2 == 0) for number in range(50)))
    found = document(tmp_path)
    different = found["agreement"][2]
    assert different["candidate"]["share"] == 0.5
    assert different["noise"]["share"] is None
    assert different["excess"] is None


def test_a_folder_without_pairs_says_what_was_expected(tmp_path: Path) -> None:
    code, _, problems = report(tmp_path)
    assert code == 2
    assert "has no recorded pairs of 'support'; rollouts with pairs there: none; expected" in " ".join(problems.split())


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    bad = write_lines(tmp_path, [pair(1)])
    bad.write_text("{broken")
    code, _, problems = report(tmp_path)
    assert code == 2
    assert "cannot be read" in problems


def test_pairs_of_the_last_minute_are_counted_and_asked_for(tmp_path: Path) -> None:
    write_lines(tmp_path, [pair(number, at=time.time() - 1) for number in range(3)])
    _, out, said = report(tmp_path)
    assert "3 pairs are younger than a minute; wait, or use --until now" in said
    assert shown(out.splitlines(), "NOT YET").endswith("support, no pairs")
    _, out, said = report(tmp_path, "--until", "now")
    assert "3 asked" in out
    assert "younger" not in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--percent", "0"), "--percent 0: must be over 0 and at most 100"),
        (("--until", "24h"), "--until 24h: write 2026-04-19T14:22:11Z, Unix seconds or now"),
        (("--since", "yesterday"), "--since yesterday"),
        (("--since", "24"), "--since 24: as Unix seconds that is in 1970; for an age write its unit, such as 24h"),
        (("--until", "24"), "--until 24: as Unix seconds that is in 1970"),
        (("--generation", "newest"), "--generation newest: write a number such as 7, or all"),
        (("--rules", "missing.yaml"), "missing.yaml"),
        (("--html", "missing/report.html"), "--html missing/report.html: No such file"),
    ],
)
def test_a_wrong_option_says_what_to_write(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    write_lines(tmp_path, [pair(1)])
    code, _, problems = report(tmp_path, *arguments)
    assert code == 2
    assert said in problems.replace("\n", " ")


def test_a_generation_without_pairs_is_named(tmp_path: Path) -> None:
    write_lines(tmp_path, [pair(1)])
    code, out, problems = report(tmp_path, "--generation", "9")
    assert code == 3
    assert "no pairs" in out
    assert "no pair is of generation 9" in problems


def test_records_in_clickhouse_are_exported_first() -> None:
    code, _, problems = report("clickhouse+http://localhost:8123/shadow")
    assert code == 2
    assert "INTO OUTFILE" in problems


def test_without_duckdb_the_extra_is_named(tmp_path: Path) -> None:
    write_lines(tmp_path, [pair(1)])
    program = (
        "import sys; sys.modules['duckdb'] = None; sys.argv[0] = 'killswitch'; from killswitch.cli import main; main()"
    )
    command = [sys.executable, "-c", program, "shadow", "report", ROLLOUT, "--records", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "pip install '.[daemon,shadow]'" in done.stderr.replace("\n", "")


def test_twenty_thousand_pairs_of_a_bad_canary_are_no_go(tmp_path: Path) -> None:
    """The canary changes numbers in one class and opens friendlier: both are found, and nothing else fails."""
    make_pairs(tmp_path, 20_000)
    found = document(tmp_path)
    failed = [row["measure"] for row in found["decided"]["criteria"] if row["standing"] == "FAIL"]
    assert set(failed) == {"facts", "openings"}
    assert found["classes"][0]["name"] == "billing"
    assert found["counts"]["asked"] + found["counts"]["noise_asked"] == 20_000
    assert sum(found["spreads"][0]["control_bins"]) == found["spreads"][0]["control"]["known"]


def refused(number: int, **changes: Any) -> PairRecord:
    usual: dict[str, Any] = {"generation": 7, "other_model": "sol-6", "other_outcome": "refused", "other_refused": True}
    return pair(number, **usual | changes)


def test_an_earlier_candidate_proves_nothing_of_the_newest(tmp_path: Path) -> None:
    """Many good pairs of one generation and few of the next: the report is of the next, as without the first."""
    new = [refused(40_000 + number) for number in range(60)]
    write_lines(tmp_path / "both", [*(pair(number) for number in range(2_000)), *new])
    write_lines(tmp_path / "alone", new)
    both, alone = document(tmp_path / "both"), document(tmp_path / "alone")
    assert both["decided"] == alone["decided"]
    assert both["decided"]["verdict"] == "NO_GO"
    assert (both["period"]["generations"], both["period"]["canary_models"]) == ([7], ["sol-6"])
    assert both["counts"]["left_out"] == {"other generations": 2_000}
    assert "left out: 2,000 other generations" in " ".join(report(tmp_path / "both")[1].split())
    assert document(tmp_path / "both", "--generation", "1")["period"]["canary_models"] == ["sol-5"]


def test_all_generations_are_shown_and_decide_nothing(tmp_path: Path) -> None:
    write_lines(tmp_path, [*(refused(number) for number in range(600)), pair(1_000), pair(1_001, generation=3)])
    found = document(tmp_path, "--generation", "all")
    assert found["decided"]["verdict"] == "NOT_YET"
    assert "of 3 generations, and a verdict is of one; give --generation 7" in found["decided"]["sentence"]
    assert found["counts"]["asked"] == 602


@pytest.mark.parametrize("changes", [{"other_model": "sol-9"}, {"control": {"model": "sol-3"}}])
def test_two_models_in_one_generation_get_no_verdict(tmp_path: Path, changes: dict[str, Any]) -> None:
    write_lines(tmp_path, [*(refused(number) for number in range(600)), refused(900, **changes)])
    found = document(tmp_path)
    assert found["decided"]["verdict"] == "NOT_YET"
    assert "the pairs of one generation are of 2 " in found["decided"]["sentence"]


def test_drops_of_an_earlier_generation_are_not_this_ones(tmp_path: Path) -> None:
    """Nor those of a later one. Drops between two generations' pairs count for both."""
    new = (pair(10_000 + number, generation=2) for number in range(100))
    lines = write_lines(tmp_path, [*(pair(number) for number in range(100)), *new])
    drops = [(BEGAN, 1_000), (BEGAN + 3_600, 20), (BEGAN + 10_080, 3)]
    rows = [{"format": 1, "rollout": ROLLOUT, "at": at, "reasons": {"queue_full": number}} for at, number in drops]
    (lines.parent / "dropped-1.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert document(tmp_path)["counts"]["dropped"] == {"queue_full": 23}
    assert document(tmp_path, "--generation", "1")["counts"]["dropped"] == {"queue_full": 1_000}
    assert document(tmp_path, "--generation", "all")["counts"]["dropped"] == {"queue_full": 1_023}


def test_repeated_ids_and_reused_answers_are_no_evidence(tmp_path: Path) -> None:
    """Each id counts once in each kind of pair, however often it was recorded, and is counted as left out."""
    kinds = ("candidate", "noise")
    made = [pair(number, kind=kind) for number in range(50) for kind in kinds]
    write_lines(tmp_path / "once", made)
    again = [replace(one, at=one.at + 100 * times) for times in range(9) for one in made]
    write_lines(tmp_path / "often", again)
    reused = [pair(1_000 + number, reused=True) for number in range(70)]
    as_parquet(write_lines(tmp_path / "often", reused, name="b.jsonl"))
    once, often = document(tmp_path / "once"), document(tmp_path / "often")
    assert often["decided"] == once["decided"]
    assert (often["counts"]["asked"], often["counts"]["noise_asked"]) == (50, 50)
    assert often["counts"]["left_out"] == {"repeated ids": 800, "reused answers": 70}
