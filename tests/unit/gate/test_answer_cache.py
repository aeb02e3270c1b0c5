"""Kept answers: on disk before they count, private, one run at a time, and never too old."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.errors import BadSettings, Refused
from killswitch.gate.answer_cache import AnswerKey, default_cache_folder, forget_answers, open_answer_cache
from killswitch.gate.answers import Answer
from killswitch.gate.call_failures import CallFailure
from killswitch.gate.row_order import RowCall
from killswitch.token_usage import Usage
from tests.doubles.clock import VirtualClock

TWO = (RowCall.PROD, RowCall.PROD_AGAIN)
KEY = AnswerKey("setup", "model-new", "row", RowCall.PROD)
ANSWER = Answer(
    "model-new", "model-new-1", '{"label": "bug"}', None, 0.21, Usage(input=90, output=7), 31, 2, ("top_k",)
)
FAILED = Answer("model-new", None, None, "500 after 4 attempts", None, None, None, 4, (), None, CallFailure.TRANSIENT)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def test_an_answer_is_read_as_it_was_kept(tmp_path: Path, clock: VirtualClock) -> None:
    with open_answer_cache(tmp_path, "triage", wall=clock.wall) as cache:
        assert cache.kept(KEY) is None
        cache.keep(KEY, ANSWER)
    with open_answer_cache(tmp_path, "triage", wall=clock.wall) as cache:
        assert cache.kept(KEY) == ANSWER
        assert cache.kept(AnswerKey("setup", "model-new", "row", RowCall.PROD_AGAIN)) is None
        assert cache.kept(AnswerKey("other", "model-new", "row", RowCall.PROD)) is None


def test_a_failed_call_is_kept_like_an_answer(tmp_path: Path, clock: VirtualClock) -> None:
    with open_answer_cache(tmp_path, "triage", wall=clock.wall) as cache:
        cache.keep(KEY, FAILED)
        assert cache.kept(KEY) == FAILED


@given(text=st.text(), answered_by=st.none() | st.text(max_size=30))
def test_any_text_comes_back_whole(
    tmp_path_factory: pytest.TempPathFactory, text: str, answered_by: str | None
) -> None:
    said = Answer("model-new", answered_by, text + "\ud800", None, 0.1, None, None, 1)
    with open_answer_cache(tmp_path_factory.mktemp("c"), "triage", wall=VirtualClock().wall) as cache:
        cache.keep(KEY, said)
        assert cache.kept(KEY) == said


def test_answers_over_the_age_limit_are_deleted(tmp_path: Path, clock: VirtualClock) -> None:
    with open_answer_cache(tmp_path, "triage", wall=clock.wall, max_age=100.0) as cache:
        cache.keep(KEY, ANSWER)
        clock.advance(99.0)
        assert cache.kept(KEY) == ANSWER
        clock.advance(2.0)
        assert cache.kept(KEY) is None
        cache.forget_old()
        assert _rows(cache.path) == 0


def test_an_answer_from_the_future_is_not_believed(tmp_path: Path, clock: VirtualClock) -> None:
    with open_answer_cache(tmp_path, "triage", wall=clock.wall) as cache:
        cache.keep(KEY, ANSWER)
        clock.jump_wall(-3600.0)
        assert cache.kept(KEY) is None


def test_only_the_owner_reads_the_file(tmp_path: Path, clock: VirtualClock) -> None:
    folder = tmp_path / "new"
    before = os.umask(0)
    try:
        with open_answer_cache(folder, "triage", wall=clock.wall) as cache:
            cache.keep(KEY, ANSWER)
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert set(modes.values()) == {0o600}
    assert "triage.answers-wal" in modes


def test_a_file_that_others_may_write_to_is_refused(tmp_path: Path, clock: VirtualClock) -> None:
    path = tmp_path / "triage.answers"
    path.touch()
    path.chmod(0o666)
    with pytest.raises(BadSettings, match="others may write"), open_answer_cache(tmp_path, "triage", wall=clock.wall):
        pass


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path, clock: VirtualClock) -> None:
    """They could put a log of SQLite's next to the file: its answers are then read as ours."""
    folder, elsewhere = tmp_path / "cache", tmp_path / "elsewhere"
    folder.mkdir()
    with open_answer_cache(folder, "triage", wall=clock.wall):
        pass
    with open_answer_cache(elsewhere, "triage", wall=clock.wall) as theirs:
        theirs.keep(KEY, ANSWER)
        (folder / "triage.answers-wal").write_bytes((elsewhere / "triage.answers-wal").read_bytes())
    folder.chmod(0o777)
    with pytest.raises(BadSettings, match="chmod go-w"), open_answer_cache(folder, "triage", wall=clock.wall):
        pass


def test_a_second_run_on_one_cache_is_refused(tmp_path: Path, clock: VirtualClock) -> None:
    with open_answer_cache(tmp_path, "triage", wall=clock.wall):
        said = rf"gate run of triage is under way \(process {os.getpid()}\).*--cache"
        with pytest.raises(Refused, match=said), open_answer_cache(tmp_path, "triage", wall=clock.wall):
            pass
        with pytest.raises(Refused, match=said):
            forget_answers(tmp_path, "triage")
        with open_answer_cache(tmp_path, "other_role", wall=clock.wall):
            pass
    with open_answer_cache(tmp_path, "triage", wall=clock.wall):
        pass


