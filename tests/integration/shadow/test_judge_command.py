"""``killswitch shadow judge`` as a person types it, with a judge behind real HTTP and pairs from each source."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from killswitch.cli.app import app
from killswitch.router.shadow.raw_pair import RawAnswer, RawPair, to_line
from killswitch.shadow.judge.opening import waiting_pairs
from killswitch.shadow.judge.texts import PairTexts
from killswitch.shadow.judge.verdicts import read_findings
from killswitch.shadow.record import PairRecord, Side
from killswitch.spend.ledger import Ledger
from tests.doubles.http_double import Answer
from tests.doubles.judge_server import JudgeServer
from tests.doubles.own_calendar import wall


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with JudgeServer() as running:
        yield running


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(
        app, ["shadow", "judge", "support", "--records", str(folder), *arguments], env={"COLUMNS": "250"}
    )


def judge(folder: Path, server: JudgeServer, *arguments: str, **more: Any) -> Result:
    settings = {"model": "claude-judge", "url": server.url, "share": 1, "repeat_share": 0, **more}
    (folder / "support").mkdir(exist_ok=True)
    (folder / "judge.json").write_text(json.dumps({"judge": settings}))
    return run(folder, "--judge", str(folder / "judge.json"), *arguments)


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store at the usual address may have caps of the judge's, which then asks for prices."""
    monkeypatch.setenv("KILLSWITCH_STORE", f"sqlite:///{tmp_path}/store.db")


def put(folder: Path, number: int, *, candidate: str = "gpt-new") -> None:
    waiting = waiting_pairs(folder, "support", share=1.0)
    waiting.put(PairTexts(f"r{number}", time.time(), 1, candidate, "what?", "plain", "GOOD"))


SIDE = Side(
    model="gpt-new", outcome="ok", seconds=1.0, first_token_seconds=None, refused=False, finish_reason="stop", error="",
    status=None, input_tokens=None, cached_tokens=None, output_tokens=None, reasoning_tokens=None, cost_micros=None,
    characters=4, words=1, opening="", language="en", headings=0, tables=0, list_items=0, code_blocks=0,
    citations="none", json="none", tool_calls=0,
)  # fmt: skip


def record(number: int, *, kind: str = "candidate", identical: bool = False, texts: bool = True) -> dict[str, Any]:
    pair = PairRecord(
        pair=f"k{number}", rollout="support", generation=1, at=time.time(), kind=kind, prompt_class="", user="",
        prompt="", turn=1, concurrent=False, streamed=False, control=SIDE, other=SIDE, comparable=True,
        not_comparable="", identical=identical, similarity=0.5, equivalent=False, differences=(),
        prompt_text="what?" if texts else None, control_text="plain" if texts else None,
        other_text="GOOD" if texts else None,
    )  # fmt: skip
    flat = asdict(pair)
    sides = {f"{side}_{name}": value for side in ("control", "other") for name, value in flat.pop(side).items()}
    return {**flat, **sides}


def test_it_says_what_the_judge_found(server: JudgeServer, tmp_path: Path) -> None:
    for number in range(3):
        put(tmp_path, number)
    done = judge(tmp_path, server)
    assert done.exit_code == 0, done.output
    assert "claude-judge judged 3 pairs: canary 3, tie 0, control 0; win rate 100.0%" in done.stdout
    assert "the win rate decides nothing: 0 pairs with people's labels, 50 are needed" in done.stdout
    document = json.loads(judge(tmp_path, server, "--json").stdout)
    assert document["findings"]["counts"]["wins"] == 3
    assert document["findings"]["gates"] is False
    assert len(server.asked) == 6


def test_nothing_to_judge_is_said(server: JudgeServer, tmp_path: Path) -> None:
    done = judge(tmp_path, server)
    assert done.exit_code == 0
    assert "judged 0 pairs" in done.stdout
    assert "no pair waits for the judge" in done.stdout
    assert server.asked == []


def test_an_unknown_rollout_is_refused(tmp_path: Path) -> None:
    """Nothing is written under a mistyped name, and the names that have pairs are shown."""
    (tmp_path / "suport").mkdir()
    done = run(tmp_path, "--model", "claude-judge", "--url", "http://127.0.0.1:9/v1")
    assert done.exit_code == 2
    assert "no recorded pairs of 'support'; rollouts with pairs there: suport" in done.stderr
    assert not (tmp_path / "support").exists()


