"""`Shadow.begin`: which requests are noted before they are made, and how much of their streams is held."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from killswitch.router.integrations.asgi_bodies import Bodies
from killswitch.router.outcomes import Outcome
from killswitch.router.shadow import Shadow, mirror
from killswitch.router.shadow.weights import of_all, of_answer
from tests.doubles.finished_requests import finished
from tests.doubles.held_split import HeldSplit, armed, router_over, shadowed

ARGUMENTS = {"messages": [{"role": "user", "content": "hello"}]}


class Stopped(Shadow):
    """Without its thread, so what waits stays where it is."""

    def _begin(self) -> None:
        self._unseen_room = min(self._room, mirror.MOST_UNWEIGHED)

    def close(self, timeout: float = 10.0) -> None:
        pass


@pytest.fixture
def held() -> HeldSplit:
    return HeldSplit(shadowed(100.0))


@pytest.fixture
def shadow(held: HeldSplit, tmp_path: Path) -> Iterator[Shadow]:
    router, _ = router_over(held.current)
    router._following = held
    return Stopped(router, ask=lambda asking: None, spool=tmp_path / "spool", queue=10)  # type: ignore[return-value]


def begin(shadow: Shadow, held: HeldSplit, **more: Any) -> Any:
    return shadow.begin(held.current.control_route, more.pop("arguments", ARGUMENTS), **{"api": "chat", **more})


def test_only_the_sample_is_noted(shadow: Shadow, held: HeldSplit) -> None:
    held.current = shadowed(30.0, legal=100.0)
    for number in range(300):
        noted = begin(shadow, held, request_id=f"r{number}") is not None
        assert noted == shadow.samples(f"r{number}")
    assert begin(shadow, held, prompt_class="legal") is not None


def test_only_what_control_serves_is_noted(shadow: Shadow, held: HeldSplit) -> None:
    held.current = armed(50.0)
    assert begin(shadow, held) is None
    held.current = shadowed(100.0)
    assert shadow.begin(armed(50.0).canary_route, ARGUMENTS, api="chat") is None


@pytest.mark.parametrize("arguments", [None, 7, "text", object()])
def test_arguments_of_any_shape_raise_nothing(shadow: Shadow, held: HeldSplit, arguments: Any) -> None:
    assert begin(shadow, held, arguments=arguments) is None
    assert sum(shadow._drops.take().values()) == 1


def test_streams_that_wait_are_bounded_by_their_chunks(
    shadow: Shadow, held: HeldSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue of whole answers is small; one of streams, as objects of a client, is gigabytes."""
    monkeypatch.setattr(mirror, "MOST_BYTES", 90_000)

    def serve(chunks: int) -> None:
        noted = begin(shadow, held)
        for chunk in range(chunks):
            noted.chunk(chunk)
        if not chunks:
            noted.answer = "whole"
        noted.ended(Outcome.OK, 0.1, None)

    for _ in range(5):
        serve(10)
    assert len(shadow._queue) == 3  # 28 kB each: the bound holds without the shadow's own thread
    serve(0)
    assert len(shadow._queue) == 4
    assert shadow._drops.take() == {"queue_full": 2}
    shadow._queue.clear()
    shadow._weigh_queue()
    serve(10)
    assert len(shadow._queue) == 1


@pytest.mark.parametrize(
    ("answer", "size", "kept"),
    [
        ([object()] * 10, 0, 3),  # a stream's chunks that were offered without the seconds of each
        (tuple([b"x"] * 10), 0, 3),
        ("x" * 30_000, 0, 3),
        (b"x" * 30_000, 0, 3),
        ({"choices": []}, 18_000, 5),
        (("a body",), 40_000, 2),
    ],
)
def test_answers_that_wait_are_bounded_by_their_size(
    shadow: Shadow, held: HeldSplit, monkeypatch: pytest.MonkeyPatch, answer: Any, size: int, kept: int
) -> None:
    monkeypatch.setattr(mirror, "MOST_BYTES", 95_000)
    for number in range(10):
        shadow.offer(finished(f"r{number}", answer=answer, size=size))
    assert len(shadow._queue) == kept
    assert shadow._drops.take() == {"queue_full": 10 - kept}


