"""Whether the limit of tokens ended an answer, in every API's words, in Python and in SQL alike."""

from __future__ import annotations

import duckdb
import pytest

from killswitch.router.shadow.answers import AnswerReader
from killswitch.shadow.finish_reasons import CUT_IN_SQL, is_cut

CUT = {
    "chat completions": {"choices": [{"message": {"content": "Par"}, "finish_reason": "length"}]},
    "responses": {"object": "response", "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
    "responses without a reason": {"object": "response", "status": "incomplete"},
    "messages": {"type": "message", "stop_reason": "max_tokens", "content": [{"type": "text", "text": "Par"}]},
    "messages, full": {"type": "message", "stop_reason": "model_context_window_exceeded", "content": []},
}
WHOLE = {
    "chat completions": {"choices": [{"message": {"content": "Paris"}, "finish_reason": "stop"}]},
    "a call of a tool": {"choices": [{"message": {"content": "Paris"}, "finish_reason": "tool_calls"}]},
    "responses": {"object": "response", "status": "completed"},
    "responses, filtered": {
        "object": "response",
        "status": "incomplete",
        "incomplete_details": {"reason": "content_filter"},
    },
    "messages": {"type": "message", "stop_reason": "end_turn", "content": []},
}


def said_by(payload: object) -> str | None:
    reader = AnswerReader()
    reader.add(payload)
    return reader.result().finish_reason


@pytest.mark.parametrize("api", [*CUT])
def test_an_answer_cut_at_its_limit_is_seen_in_each_api(api: str) -> None:
    assert is_cut(said_by(CUT[api])) is True


@pytest.mark.parametrize("api", [*WHOLE])
def test_an_answer_that_ended_otherwise_is_whole(api: str) -> None:
    assert is_cut(said_by(WHOLE[api])) is False


@pytest.mark.parametrize("said", ["length", "MAX_TOKENS", "stop", "", None])
def test_sql_reads_finish_reasons_as_python_does(said: str | None) -> None:
    """Also that nothing is known where nothing was said."""
    sql = f"SELECT {CUT_IN_SQL.format(side='x')} FROM (SELECT ? AS x_finish_reason)"
    assert duckdb.connect().execute(sql, [said]).fetchall() == [(is_cut(said),)]