def test_a_file_cut_in_half_is_said_with_the_fix(tmp_path: Path, clock: VirtualClock) -> None:
    with open_answer_cache(tmp_path, "triage", wall=clock.wall) as cache:
        for number in range(200):
            cache.keep(AnswerKey("setup", "model-new", f"{number:064}", RowCall.PROD), ANSWER)
    path = tmp_path / "triage.answers"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BadSettings, match="--forget"):
        _read_all(tmp_path, clock)


def test_a_file_of_another_program_is_left_alone(tmp_path: Path, clock: VirtualClock) -> None:
    path = tmp_path / "triage.answers"
    path.touch(0o600)
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (one)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(BadSettings, match="another program"), open_answer_cache(tmp_path, "triage", wall=clock.wall):
        pass
    assert path.read_bytes() == before


def test_a_half_written_log_costs_only_its_end(tmp_path: Path, clock: VirtualClock) -> None:
    """A process that is killed in a write leaves a log whose last entry is cut; the answers before it are there."""
    with open_answer_cache(tmp_path / "a", "triage", wall=clock.wall) as cache:
        for number in range(20):
            cache.keep(AnswerKey("setup", "model-new", str(number), RowCall.PROD), ANSWER)
        (tmp_path / "b").mkdir()
        main = (tmp_path / "a" / "triage.answers").read_bytes()
        log = (tmp_path / "a" / "triage.answers-wal").read_bytes()
    for cut in (1, 100, 5000):
        for name, content in (("triage.answers", main), ("triage.answers-wal", log[:-cut])):
            path = tmp_path / "b" / name
            path.write_bytes(content)
            path.chmod(0o600)
        with open_answer_cache(tmp_path / "b", "triage", wall=clock.wall) as cache:
            kept = [cache.kept(AnswerKey("setup", "model-new", str(number), RowCall.PROD)) for number in range(20)]
        lost = kept.index(None)
        assert lost >= 18
        assert kept == [ANSWER] * lost + [None] * (20 - lost)


def test_a_damaged_answer_is_asked_again(tmp_path: Path, clock: VirtualClock) -> None:
    with open_answer_cache(tmp_path, "triage", wall=clock.wall) as cache:
        cache.keep(KEY, ANSWER)
    for damage in ("[]", "{", '{"attempts": "many"}', '{"attempts": 1, "usage": {"input": -1}}'):
        with sqlite3.connect(tmp_path / "triage.answers") as connection:
            connection.execute("UPDATE answers SET answer = ?", (damage,))
        connection.close()
        with open_answer_cache(tmp_path, "triage", wall=clock.wall) as cache:
            assert cache.kept(KEY) is None
            assert cache.unreadable == 1


def test_forgetting_leaves_no_text_behind(tmp_path: Path, clock: VirtualClock) -> None:
    with open_answer_cache(tmp_path, "triage", wall=clock.wall) as cache:
        cache.keep(KEY, ANSWER)
    assert forget_answers(tmp_path, "triage")
    assert not forget_answers(tmp_path, "triage")
    assert [path.name for path in tmp_path.iterdir()] == ["triage.lock"]


def test_a_row_or_a_pair_is_forgotten_alone(tmp_path: Path, clock: VirtualClock) -> None:
    with open_answer_cache(tmp_path, "triage", wall=clock.wall) as cache:
        keys = [AnswerKey(setup, "model-new", row, call) for setup in "ab" for row in "12" for call in TWO]
        for key in keys:
            cache.keep(key, ANSWER)
        cache.forget_row("a", "1")
        assert [cache.kept(key) is None for key in keys] == [True, True, *[False] * 6]
        assert cache.forget_setup("b") == 4
        assert _rows(cache.path) == 2


def test_many_threads_keep_at_once(tmp_path: Path, clock: VirtualClock) -> None:
    with open_answer_cache(tmp_path, "triage", wall=clock.wall) as cache:

        def keep(first: int) -> None:
            for number in range(first, first + 25):
                cache.keep(AnswerKey("setup", "model-new", str(number), RowCall.PROD), ANSWER)

        threads = [threading.Thread(target=keep, args=(25 * number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert _rows(cache.path) == 200


def test_the_folder_follows_the_users_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_cache_folder() == Path("/somewhere/killswitch/gate")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/me")
    assert default_cache_folder() == Path("/home/me/.cache/killswitch/gate")


def _rows(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("SELECT count(*) FROM answers").fetchone()[0])
    finally:
        connection.close()


def _read_all(folder: Path, clock: VirtualClock) -> None:
    with open_answer_cache(folder, "triage", wall=clock.wall) as cache:
        for number in range(200):
            cache.kept(AnswerKey("setup", "model-new", f"{number:064}", RowCall.PROD))