def test_pairs_are_written_for_people_and_read_as_labels(server: JudgeServer, tmp_path: Path) -> None:
    """The judge asks no one meanwhile, and a line without a label is left out later."""
    for number in range(3):
        put(tmp_path, number)
    file = tmp_path / "labels.jsonl"
    done = judge(tmp_path, server, "--write-pairs-to-label", str(file))
    assert done.exit_code == 0, done.output
    assert (server.asked, file.stat().st_mode & 0o777) == ([], 0o600)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert lines == [{"request": "what?", "control": "plain", "candidate": "GOOD", "label": ""}] * 3
    file.write_text(
        "".join(
            json.dumps(line | {"label": label}) + "\n" for line, label in zip(lines, ("candidate", "", ""), strict=True)
        )
    )
    assert judge(tmp_path, server, "--labels", str(file)).exit_code == 0
    found = read_findings(tmp_path, "support")
    assert found is not None
    assert found.calibration.people.items == 1
    again = judge(tmp_path, server, "--write-pairs-to-label", str(file))
    assert again.exit_code == 2
    assert "may hold labels; name a new file" in again.stderr


def test_nothing_to_label_is_said(tmp_path: Path) -> None:
    (tmp_path / "support").mkdir()
    done = run(tmp_path, "--write-pairs-to-label", str(tmp_path / "labels.jsonl"))
    assert done.exit_code == 1
    assert "run the worker with --judge-share" in done.stderr
    assert not (tmp_path / "labels.jsonl").exists()


def test_follow_judges_what_comes_until_it_is_stopped(
    server: JudgeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, 1)
    waits: list[float] = []

    def wait(_: object, seconds: float) -> bool:
        waits.append(seconds)
        put(tmp_path, 1 + len(waits))
        return len(waits) == 3

    monkeypatch.setattr("killswitch.cli.stopping.StopSignal.wait", wait)
    done = judge(tmp_path, server, "--follow")
    assert done.exit_code == 0, done.output
    found = read_findings(tmp_path, "support")
    assert found is not None
    assert set(found.scores) == {"r1", "r2", "r3"}
    assert waits == [10.0, 10.0, 10.0]


def test_settings_that_are_wrong_are_named_and_nothing_is_asked(server: JudgeServer, tmp_path: Path) -> None:
    done = judge(tmp_path, server, protocol="soap", rubrik="be nice")
    assert done.exit_code == 2
    assert "protocol" in done.stderr
    assert "did you mean rubric?" in done.stderr
    assert run(tmp_path).exit_code == 2


def test_a_candidate_of_the_judges_family_exits_with_2(
    server: JudgeServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, 1, candidate="bedrock/anthropic.claude-haiku")
    done = judge(tmp_path, server)
    assert (done.exit_code, server.asked) == (2, [])
    assert "both of the family anthropic" in done.stderr
    insisted = judge(tmp_path, server, "--insist")
    assert insisted.exit_code == 0
    assert caplog.text.count("expect it to prefer the canary") == 1


def test_a_judge_without_money_exits_with_1_and_keeps_the_pairs(server: JudgeServer, tmp_path: Path) -> None:
    put(tmp_path, 1)
    server.answer_next(Answer(429, b'{"error": {"code": "insufficient_quota"}}'))
    done = judge(tmp_path, server)
    assert done.exit_code == 1
    assert "the judge's account is out of money or quota" in done.stdout
    assert judge(tmp_path, server).exit_code == 0
    assert len(server.asked) == 3


def test_pairs_that_waited_too_long_are_deleted_unjudged(server: JudgeServer, tmp_path: Path) -> None:
    put(tmp_path, 1)
    time_to_live = 1e-9
    done = judge(tmp_path, server, wait_hours=time_to_live)
    assert "1 pair waited over `wait_hours`" in done.stderr
    assert server.asked == []


