"""The request's path: `Shadow.offer` never raises, waits, copies or returns anything."""

from __future__ import annotations

import ast
import inspect
import textwrap
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from killswitch.errors import BadSettings
from killswitch.router.shadow import Shadow
from tests.doubles.finished_requests import drops, finished
from tests.doubles.held_split import HeldSplit, control_only, router_over, shadowed


class Stopped(Shadow):
    """A shadow whose threads do nothing: what is offered stays where it was put."""

    def _run(self) -> None:
        pass


@pytest.fixture
def held() -> HeldSplit:
    return HeldSplit(shadowed(100.0))


@pytest.fixture
def shadow(held: HeldSplit, tmp_path: Path) -> Iterator[Shadow]:
    router, _ = router_over(held.current)
    router._following = held
    made = Stopped(router, ask=lambda asking: None, spool=tmp_path / "spool", queue=3)
    yield made
    made.close(0.0)


def dropped(shadow: Shadow) -> dict[str, int]:
    return {reason.value: number for reason, number in shadow._drops.take().items()}


def test_what_is_sampled_waits_as_the_same_objects(shadow: Shadow) -> None:
    one = finished()
    assert shadow.offer(one) is None  # type: ignore[func-returns-value]  # that is what is tested
    ((waiting, _, _, _, _),) = shadow._queue
    assert waiting is one
    assert waiting.arguments is one.arguments


def test_a_full_queue_drops_and_counts(shadow: Shadow) -> None:
    for number in range(10):
        shadow.offer(finished(f"r{number}"))
    assert len(shadow._queue) == 3
    assert dropped(shadow) == {"queue_full": 7}


def test_nothing_is_sampled_where_the_flag_asks_for_none(shadow: Shadow, held: HeldSplit) -> None:
    held.current = control_only(held.current.control_route.reason)  # type: ignore[arg-type]
    shadow.offer(finished())
    assert not shadow._queue
    assert not shadow.samples("request-1")


def test_percents_go_by_prompt_class(shadow: Shadow, held: HeldSplit) -> None:
    held.current = shadowed(0.0, support=100.0)
    shadow.offer(finished(prompt_class="legal"))
    assert not shadow._queue
    shadow.offer(finished(prompt_class="support"))
    assert len(shadow._queue) == 1
    assert shadow.samples("request-1", "support")
    assert not shadow.samples("request-1", "legal")


def test_samples_says_what_offer_does(shadow: Shadow, held: HeldSplit) -> None:
    held.current = shadowed(30.0)
    shadow._room = shadow._unseen_room = 1000
    ids = [f"r{number}" for number in range(300)]
    for one in ids:
        shadow.offer(finished(one))
    assert [waiting.request_id for waiting, *_ in shadow._queue] == [one for one in ids if shadow.samples(one)]


class Hostile(str):
    __slots__ = ()

    def __radd__(self, other: object) -> str:
        raise RuntimeError("no")


class Worse:
    def __getattr__(self, name: str) -> Any:
        if name == "__name__":
            return "worse"  # pytest asks
        raise ValueError(name)

    def __eq__(self, other: object) -> bool:
        raise ValueError

    def __hash__(self) -> int:
        raise ValueError


@pytest.mark.parametrize(
    ("changes", "waits"),
    [
        ({"request_id": Hostile("a")}, 1),
        ({"request_id": "half \ud800"}, 1),
        ({"request_id": 12345}, 1),
        ({"request_id": None}, 0),
        ({"request_id": Worse()}, 0),
        ({"prompt_class": ["unhashable"]}, 1),
        ({"prompt_class": Worse()}, 1),
        ({"control_status": Worse()}, 0),
        ({"answer": Worse(), "arguments": Worse(), "user": Worse(), "route": Worse()}, 1),
    ],
)
def test_hostile_values_never_raise(shadow: Shadow, held: HeldSplit, changes: dict[str, Any], waits: int) -> None:
    held.current = shadowed(100.0, support=100.0)
    request_id = changes.pop("request_id", "r")
    shadow.offer(finished(request_id, **changes))
    assert len(shadow._queue) == waits
    assert dropped(shadow) == ({} if waits else {"unidentified": 1})


