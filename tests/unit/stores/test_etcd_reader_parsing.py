"""What etcd's gateway sends, and what anything else might send in its place."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.errors import AccessDenied, BadDocument, Unavailable
from killswitch.stores import Item
from killswitch.stores.etcd import wire
from killswitch.stores.reader import Change

MAX = 1000


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def line(**result: Any) -> bytes:
    return json.dumps({"result": {"header": {"revision": "9"}, **result}}).encode()


PUT = {"kv": {"key": b64("k"), "mod_revision": "8", "value": b64("v")}}
DELETE = {"type": "DELETE", "kv": {"key": b64("k"), "mod_revision": "9"}}

# --- lines --------------------------------------------------------------------------------------


def test_two_documents_in_one_chunk_are_two_lines() -> None:
    assert wire.Lines(MAX).feed(b'{"a":1}\n{"b":2}\n') == [b'{"a":1}', b'{"b":2}']


def test_one_document_in_two_chunks_is_one_line() -> None:
    lines = wire.Lines(MAX)
    assert lines.feed(b'{"a"') == []
    assert lines.feed(b":1}\r\n\n") == [b'{"a":1}']


def test_a_line_without_an_end_is_cut_off_at_its_limit() -> None:
    lines = wire.Lines(MAX)
    for _ in range(MAX // 2):
        lines.feed(b"xx")
    with pytest.raises(wire.LineTooLong):
        lines.feed(b"x")


def test_a_long_line_that_comes_whole_is_refused_as_well() -> None:
    with pytest.raises(wire.LineTooLong):
        wire.Lines(MAX).feed(b"x" * (MAX + 1) + b"\n")


@given(st.lists(st.binary(min_size=1, max_size=50).map(lambda b: b.replace(b"\n", b".")), max_size=10), st.data())
def test_lines_are_the_same_however_the_stream_is_cut_into_chunks(documents: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(document + b"\n" for document in documents)
    lines, found, rest = wire.Lines(MAX), [], stream
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        found += lines.feed(rest[:size])
        rest = rest[size:]
    assert found == [document.strip() for document in documents if document.strip()]


# --- watch lines --------------------------------------------------------------------------------


def test_the_first_line_says_the_watch_is_open_and_the_revision() -> None:
    """The first line says that the watch is open, and at which revision the store is."""
    assert wire.parse_watch_line(line(created=True)) == wire.WatchLine(9, created=True)


def test_events_come_in_order_with_type_put_left_out() -> None:
    assert wire.parse_watch_line(line(events=[PUT, DELETE])).changes == (
        Change("k", Item("k", b"v", 8), 8),
        Change("k", None, 9),
    )


def test_a_line_without_events_is_progress() -> None:
    assert wire.parse_watch_line(line()) == wire.WatchLine(9)


def test_a_compacted_watch_says_from_where_it_could_go_on() -> None:
    found = wire.parse_watch_line(b'{"result":{"header":{},"canceled":true,"compact_revision":"40"}}')
    assert (found.cancelled, found.compacted) == (True, 40)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("rpc error: code = PermissionDenied desc = etcdserver: permission denied", AccessDenied),
        ("rpc error: code = Unauthenticated desc = etcdserver: invalid auth token", wire.LoginNeeded),
        ("rpc error: code = InvalidArgument desc = etcdserver: user name is empty", wire.LoginNeeded),
        ("", Unavailable),
    ],
)
def test_a_cancelled_watch_says_to_log_in_fix_or_retry(reason: str, kind: type[Exception]) -> None:
    """A cancelled watch says whether to log in again, to fix the setting or to retry."""
    found = wire.parse_watch_line(line(created=True, canceled=True, cancel_reason=reason))
    assert found.cancelled
    assert type(found.error) is kind


def test_an_error_inside_the_stream_is_a_cancelled_watch() -> None:
    found = wire.parse_watch_line(b'{"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader"}}')
    assert found.cancelled
    assert "no leader" in str(found.error)


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b"<html>502 Bad Gateway</html>",
        b'{"result":{"header":{"revision":"9"},"created":true}} {"result":{}}',
        b'{"result":[]}',
        b'{"result":{}}',
        b'{"result":{"header":[]}}',
        b'{"result":{"header":{"revision":"1e3"}}}',
        b'{"result":{"header":{"revision":"99999999999999999999999"}}}',
        b'{"result":{"header":{"revision":true}}}',
        b'{"result":{"header":{"revision":"-4"}}}',
        b'{"result":{"header":{"revision":"9"},"created":"yes"}}',
        line(events={}),
        line(events=[3]),
        line(events=[{"kv": {"key": "!", "mod_revision": "8"}}]),
        line(events=[{"kv": {"key": b64("k"), "mod_revision": "8", "value": 5}}]),
        line(events=[{"kv": {"key": b64("k")}}]),
        line(events=[{"type": "DELETE", "kv": {"key": b64("k")}}]),
        line(events=[{"type": "RENAME", "kv": {"key": b64("k"), "mod_revision": "8"}}]),
        line(events=[{"kv": {"key": "gICA", "mod_revision": "8"}}]),
        b"[" * 100_000,
        b"\xff\xfe\x00",
    ],
)
def test_a_hostile_line_is_refused_in_words_and_never_obeyed(hostile: bytes) -> None:
    with pytest.raises(BadDocument) as refused:
        wire.parse_watch_line(hostile)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 400


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["result", "header", "revision", "events", "kv", "key", "mod_revision", "created", "canceled"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(JSON.map(lambda document: json.dumps(document).encode()) | st.binary(max_size=200))
def test_any_line_is_understood_or_refused_and_nothing_else(hostile: bytes) -> None:
    try:
        found = wire.parse_watch_line(hostile)
    except BadDocument:
        return
    assert all(change.revision > 0 for change in found.changes)


# --- answers ------------------------------------------------------------------------------------


def answer(*ranges: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {
        "header": {"revision": "9"},
        "succeeded": True,
        "responses": [{"response_range": found} for found in ranges],
        **others,
    }


KV = PUT["kv"]


def test_one_answer_holds_keys_prefixes_and_counts_of_one_revision() -> None:
    under = {"key": b64("p/1"), "mod_revision": "3", "value": b64("x")}
    view = wire.parse_view(
        answer({"kvs": [KV], "count": "1"}, {"kvs": [under], "count": "1"}, {"count": "3"}), ["k"], ["p/"], ["c/"]
    )
    assert view.items == {"k": Item("k", b"v", 8), "p/1": Item("p/1", b"x", 3)}
    assert (view.revision, view.counts) == (9, {"c/": 3})


def test_a_key_that_is_not_there_is_left_out() -> None:
    assert wire.parse_view(answer({}), ["k"], [], []).items == {}


@pytest.mark.parametrize(
    "document",
    [
        answer(),  # an answer without answers must not read as "there is no flag"
        answer({}, {}),
        answer({}, succeeded=False),
        answer({}, header={}),
        answer({"kvs": [KV]}),
        answer({"kvs": [], "count": "1"}),
        answer({"kvs": [{**KV, "key": b64("kk")}], "count": "1"}),
        answer({"kvs": {}, "count": "0"}),
        {**answer({}), "responses": [{"response_put": {}}]},
        {},
    ],
)
def test_an_answer_with_anything_missing_is_no_answer(document: dict[str, Any]) -> None:
    with pytest.raises(BadDocument):
        wire.parse_view(document, ["k"], [], [])


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b'{"message":"etcdserver: invalid auth token","code":16}', wire.LoginNeeded),
        (400, b'{"message":"etcdserver: user name is empty","code":3}', wire.LoginNeeded),
        (403, b'{"message":"etcdserver: permission denied","code":7}', AccessDenied),
        (400, b'{"message":"etcdserver: authentication failed, invalid user ID or password","code":3}', AccessDenied),
        (412, b'{"message":"etcdserver: authentication is not enabled","code":9}', wire.AuthNotEnabled),
        (503, b'{"message":"etcdserver: no leader","code":14}', Unavailable),
        (502, b"<html>Bad Gateway</html>", Unavailable),
        (404, b"not found", Unavailable),
        (500, b"[]", Unavailable),
    ],
)
def test_a_refusal_says_what_may_be_done_about_it(status: int, body: bytes, kind: type[Exception]) -> None:
    assert type(wire.refusal(status, body)) is kind


def test_a_prefix_ends_before_the_next_key_without_it() -> None:
    """A prefix ends before the next key that does not begin with it."""
    question = json.loads(wire.read_question([], ["a/"], []))
    assert question["success"][0]["request_range"] == {"key": b64("a/"), "range_end": b64("a0")}
