"""What a judge keeps: verdicts as whole lines, pairs that wait as whole private files, people's labels."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.errors import BadDocument, BadSettings, Unavailable
from killswitch.router.shadow.raw_pair import RawAnswer, RawPair, ToolCall
from killswitch.shadow.judge.labels import read_labels
from killswitch.shadow.judge.opening import waiting_pairs
from killswitch.shadow.judge.opinions import JudgedBy, Labels, Opinion, Sweep, from_line, to_line
from killswitch.shadow.judge.sampling import place_of
from killswitch.shadow.judge.texts import last_user_turn, texts_of
from killswitch.shadow.judge.verdict_file import VerdictFile, read_entries, verdict_path
from killswitch.shadow.judge.waiting import WaitingPairs
from tests.unit.shadow.judge.judged_pairs import BY, NOW

OPINION = Opinion("request-1", BY, 0, 0, "verdict", "candidate", NOW, NOW, 1, "gpt-new", "", "claude-judge")


@given(
    st.text(min_size=1),
    st.sampled_from([("verdict", "tie"), ("identical", "tie"), ("invalid", None), ("failed", None)]),
    st.integers(0, 1),
    st.text(),
)
def test_an_opinion_is_one_line_and_comes_back(name: str, what: tuple[Any, Any], order: int, why: str) -> None:
    opinion = replace(OPINION, pair=name, outcome=what[0], preferred=what[1], order=order, why=why, labelled=True)
    line = to_line(opinion)
    assert line.count(b"\n") == 1
    back = from_line(line)
    assert isinstance(back, Opinion)
    assert replace(back, pair="", why="") == replace(opinion, pair="", why="")
    assert back.why == why.encode(errors="replace").decode()


def test_a_sweep_and_labels_come_back() -> None:
    for entry in (Sweep(BY, "kept", NOW, 7, {"budget": 3}, "the cap"), Labels(NOW, {"label/1": "tie"})):
        assert from_line(to_line(entry)) == entry


@pytest.mark.parametrize(
    "changed",
    [
        {"preferred": "A"},
        {"preferred": None},
        {"outcome": "won"},
        {"order": 2},
        {"by": None},
        {"format": 2},
        {"at": "now"},
        {"addressed": "me"},
        {"outcome": "invalid"},
    ],
)
def test_a_line_that_says_anything_else_is_refused(changed: dict[str, Any]) -> None:
    """A damaged line is never a win."""
    with pytest.raises(BadDocument):
        from_line(json.dumps({**json.loads(to_line(OPINION)), **changed}).encode())


def test_a_line_cut_by_a_kill_is_absent_and_the_next_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "judge.jsonl"
    whole = to_line(OPINION)
    for size in (1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole + whole[:size])
        assert list(read_entries(path)) == [OPINION]
        with VerdictFile(path, BY) as file:
            file.append(replace(OPINION, order=1))
        assert list(read_entries(path)) == [OPINION, replace(OPINION, order=1)]


def test_a_line_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    path = tmp_path / "judge.jsonl"
    path.write_bytes(to_line(OPINION) + b"\xff\x00{\n" + to_line(replace(OPINION, order=1)))
    first, broken, last = read_entries(path)
    assert isinstance(first, Opinion)
    assert isinstance(broken, BadDocument)
    assert isinstance(last, Opinion)
    with VerdictFile(path, BY) as file:
        assert not file.needs("request-1", 1)


def test_verdicts_are_for_their_owner_and_one_writer(tmp_path: Path) -> None:
    path = verdict_path(tmp_path, "support")
    with VerdictFile(path, BY) as file:
        file.append(OPINION)
        with pytest.raises(Unavailable, match="another judge"):
            VerdictFile(path, BY)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    VerdictFile(path, BY).close()


def test_verdicts_of_another_judge_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "judge.jsonl"
    with VerdictFile(path, BY) as file:
        file.append(OPINION)
        assert not file.needs("request-1", 0)
        assert file.needs("request-1", 1)
        assert file.needs("request-1", 0, 1)
    with VerdictFile(path, JudgedBy(BY.judge, BY.rubric, BY.version + 1)) as file:
        assert file.needs("request-1", 0)


@pytest.mark.parametrize("name", ["", "..", ".", "a/b", "/etc", "a\0"])
def test_a_rollouts_name_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadSettings):
        verdict_path(tmp_path, name)


def raw(number: int = 1, **changed: Any) -> RawPair:
    request = {"messages": [{"role": "user", "content": f"question {number}?"}]}
    control = RawAnswer("gpt-old", "ok", 1.0, "plain")
    other = RawAnswer("gpt-new", "ok", 1.0, "better")
    return replace(RawPair(f"request-{number}", "support", 3, NOW, "candidate", request, control, other), **changed)


def test_raw_pairs_wait_whole_private_and_in_order(tmp_path: Path) -> None:
    waiting = waiting_pairs(tmp_path, "support", share=1.0)
    assert all(waiting.offer(raw(number)) for number in range(20))
    taken = list(waiting.take())
    assert [one.pair for one in taken] == sorted((f"request-{number}" for number in range(20)), key=place_of)
    assert (taken[0].control_answer, taken[0].candidate_answer, taken[0].candidate) == ("plain", "better", "gpt-new")
    assert {stat.S_IMODE(path.stat().st_mode) for path in waiting.folder.iterdir()} == {0o600}
    for one in taken:
        waiting.done(one.pair)
    assert list(waiting.folder.iterdir()) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": "noise"},
        {"other": RawAnswer("gpt-new", "error", 1.0, error="boom")},
        {"other": RawAnswer("gpt-new", "timeout", 1.0)},
        {"other": RawAnswer("gpt-new", "ok", 1.0, " ")},
        {"control": RawAnswer("gpt-old", "budget", 1.0)},
        {"other": RawAnswer("gpt-new", "ok", 1.0, "text", (ToolCall("refund", "{}"),))},
    ],
)
def test_only_pairs_that_both_answer_in_words_are_judged(tmp_path: Path, changed: dict[str, Any]) -> None:
    assert not waiting_pairs(tmp_path, "support", share=1.0).offer(raw(**changed))
    assert not (tmp_path / "support").exists()


def test_texts_wait_without_personal_data(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A judge is often another provider's. A hook that fails lets nothing wait, and no text is in the log."""
    waiting = WaitingPairs(tmp_path, share=1.0)
    waiting.offer(raw(other=RawAnswer("gpt-new", "ok", 1.0, "write to jane@example.com")))
    assert [one.candidate_answer for one in waiting.take()] == ["write to [email]"]

    def broken(text: str) -> str:
        raise ZeroDivisionError(text)

    assert not WaitingPairs(tmp_path, share=1.0, redact=broken).offer(raw(2))
    assert "fix the hook (ZeroDivisionError, raised at" in caplog.text
    assert raw(2).control.text
    assert not [text for text in (raw(2).control.text, str(raw(2).request["messages"])) if text in caplog.text]
    assert len(list(waiting.take())) == 1


