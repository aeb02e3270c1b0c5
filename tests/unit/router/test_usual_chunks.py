"""Chunks of the usual forms are read fast, and exactly as the general path reads them."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from killswitch.router.outcomes import Outcome
from killswitch.router.phrases import Phrases
from killswitch.router.request import ServedRequest
from killswitch.router.route_types import Route
from killswitch.router.shadow.answers import Answered, AnswerReader, read
from killswitch.router.usual_chunks import READ, UsualChunks
from tests.doubles.held_split import shadowed
from tests.unit.router.shadow.answer_shapes import CHUNKS, WHOLE


class Model:
    """Stands for an object of an SDK: fields in its ``__dict__``, fields of no declaration elsewhere."""

    known = READ - {"refusal", "stop_reason", "custom", "error", "output", "input", "status"}

    def __init__(self, fields: dict[str, Any]) -> None:
        self.__dict__.update({name: each for name, each in fields.items() if name in self.known})
        self.__dict__["__pydantic_extra__"] = {name: each for name, each in fields.items() if name not in self.known}

    def __getattr__(self, name: str) -> Any:
        more = self.__dict__.get("__pydantic_extra__", {})
        if name in more:
            return more[name]
        raise AttributeError(name)


Model.__module__ = "pydantic.main"  # whose `__getattr__` is known


class Plain:
    def __init__(self, fields: dict[str, Any]) -> None:
        self.__dict__.update(fields)


class Default:
    """Fields that are not set are the class's."""

    content = None
    refusal = "I cannot"
    finish_reason = "length"

    def __init__(self, fields: dict[str, Any]) -> None:
        self.__dict__.update(fields)


class Computed:
    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    def __getattr__(self, name: str) -> Any:
        return self.__dict__.get("_fields", {}).get(name)


class Kind(enum.StrEnum):
    DELTA = "content_block_delta"
    STOP = "stop"


def built(value: Any, of: list[Any]) -> Any:
    """``value`` with its JSON objects as ``of``'s kinds in turn."""
    if isinstance(value, list):
        return [built(each, of) for each in value]
    if not isinstance(value, dict):
        return value
    fields = {name: each if name == "input" else built(each, of) for name, each in value.items()}
    of.append(of.pop(0))
    return of[0](fields)


def generally(chunks: list[Any]) -> Answered:
    reader = AnswerReader()
    reader._usual.piece = lambda payload: None  # type: ignore[method-assign]
    for chunk in chunks:
        reader.add(chunk)
    return reader.result()


word = st.sampled_from(["", "Hello ", "there", "\ud83d", '{"a":', "1}", "stop", "length", "content_filter", "error"])
odd: st.SearchStrategy[Any] = st.one_of(
    *(st.none(), word, st.integers(-1, 2), st.booleans(), st.just([]), st.just({}), st.just(Kind.STOP))
)


def seldom(usual: Any, other: Any) -> Any:
    return st.integers(0, 9).flatmap(lambda drawn: other if drawn == 9 else usual)


def some(usual: dict[str, Any], *more: str) -> Any:
    """JSON objects as ``usual`` says, now and then with a field left out, added, or (those of ``more``) odd."""
    fields = {name: seldom(each, odd) if name in more else each for name, each in usual.items()}
    left_out = seldom(st.none(), st.sampled_from(sorted(usual)))
    added = seldom(st.just({}), st.dictionaries(st.sampled_from(sorted(READ)), odd, max_size=1))
    return st.tuples(st.fixed_dictionaries(fields), left_out, added).map(
        lambda drawn: {**{name: each for name, each in drawn[0].items() if name != drawn[1]}, **drawn[2]}
    )


