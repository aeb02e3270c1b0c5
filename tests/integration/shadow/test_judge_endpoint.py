"""A judge over real HTTP, by both protocols: what it sends, and what becomes of each misfortune."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, Refused
from killswitch.net.credentials import Secret
from killswitch.shadow.judge.endpoint import Api, AskFailed, JudgeEndpoint, Reply, SpendLimitReached
from killswitch.shadow.judge.opening import open_judge, waiting_pairs
from killswitch.shadow.judge.prompt import question
from killswitch.shadow.judge.settings import JudgeSettings, judge_settings
from killswitch.shadow.judge.texts import PairTexts
from killswitch.shadow.judge.verdicts import read_findings
from tests.doubles.http_double import Answer
from tests.doubles.judge_server import USAGE, JudgeServer

ASKED = question("Is it?", ("plain", "GOOD"), rubric="be right", draw=Random(1))
NOW = 1_790_000_000.0
KEY = "sk-judge-key-number-one"


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with JudgeServer() as running:
        yield running


def endpoint(server: JudgeServer, api: Api = "openai", **more: Any) -> JudgeEndpoint:
    return JudgeEndpoint(server.url, "claude-judge", protocol=api, **more)


def asked_once(server: JudgeServer, api: Api = "openai", **more: Any) -> Reply | AskFailed:
    return endpoint(server, api, **more).ask(ASKED, Deadline(5))


def test_chat_completions_are_asked_as_the_api_wants(server: JudgeServer) -> None:
    reply = asked_once(server, max_output_tokens=300)
    assert isinstance(reply, Reply)
    assert json.loads(reply.text)["verdict"] == "B"
    assert (reply.model, reply.usage) == ("claude-judge-1", USAGE["chat"])
    (request,) = server.received
    body = request.json()
    assert (request.path, body["model"], body["temperature"]) == ("/v1/chat/completions", "claude-judge", 0.0)
    assert body["max_tokens"] == 300
    assert [message["role"] for message in body["messages"]] == ["system", "user"]


def test_messages_are_asked_as_the_api_wants(server: JudgeServer, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    reply = asked_once(server, "anthropic", key=Secret.from_file(tmp_path / "key"), temperature=None)
    assert isinstance(reply, Reply)
    assert reply.usage == USAGE["messages"]
    (request,) = server.received
    body = request.json()
    assert request.path == "/v1/messages"
    assert request.headers["x-api-key"] == KEY
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in request.headers
    assert isinstance(body["system"], str)
    assert [message["role"] for message in body["messages"]] == ["user"]
    assert "temperature" not in body


def test_a_new_key_in_the_file_is_used_with_the_next_call(server: JudgeServer, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    judge = endpoint(server, key=Secret.from_file(tmp_path / "key"))
    judge.ask(ASKED, Deadline(5))
    (tmp_path / "key").write_text("sk-judge-key-number-two")
    judge.ask(ASKED, Deadline(5))
    sent = [request.headers["authorization"] for request in server.received]
    assert sent == [f"Bearer {KEY}", "Bearer sk-judge-key-number-two"]


def error(status: int, code: str = "", **headers: str) -> Answer:
    return Answer(status, json.dumps({"error": {"message": f"it failed: {code}", "code": code}}).encode(), headers)


@pytest.mark.parametrize(
    ("answer", "again", "billed"),
    [
        (error(429, "rate_limit_exceeded"), True, False),
        (error(503), True, False),
        (error(529, "overloaded_error"), True, False),
        (error(500), True, True),
        (error(502), True, True),
        (error(400, "content_filter"), False, False),
        (error(413, "context_length_exceeded"), False, False),
        (Answer(lost=True), False, True),
        (Answer(body=b"<html>maintenance</html>"), False, True),
        (Answer(body=b'{"choices": [{"message": {"cont'), False, True),
        (Answer(body=b'{"choices": []}'), False, True),
        (Answer(body=b'{"choices": [{"message": null}]}'), False, True),
        (Answer(body=b"[]"), False, True),
        (Answer(body=b'{"content": "no blocks"}'), False, True),
        (Answer(body=b"\xff\xfe"), False, True),
        (Answer(body=b"[" * 200_000), False, True),
        (Answer(body=b"x" * 2_000_000), False, True),
    ],
)
@pytest.mark.parametrize("api", ["openai", "anthropic"])
def test_a_call_without_a_usable_reply_fails_alone(
    server: JudgeServer, api: Api, answer: Answer, again: bool, billed: bool
) -> None:
    server.answer_next(answer)
    failed = asked_once(server, api)
    assert isinstance(failed, AskFailed)
    assert (failed.again, failed.billed) == (again, billed)
    assert len(server.received) == 1  # never asked again by itself


@pytest.mark.parametrize(
    "answer",
    [
        error(429, "insufficient_quota"),
        error(429, "project_spend_limit_exceeded"),
        error(429, "billing_hard_limit_reached"),
        error(402),
        error(400, "budget_exceeded"),
        Answer(400, b'{"error": {"message": "Your credit balance is too low to access the API."}}'),
    ],
)
def test_a_refusal_for_money_stops_the_judge_in_plain_words(server: JudgeServer, answer: Answer) -> None:
    server.answer_next(answer)
    with pytest.raises(SpendLimitReached, match="out of money or quota"):
        asked_once(server)


@pytest.mark.parametrize(
    ("answer", "kind", "fix"),
    [
        (error(401, "invalid_api_key"), AccessDenied, "check the credentials"),
        (error(403), AccessDenied, "check the credentials"),
        (error(404, "model_not_found"), Refused, "check the judge's `url` and `model`"),
        (error(400, "Unsupported parameter: temperature"), Refused, "set `temperature: null`"),
        (error(400, "use max_completion_tokens instead"), Refused, "tokens_field"),
        (Answer(302, b"", {"Location": "/elsewhere"}), Refused, "final address"),
    ],
)
def test_what_must_be_fixed_stops_the_judge_with_the_fix(
    server: JudgeServer, answer: Answer, kind: type[Exception], fix: str
) -> None:
    server.answer_next(answer)
    with pytest.raises(kind, match=fix):
        asked_once(server)


def test_the_longest_wait_is_read_from_a_429(server: JudgeServer) -> None:
    server.answer_next(error(429, **{"Retry-After": "7"}))
    failed = asked_once(server)
    assert isinstance(failed, AskFailed)
    assert failed.retry_after == 7.0


def test_a_server_that_hangs_holds_a_call_for_its_deadline(server: JudgeServer) -> None:
    server.hang()
    failed = endpoint(server, timeout=0.2).ask(ASKED, Deadline(60))
    server.release()
    assert isinstance(failed, AskFailed)
    assert (failed.again, failed.billed) == (False, True)
    assert "in time" in failed.why


def test_nobody_there_is_a_failure_that_cost_nothing(server: JudgeServer) -> None:
    with JudgeServer() as gone:
        judge = endpoint(gone)
    failed = judge.ask(ASKED, Deadline(5))
    assert isinstance(failed, AskFailed)
    assert not failed.billed


def test_why_a_call_failed_repeats_no_answer(server: JudgeServer) -> None:
    """It is kept, and servers repeat what they refuse."""
    body = {"error": {"code": "content_filter", "message": "refused: GOOD"}}
    server.answer_next(Answer(400, json.dumps(body).encode()), Answer(500, b"cannot parse GOOD"))
    said = [asked_once(server), asked_once(server)]
    assert [one.why.partition("answered ")[2] for one in said if isinstance(one, AskFailed)] == [
        "400 (content_filter)",
        "500",
    ]


def test_the_key_is_in_no_message_and_no_log(
    server: JudgeServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Servers repeat what they were sent."""
    caplog.set_level(logging.DEBUG)
    (tmp_path / "key").write_text(KEY)
    judge = endpoint(server, key=Secret.from_file(tmp_path / "key"))
    for status in (400, 429, 500, 401):
        server.answer_next(Answer(status, f"bad key Bearer {KEY}".encode()))
    said = [str(judge.ask(ASKED, Deadline(5))) for _ in range(3)]
    with pytest.raises(AccessDenied) as denied:
        judge.ask(ASKED, Deadline(5))
    assert not [text for text in (*said, str(denied.value), repr(judge), caplog.text) if KEY in text]