def test_only_sampled_pairs_wait(tmp_path: Path) -> None:
    waiting = WaitingPairs(tmp_path, share=0.3)
    taken = [number for number in range(100) if waiting.offer(raw(number))]
    assert taken == [number for number in range(100) if place_of(f"request-{number}") < 0.3]


def test_no_more_wait_than_allowed(tmp_path: Path) -> None:
    waiting = WaitingPairs(tmp_path, share=1.0, most=3)
    assert [waiting.offer(raw(number)) for number in range(5)] == [True, True, True, False, False]
    WaitingPairs(tmp_path, share=1.0).done("request-0")
    assert waiting.offer(raw(5))


def test_a_refusal_is_judged_as_an_answer() -> None:
    refused = RawAnswer("gpt-new", "refused", 1.0, "I can't help with that.", refused=True)
    assert texts_of(raw(other=refused)) is not None


def test_pairs_expire_and_are_forgotten_by_user(tmp_path: Path) -> None:
    waiting = WaitingPairs(tmp_path, share=1.0)
    for number, at, user in ((1, NOW - 100, "u1"), (2, NOW, "u1"), (3, NOW, "u2"), (4, NOW, "")):
        waiting.offer(raw(number, at=at, user=user))
    assert waiting.expire(before=NOW - 50) == 1
    assert waiting.forget("") == 0
    assert waiting.forget("u1") == 1
    assert {one.pair for one in waiting.take()} == {"request-3", "request-4"}


def test_half_written_texts_are_forgotten_with_anyone(tmp_path: Path) -> None:
    """A writer that was killed left them, and no one knows whose they are."""
    (tmp_path / ".new-abc").write_bytes(b'{"pair": "1", "request": "my iban')
    WaitingPairs(tmp_path, share=0.0).forget("u1")
    assert not list(tmp_path.iterdir())


def test_a_waiting_file_that_cannot_be_read_goes(tmp_path: Path) -> None:
    waiting = WaitingPairs(tmp_path, share=1.0)
    waiting.offer(raw())
    (tmp_path / "0-broken.pair").write_bytes(b'{"pair": ')
    assert [one.pair for one in waiting.take()] == ["request-1"]
    assert not (tmp_path / "0-broken.pair").exists()


@pytest.mark.parametrize(
    ("request_", "turn"),
    [
        ({"messages": [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}]}, "two"),
        ({"messages": [{"role": "user", "content": "one"}, {"role": "assistant", "content": "x"}]}, "one"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}]}, "a"),
        ({"input": "say it"}, "say it"),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "b"}]}]}, "b"),
        ({"prompt": ["first", "last"]}, "last"),
        ({"messages": None, "input": 3}, ""),
        ({"messages": [None, {"role": "user"}]}, ""),
        ({}, ""),
    ],
)
def test_the_last_user_turn_is_what_is_judged(request_: dict[str, Any], turn: str) -> None:
    assert last_user_turn(request_) == turn


def test_a_file_of_labels_is_read(tmp_path: Path) -> None:
    line = {"request": "q", "control": "a", "candidate": "b", "label": "tie"}
    (tmp_path / "labels.jsonl").write_text(f"{json.dumps(line)}\n\n{json.dumps({**line, 'candidate': 'c'})}\n")
    pairs, labels = read_labels(tmp_path / "labels.jsonl")
    assert [one.candidate_answer for one in pairs] == ["b", "c"]
    assert labels == {one.pair: "tie" for one in pairs}


def test_every_bad_label_is_named_with_its_line(tmp_path: Path) -> None:
    line = {"request": "q", "control": "a", "candidate": "b", "label": "tie"}
    bad = [{**line, "label": "A"}, {**line, "control": ""}, {**line, "label": "control"}]
    (tmp_path / "labels.jsonl").write_text("\n".join(json.dumps(one) for one in (line, *bad)) + "\n{\n")
    with pytest.raises(BadSettings) as refused:
        read_labels(tmp_path / "labels.jsonl")
    assert [problem.split(":")[1] for problem in refused.value.problems] == ["2", "3", "4", "5"]
    assert "another label above" in refused.value.problems[2]
    with pytest.raises(BadSettings, match="cannot be read"):
        read_labels(tmp_path / "none")