function = some({"name": word, "arguments": word}, "arguments")
call = some({"index": st.integers(0, 2), "function": function, "type": st.just("function")}, "index", "function")
message = some({"content": word, "refusal": st.none(), "tool_calls": st.lists(call, max_size=2)}, "content")
choice = some(
    {
        "index": st.just(0),
        "delta": message,
        "finish_reason": st.none() | st.sampled_from(["stop", "length", "content_filter"]),
        "text": st.none() | word,
    },
    *("index", "delta"),
)
usage = st.fixed_dictionaries({"completion_tokens": st.none() | st.integers(0, 9)})
chat = some(
    {
        "object": st.sampled_from(["chat.completion.chunk", "text_completion"]),
        "choices": seldom(choice.map(lambda one: [one]), st.lists(choice, max_size=2)),
        "usage": st.none() | usage,
    },
    "object",
)
event = some(
    {
        "type": st.sampled_from(
            [
                *("content_block_delta", "response.output_text.delta", "response.refusal.delta", "message_delta"),
                *("response.function_call_arguments.delta", "response.completed", "message_stop", Kind.DELTA),
            ]
        ),
        "index": st.integers(0, 2),
        "delta": word | some({"type": word, "text": word, "partial_json": word}, "text", "partial_json"),
    },
    *("index", "delta"),
)
real = st.sampled_from(
    [chunk for chunks, _ in CHUNKS.values() for chunk in chunks] + [one for one, _ in WHOLE.values()]
)
kinds = st.lists(st.sampled_from([dict, Plain, Model, Default, Computed]), min_size=1, max_size=2)


@settings(max_examples=100)
@example([{"choices": [{"delta": {"content": "a"}, "finish_reason": "content_filter"}]}], [dict])
@example([{"choices": [{"delta": {"content": "a"}}], "stop_reason": "refusal"}], [dict])
@example([{"choices": [{"delta": {"content": "a", "refusal": "no"}}]}], [Model])
@given(st.lists(chat | event | real, min_size=1, max_size=4), kinds)
def test_both_paths_read_the_same(chunks: list[Any], of: list[Any]) -> None:
    """Random lists of chunks, as JSON and as objects of several kinds of classes, odd fields and values among them."""
    stream = [built(chunk, list(of)) for chunk in chunks]
    assert read(stream) == generally(stream)


class Recorder:
    """Keeps how a request ended."""

    phrases = Phrases()

    def __init__(self) -> None:
        self.ended: tuple[Any, ...] = ()

    def clock(self) -> float:
        return 0.0

    def sign(self, route: Route, *, judged: bool) -> str:
        raise NotImplementedError

    def count_thumbs_down(self, route: Route, *, judged: bool) -> None:
        raise NotImplementedError

    def count_request(self, route: Route, outcome: Outcome, seconds: float, **counted: Any) -> None:
        self.ended = (outcome, counted)


def served(stream: list[Any], *, left: bool) -> tuple[Any, ...]:
    """How a request with this stream ends, where its reader has left or not, and the opening that was kept."""
    recorder = Recorder()
    request = ServedRequest(recorder, shadowed().control_route, judged=True)
    for _ in request.stream(iter(stream)):
        pass
    request._finished = request._finished or (left and not request._broken)
    request.end(GeneratorExit() if left else None)
    return (*recorder.ended, request._opening, request._broken)


@settings(max_examples=100)
@example([{"choices": [{"delta": {"content": "I cannot help with that."}}]}], [dict], False)
@example([{"choices": [{"delta": {"content": "a", "refusal": "no"}}]}], [dict], False)
@example([{"choices": [{"delta": {"content": "a"}, "finish_reason": "content_filter"}]}], [Model], False)
@example([{"choices": [{"delta": {"content": "a"}}], "usage": {"completion_tokens": 3}}], [Model], True)
@example([{"choices": [{"delta": {"content": "a"}}], "stop_reason": "refusal"}], [Plain], False)
@example([{"type": "content_block_delta", "delta": {"text": "a", "stop_reason": "refusal"}}], [dict], False)
@given(st.lists(chat | event | real | st.just(b"data"), min_size=1, max_size=4), kinds, st.booleans())
def test_a_served_request_ends_the_same(chunks: list[Any], of: list[Any], left: bool) -> None:
    """Whether its chunks are read fast or by the general path: outcome, refusal, tokens, usage, opening words."""
    stream = [built(chunk, list(of)) for chunk in chunks]
    fast = served(stream, left=left)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(UsualChunks, "words", lambda *_: None)
        assert fast == served(stream, left=left)