@pytest.mark.parametrize("what", [None, 3, "text", Worse(), object()])
def test_what_is_no_finished_request_never_raises(shadow: Shadow, what: Any) -> None:
    shadow.offer(what)
    assert dropped(shadow) == {"unidentified": 1}


def test_offer_waits_for_no_lock(shadow: Shadow) -> None:
    """Every lock of the shadow is held elsewhere, and `offer` returns all the same."""
    with shadow.counting, shadow._spool._lock, shadow._spool._writing:
        offering = threading.Thread(target=shadow.offer, args=(finished(),))
        offering.start()
        offering.join(10.0)
        assert not offering.is_alive()
    assert len(shadow._queue) == 1


# the names that `offer` may call: a hash, a comparison, a look at the answer's texts, a count, an append; and in a
# burst a walk through the request
ALLOWED = {
    "of_answer",
    "_room_for",
    "_split",
    "get",
    "_limited_once",
    "digest",
    "sha256",
    "encode",
    "first_four_bytes",
    "len",
    "_refused",
} | {
    *("append", "_clock", "_offer_unusual"),
}


def test_offer_calls_nothing_but_a_hash_and_an_append() -> None:
    """A lock, a log line, a copy or a thread on the request's path would be a new name here."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(Shadow.offer)))
    called = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = {one.attr if isinstance(one, ast.Attribute) else getattr(one, "id", "?") for one in called}
    assert names == ALLOWED
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.With | ast.AsyncWith | ast.Await | ast.For)]


def test_no_attribute_of_a_shadow_gives_an_answer(shadow: Shadow) -> None:
    """Nothing that the shadow was answered can be served: it has no public way out."""
    public = {name for name in dir(shadow) if not name.startswith("_")}
    methods = {"begin", "begin_in_child", "close", "control_failed", "drop", "offer", "samples"}
    assert public == methods | {"ask", "counting"}
    assert shadow.ask(None) is None  # type: ignore[arg-type]  # the service's own function, and no answer of ours
    assert inspect.signature(Shadow.offer).return_annotation == "None"


def test_counts_of_many_threads_are_exact(shadow: Shadow) -> None:
    shadow._room = shadow._unseen_room = 0
    start = threading.Barrier(8)

    def offer() -> None:
        start.wait()
        for number in range(2000):
            shadow.offer(finished(f"r{number}"))

    threads = [threading.Thread(target=offer) for _ in range(8)]
    for thread in threads:
        thread.start()
    seen = 0
    while any(thread.is_alive() for thread in threads):
        seen += dropped(shadow).get("queue_full", 0)
    assert seen + dropped(shadow).get("queue_full", 0) == 16_000


def test_after_close_what_is_offered_is_counted_as_lost(shadow: Shadow, tmp_path: Path) -> None:
    for number in range(2):
        shadow.offer(finished(f"r{number}"))
    shadow.close(0.0)
    shadow.offer(finished("late"))
    assert dropped(shadow) == {"shutting_down": 1}
    assert drops(tmp_path / "spool") == {"shutting_down": 2}


def test_the_queue_is_a_plain_deque(shadow: Shadow) -> None:
    """Its append is one step of C: no lock of Python, as in `queue.Queue`."""
    assert type(shadow._queue) is deque


@pytest.mark.parametrize(
    "wrong", [{"workers": 0}, {"queue": 0}, {"timeout": 0.0}, {"noise": 1.5}, {"timeout": float("nan")}]
)
def test_bad_settings_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    router, _ = router_over(shadowed())
    with pytest.raises(BadSettings, match=next(iter(wrong))):
        Shadow(router, ask=lambda asking: None, spool=tmp_path, **wrong)