def settings(server: JudgeServer, **more: Any) -> JudgeSettings:
    return judge_settings({"model": "claude-judge", "url": server.url, "share": 1.0, "repeat_share": 0.0, **more})


def test_waiting_pairs_are_judged_and_their_texts_deleted(server: JudgeServer, tmp_path: Path) -> None:
    waiting = waiting_pairs(tmp_path, "support", share=1.0)
    for number in range(6):
        answers = ("plain", "GOOD") if number % 2 else ("GOOD", "plain")
        waiting.put(PairTexts(f"r{number}", NOW, 1, "gpt-new", f"question {number}", *answers))
    server.answer_next(error(429, **{"Retry-After": "0"}), error(503))
    with open_judge(settings(server), tmp_path, "support", wall=lambda: NOW, pause=lambda _: False) as judge:
        run = judge.judge_waiting()
    assert (run.pairs, run.calls, run.stopped) == (6, 12, "")
    assert list(waiting.take()) == []
    found = read_findings(tmp_path, "support", generation=1, candidate="gpt-new")
    assert found is not None
    assert sorted(found.scores.values()) == [0.0] * 3 + [1.0] * 3
    assert read_findings(tmp_path, "support", generation=2) is not None
    assert read_findings(tmp_path, "support", generation=2).counts.judged == 0  # type: ignore[union-attr]
    assert len(server.asked) == 14