@pytest.mark.parametrize("kind", [dict, Plain, Model])
@pytest.mark.parametrize("name", CHUNKS)
def test_what_repeats_in_a_stream_holds_up_no_reader(name: str, kind: Any) -> None:
    """A chunk that says nothing but words never reaches the general path, which takes 200 microseconds for one."""
    usual = UsualChunks()
    said = [
        usual.words(built(chunk, [kind]))
        for chunk in CHUNKS[name][0]
        if _repeats(chunk) and "usage" not in chunk and not _finishes(chunk)
    ]
    assert len(said) >= 2
    assert None not in said
    assert "".join(one for one in said if one) == "Hello there"


def test_the_general_path_reads_no_other_field() -> None:
    """A field that is new there must be known here, or a chunk that has it would be read without it."""
    seen: set[str] = set()

    class Recording(Mapping[str, Any]):
        def __init__(self, fields: Mapping[str, Any]) -> None:
            self._fields = {name: Recording(each) if isinstance(each, dict) else each for name, each in fields.items()}

        def __getitem__(self, name: str) -> Any:
            return self._fields[name]

        def get(self, name: Any, default: Any = None) -> Any:
            seen.add(name)
            return self._fields.get(name, default)

        def __iter__(self) -> Iterator[str]:
            return iter(self._fields)

        def __len__(self) -> int:
            return len(self._fields)

    call_ = Recording({"function": {"name": "f"}})
    message_ = {"content": "a", "tool_calls": [call_, Recording({"custom": {"input": "x"}})]}
    read([Recording({"choices": [Recording({"delta": message_, "text": "x"})]})])
    read([Recording({"type": "content_block_delta", "delta": {"text": "a", "partial_json": "b"}})])
    read([Recording({"type": "response.output_text.delta", "delta": "a"})])
    read([Recording({"type": "response.function_call_arguments.delta", "delta": "a"})])
    assert len(seen) > 30
    assert seen <= READ


@pytest.mark.parametrize("kind", [dict, Plain, Model])
@pytest.mark.parametrize("name", CHUNKS)
def test_the_chunks_of_a_long_stream_are_usual(name: str, kind: Any) -> None:
    """In each API's stream all that repeats is read fast: at its beginning and end are a few other events."""
    usual = UsualChunks()
    chunks = [built(chunk, [kind]) for chunk in CHUNKS[name][0]]
    texts = [piece.text for chunk in chunks if (piece := usual.piece(chunk))]
    assert "".join(texts) == "Hello there"
    repeating = [chunk for chunk, plain in zip(chunks, CHUNKS[name][0], strict=True) if _repeats(plain)]
    assert len(repeating) >= 2
    assert None not in [usual.piece(chunk) for chunk in repeating]


def _finishes(chunk: dict[str, Any]) -> bool:
    return any(choice.get("finish_reason") for choice in chunk.get("choices", ()))


def _repeats(chunk: dict[str, Any]) -> bool:
    return "choices" in chunk or str(chunk["type"]).endswith(("block_delta", "text.delta"))


def test_objects_of_the_openai_client_are_read_without_getattr() -> None:
    """pydantic's takes microseconds for each field that there is not, about 65 a chunk: 60 ms for 500 chunks."""
    types = pytest.importorskip("openai.types.chat")
    chunks = [types.ChatCompletionChunk.construct(**chunk) for chunk in CHUNKS["chat stream with tools"][0]]
    usual = UsualChunks()
    assert None not in [usual.piece(chunk) for chunk in chunks]
    assert read(chunks) == generally(chunks)
    assert read(chunks).text == "Hello there"