def test_recorded_pairs_with_kept_texts_are_judged(server: JudgeServer, tmp_path: Path) -> None:
    """An identical pair needs no texts. Those whose texts were not kept are counted, and keep it from gating."""
    day = tmp_path / "support" / "2026-11-29"
    day.mkdir(parents=True)
    records = [record(1), record(2, identical=True, texts=False), record(3, texts=False), record(4, kind="noise")]
    (day / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    done = judge(tmp_path, server, "--kept")
    assert done.exit_code == 0, done.output
    found = read_findings(tmp_path, "support")
    assert found is not None
    assert found.scores == {"k1": 1.0, "k2": 0.5}
    assert found.counts.skipped == {"no_texts": 1}
    assert (found.calibration.lost, found.calibration.finished) == (1, 3)
    assert "because their texts were not kept" in done.stdout
    judge(tmp_path, server, "--kept")
    assert len(server.asked) == 2


PRICES = {"prices": [{"model": "claude-judge", "valid_from": "2020-01-01", "input": 3, "output": 15}]}


def test_a_cap_in_dollars_ends_the_judging_and_is_held(
    server: JudgeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question is reserved with 14 cents and settled with 0.33: a cap of 16 cents has room for six or seven."""
    monkeypatch.setattr("killswitch.shadow.judge.spending.Ledger", partial(Ledger, wall=wall))  # no day ends
    (tmp_path / "prices.json").write_text(json.dumps(PRICES))
    for number in range(10):
        put(tmp_path, number)
    money = {"max_dollars_a_day": 0.16, "prices_file": str(tmp_path / "prices.json")}
    store = f"sqlite://{tmp_path}/store.sqlite"
    done = judge(tmp_path, server, "--store", store, **money)
    assert done.exit_code == 0, done.output
    assert "because the spend cap was reached" in done.stdout
    assert "the cap of judge:support per day has no room" in done.stdout
    assert 4 <= len(server.asked) <= 8
    asked = len(server.asked)
    judge(tmp_path, server, "--store", store, **money)
    assert len(server.asked) == asked
    shown = CliRunner().invoke(app, ["spend", "--store", store, "--json"])
    (scope,) = json.loads(shown.stdout)["scopes"]
    assert (scope["scope"], scope["hard_micros"]) == ("judge:support", 160_000)
    assert scope["used_micros"] == scope["spent_micros"] <= 160_000


def test_a_price_that_nobody_knows_asks_no_one(server: JudgeServer, tmp_path: Path) -> None:
    (tmp_path / "prices.json").write_text(json.dumps({"prices": [{**PRICES["prices"][0], "model": "another"}]}))
    put(tmp_path, 1)
    money = {"max_dollars_a_day": 5, "prices_file": str(tmp_path / "prices.json")}
    done = judge(tmp_path, server, "--store", f"sqlite://{tmp_path}/store.sqlite", **money)
    assert "no price of 'claude-judge' is known" in done.stdout
    assert server.asked == []


def test_raw_pairs_reach_the_judge_through_the_worker(server: JudgeServer, tmp_path: Path) -> None:
    """The worker compares and drops the texts; what it let wait is judged, and the report may read the verdicts."""
    pairs = [
        RawPair(
            f"r{number}", "support", 1, time.time(), "candidate", {"messages": [{"role": "user", "content": "what?"}]},
            RawAnswer("gpt-old", "ok", 1.0, "plain"), RawAnswer("gpt-new", "ok", 1.0, "GOOD, write to a@example.com"),
        )
        for number in range(3)
    ]  # fmt: skip
    spool, records = tmp_path / "spool", tmp_path / "records"
    spool.mkdir(mode=0o700)
    (spool / f"{int(time.time() * 1000)}-1-0.raw").write_bytes(b"".join(map(to_line, pairs)))
    worker = ["shadow", "worker", "--spool", str(spool), "--records", str(records), "--format", "jsonl", "--once"]
    done = CliRunner().invoke(app, [*worker, "--judge-share", "1"])
    assert done.exit_code == 0, done.output
    assert judge(records, server).exit_code == 0
    found = read_findings(records, "support")
    assert found is not None
    assert found.scores == {"r0": 1.0, "r1": 1.0, "r2": 1.0}
    assert {request for request, _, _ in server.asked} == {"what?"}
    assert not [one for one in server.asked if "example.com" in "".join(one)]
    report = ["shadow", "report", "support", "--records", str(records), "--until", str(time.time() + 9), "--json"]
    said = CliRunner().invoke(app, report)
    assert said.exit_code in (0, 1, 3), said.output
    shown = json.loads(said.stdout)
    assert "the win rate decides nothing" in json.dumps(shown["judge"])