def test_a_spend_code_ends_the_run_and_leaves_the_pairs(server: JudgeServer, tmp_path: Path) -> None:
    waiting = waiting_pairs(tmp_path, "support", share=1.0)
    for number in range(4):
        waiting.put(PairTexts(f"r{number}", NOW, 1, "gpt-new", "q", "plain", "GOOD"))
    with open_judge(settings(server), tmp_path, "support", wall=lambda: NOW) as judge:
        server.tell = lambda number: server.answer_next(error(429, "insufficient_quota")) if number == 4 else None
        run = judge.judge_waiting()
    assert run.stopped_by == "refused"
    assert "out of money or quota" in run.stopped
    assert (len(list(waiting.take())), run.skipped["refused"], len(server.asked)) == (3, 3, 4)
    found = read_findings(tmp_path, "support")
    assert found is not None
    assert found.counts.judged == 1


def test_labels_calibrate_the_judge(server: JudgeServer, tmp_path: Path) -> None:
    """A judge that agrees with people on sixty pairs, and with itself, may gate; a changed label asks no one again."""
    lines = [
        {"request": f"q{number}", "control": f"plain {number}", "candidate": f"GOOD {number}", "label": "candidate"}
        for number in range(40)
    ]
    lines += [
        {**line, "control": line["candidate"], "candidate": line["control"], "label": "control"} for line in lines
    ]
    path = tmp_path / "labels.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with open_judge(settings(server, repeat_share=1.0), tmp_path, "support", wall=lambda: NOW) as judge:
        judge.judge_labels(path)
        asked = len(server.asked)
        found = read_findings(tmp_path, "support")
        assert found is not None
        assert (found.gates, found.scores) == (True, {})
        assert found.calibration.people.kappa == pytest.approx(1.0)
        path.write_text("".join(json.dumps({**line, "label": "tie"}) + "\n" for line in lines))
        judge.judge_labels(path)
    assert (asked, len(server.asked)) == (320, 320)
    found = read_findings(tmp_path, "support")
    assert found is not None
    assert found.calibration.people.share == 0.0
    assert not found.gates