LONG = "x" * 10_000_000


class Said:
    """An object of an SDK; LiteLLM's have their fields in ``__pydantic_extra__``."""

    __slots__ = ("__dict__", "__pydantic_extra__")

    def __init__(self, more: Any = None, **fields: Any) -> None:
        self.__pydantic_extra__ = more
        self.__dict__.update(fields)


@pytest.mark.parametrize(
    "answer",
    [
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": LONG}}], "usage": {}},
        {"type": "message", "content": [{"type": "text", "text": LONG}]},
        {"object": "response", "output": [{"type": "message", "content": [{"type": "output_text", "text": LONG}]}]},
        Said(id="c", choices=[Said(index=0, message=Said(content=LONG)), Said(index=1, message=Said(content=""))]),
    ],
)
def test_answers_of_10_mb_fill_the_queue(shadow: Shadow, answer: Any) -> None:
    """Before the shadow's own thread has looked at them."""
    for number in range(10):
        shadow.offer(finished(f"r{number}", answer=answer))
    assert len(shadow._queue) == 6
    assert shadow._drops.take() == {"queue_full": 4}


@pytest.mark.parametrize(
    "changes",
    [
        {"answer": [{"choices": [{"delta": {"content": LONG}}]}]},
        {"answer": [{"type": "response.completed", "response": {"output": [{"content": [{"text": LONG}]}]}}]},
        {"answer": {"choices": [{"message": {"tool_calls": [{"function": {"name": "f", "arguments": LONG}}]}}]}},
        {"answer": Said(choices=[Said({"message": Said(content=LONG)})])},
        {"answer": {"somewhere": [{"else": LONG}]}},
        {"arguments": {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": LONG}}]}]}},
    ],
)
def test_what_offer_cannot_know_is_weighed_soon(shadow: Shadow, changes: dict[str, Any]) -> None:
    """Chunks with long texts, the request, other forms: a walk through them, each once, on the shadow's thread."""
    for number in range(7):
        shadow.offer(finished(f"r{number}", **changes))
    assert len(shadow._queue) == 7
    for _ in range(2):
        shadow._weigh_queue()
        assert 60_000_000 <= shadow._bytes < 61_000_000
        assert len(shadow._queue) == 6
    assert shadow._drops.take() == {"queue_full": 1}
    shadow._queue.clear()
    shadow._weigh_queue()
    assert shadow._bytes == 0


def test_of_too_much_that_waits_the_heaviest_go(shadow: Shadow) -> None:
    """One request of 60 MB costs no other its place."""
    image = {"messages": [{"role": "user", "content": LONG * 6}]}
    for number, arguments in enumerate([ARGUMENTS, image, ARGUMENTS, {"messages": [LONG]}, ARGUMENTS]):
        shadow.offer(finished(f"r{number}", arguments=arguments))
    shadow._weigh_queue()
    assert [waiting.request_id for waiting, *_ in shadow._queue] == ["r0", "r2", "r3", "r4"]
    assert shadow._drops.take() == {"queue_full": 1}


def test_what_comes_between_two_looks_is_bounded(held: HeldSplit, tmp_path: Path) -> None:
    """1,000 requests of 10 MB that nothing has looked at yet would be 10 GB."""
    router, _ = router_over(held.current)
    router._following = held
    shadow = Stopped(router, ask=lambda asking: None, spool=tmp_path / "spool", queue=1000)
    image = {"messages": [{"role": "user", "content": LONG}]}
    for look in range(3):
        for number in range(1000):
            shadow.offer(finished(f"{look}-{number}", arguments=image))
        assert len(shadow._queue) <= mirror.MOST_UNWEIGHED + 12
        shadow._weigh_queue()
        assert len(shadow._queue) == 6


def test_a_burst_of_small_requests_fills_the_queue(held: HeldSplit, tmp_path: Path) -> None:
    """What is not looked at in time is weighed as it is offered: it is not lost."""
    router, _ = router_over(held.current)
    router._following = held
    shadow = Stopped(router, ask=lambda asking: None, spool=tmp_path / "spool", queue=1000)
    for number in range(1100):
        shadow.offer(finished(f"small-{number}"))
    assert len(shadow._queue) == 1000
    assert shadow._drops.take() == {"queue_full": 100}
    shadow._weigh_queue()
    assert len(shadow._queue) == 1000


def test_a_look_makes_no_room_after_the_end(shadow: Shadow, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is offered in shutting down is counted as lost, though a look was under way."""

    class Slow(list[int]):
        looks = 0

        def __len__(self) -> int:
            self.looks += 1
            if self.looks == 2:  # the last step of a look; `close` on another thread, just now
                shadow._closing, shadow._room, shadow._unseen_room = True, 0, 0
            return 0

    monkeypatch.setattr(shadow._weights, "of", lambda queue: Slow())
    shadow._weigh_queue()
    shadow.offer(finished("late"))
    assert not shadow._queue


def test_what_is_offered_during_a_look_is_counted(shadow: Shadow, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look takes milliseconds, and its sum was that of its beginning."""
    weigh = shadow._weights.of

    def of(queue: Any) -> list[int]:
        found = weigh(queue)
        for number in range(4):
            shadow.offer(finished(f"n{number}", answer=LONG))
        return found

    monkeypatch.setattr(shadow._weights, "of", of)
    for number in range(2):
        shadow.offer(finished(f"r{number}", answer=LONG))
    shadow._weigh_queue()
    assert 60_000_000 <= shadow._bytes < 61_000_000
    shadow.offer(finished("one more", answer=LONG))
    assert len(shadow._queue) == 6


def test_weighing_ends_whatever_is_weighed() -> None:
    """A circle, a million numbers, and a class whose fields raise."""
    circle: dict[str, Any] = {"choices": []}
    circle["choices"].append(circle)

    class Hostile:
        @property
        def __dict__(self) -> Any:  # type: ignore[override]
            raise ValueError

    for answer in (circle, {"choices": [0.5] * 1_000_000}, Hostile(), {"content": Hostile()}, None, 7):
        assert 0 <= of_answer(answer) < 33_000_000
        assert 0 <= of_all(answer) < 33_000_000
    assert of_all({"choices": [0.5] * 1_000_000}) > 30_000_000


class _Text(str):  # noqa: SLOT000  # as classes of clients are
    pass


class _Raising:
    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise ValueError


class _Slots:
    __slots__ = ("content",)

    def __init__(self) -> None:
        self.content = "x" * 1_000_000


@pytest.mark.parametrize(
    "heavy",
    [
        _Text("x" * 1_000_000), bytearray(1_000_000), memoryview(bytes(1_000_000)), _Slots(),
        OrderedDict(content="x" * 1_000_000), deque(["x" * 1_000_000]), {"x" * 1_000_000},
        [*({"content": _Text("x" * 1000)} for _ in range(1000))],
    ],
    ids=lambda heavy: type(heavy).__name__,
)  # fmt: skip
def test_what_weighs_is_weighed_whatever_its_class(heavy: Any) -> None:
    """A thousand answers of 10 MB in a class of a client's own are no 1 MB together."""
    assert 1_000_000 <= of_all({"answer": [heavy, _Raising()]}) < 3_000_000


def test_the_bodies_of_an_asgi_service_say_their_size() -> None:
    """A part of one byte takes 42: four million of them are no 4 MB."""
    noted: Any = SimpleNamespace(answer=None, size=0)
    bodies = Bodies(noted, [], "")
    bodies.received({"body": b"x" * 1000})
    for _ in range(100):
        bodies.sent({"type": "http.response.body", "body": b"y"})
    bodies.complete()
    assert noted.size == 1000 + 100 + 101 * 41
