"""A whole `Shadow` over real threads and event loops: nothing reaches a user, and nothing is mixed up."""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from killswitch.router import CohortMetrics
from killswitch.router.instruments import PrometheusInstruments
from killswitch.router.shadow import Asking, Shadow
from tests.doubles.finished_requests import chat_answer, drops, entries, finished, pairs
from tests.doubles.held_split import HeldSplit, control_only, router_over, shadowed
from tests.servers.etcd import wait_until


def words_of(asking: Asking) -> str:
    return str(asking.request["messages"][-1]["content"])


def answers(asking: Asking) -> Any:
    return chat_answer(f"{asking.model} says {words_of(asking)}")


async def answers_async(asking: Asking) -> Any:
    await asyncio.sleep(0.001)
    return answers(asking)


def answers_later(asking: Asking) -> Any:
    """A plain function that returns something to await."""
    return answers_async(asking)


def shadow_of(folder: Path, ask: Callable[[Asking], Any] = answers, **settings: Any) -> tuple[Shadow, HeldSplit]:
    router, held = router_over(shadowed(100.0))
    return Shadow(router, ask=ask, spool=folder, **settings), held


def tagged(number: int) -> Any:
    arguments = {"model": "model-old", "messages": [{"role": "user", "content": f"tag-{number}"}]}
    return finished(f"tag-{number}", arguments=arguments, answer=chat_answer(f"control says tag-{number}"))


@pytest.mark.parametrize("ask", [answers, answers_async, answers_later])
def test_ten_thousand_at_once_are_not_mixed_up(tmp_path: Path, ask: Callable[[Asking], Any]) -> None:
    """Each pair has the answers to its own request, and control's own objects are as they were."""
    number_of = 10_000 if ask is answers else 1000
    shadow, _ = shadow_of(tmp_path, ask, workers=16, queue=number_of, noise=0.1)
    requests = [tagged(number) for number in range(number_of)]
    before = copy.deepcopy([(one.arguments, one.answer) for one in requests])
    random.Random(7).shuffle(requests)
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(shadow.offer, requests))
    shadow.close(120.0)
    assert results == [None] * number_of
    recorded = pairs(tmp_path)
    mixed_up = [
        pair.id
        for pair in recorded
        if pair.control.text != f"control says {pair.id}"
        or pair.request["messages"][0]["content"] != pair.id
        or pair.other.text != f"{pair.other.model} says {pair.id}"
        or pair.other.model != {"candidate": "model-new", "noise": "model-old"}[pair.kind]
    ]
    assert mixed_up == []
    candidates = [pair.id for pair in recorded if pair.kind == "candidate"]
    assert len(candidates) == len(set(candidates))
    assert len(candidates) + sum(drops(tmp_path).values()) == number_of
    assert drops(tmp_path).keys() <= {"late"}  # a machine that is shared may take a minute
    assert [(one.arguments, one.answer) for one in sorted(requests, key=lambda one: int(one.request_id[4:]))] == before


def chunk(text: str, finish: str | None = None) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "choices": [{"delta": {"content": text}, "finish_reason": finish}]}


def streams(asking: Asking) -> Iterator[Any]:
    yield chunk("Hello ")
    yield chunk(asking.model)
    yield chunk("", "stop")


async def streams_async(asking: Asking) -> AsyncIterator[Any]:
    for one in streams(asking):
        await asyncio.sleep(0)
        yield one


async def opens_a_stream(asking: Asking) -> Any:
    return streams_async(asking)


@pytest.mark.parametrize("ask", [streams, streams_async, opens_a_stream])
def test_a_stream_is_asked_as_a_stream(tmp_path: Path, ask: Callable[[Asking], Any]) -> None:
    shadow, _ = shadow_of(tmp_path, ask, noise=0.0)
    arguments = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
    shadow.offer(finished(arguments=arguments, answer=[chunk("con"), chunk("trol", "stop")]))
    shadow.close()
    (pair,) = pairs(tmp_path)
    assert (pair.control.text, pair.control.streamed) == ("control", True)
    assert (pair.other.text, pair.other.streamed, pair.other.outcome) == ("Hello model-new", True, "ok")
    assert pair.other.first_token_seconds is not None
    assert pair.concurrent


def test_a_stream_that_is_answered_whole_is_not_concurrent(tmp_path: Path) -> None:
    shadow, _ = shadow_of(tmp_path, noise=0.0)
    shadow.offer(
        finished(
            arguments={"messages": [{"role": "user", "content": "hi"}], "stream": True}, answer=[chunk("c", "stop")]
        )
    )
    shadow.close()
    (pair,) = pairs(tmp_path)
    assert (pair.other.streamed, pair.concurrent) == (False, False)


def drips(asking: Asking) -> Iterator[Any]:
    while True:
        time.sleep(0.02)
        yield chunk("drip ")


async def drips_async(asking: Asking) -> AsyncIterator[Any]:
    while True:
        await asyncio.sleep(0.02)
        yield chunk("drip ")


@pytest.mark.parametrize("ask", [drips, drips_async])
def test_a_stream_without_end_is_a_timeout(tmp_path: Path, ask: Callable[[Asking], Any]) -> None:
    shadow, _ = shadow_of(tmp_path, ask, timeout=0.2, noise=0.0)
    shadow.offer(
        finished(
            arguments={"messages": [{"role": "user", "content": "hi"}], "stream": True}, answer=[chunk("c", "stop")]
        )
    )
    wait_until(lambda: bool(pairs(tmp_path)), "the pair")
    shadow.close()
    assert [pair.other.outcome for pair in pairs(tmp_path)] == ["timeout"]


class Hanging:
    """Hangs for ``hang-…`` until ``free``, in whatever way ``how`` says; answers the others."""

    def __init__(self) -> None:
        self.free = threading.Event()

    def sync(self, asking: Asking) -> Any:
        if words_of(asking).startswith("hang"):
            self.free.wait(60.0)
        return answers(asking)

    async def swallows_its_end(self, asking: Asking) -> Any:
        while words_of(asking).startswith("hang") and not self.free.is_set():
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                continue
        return answers(asking)

    async def waits(self, asking: Asking) -> Any:
        if words_of(asking).startswith("hang"):
            await asyncio.sleep(3600.0)
        return answers(asking)


def asking_for(words: str) -> Any:
    return finished(words, arguments={"messages": [{"role": "user", "content": words}]})


@pytest.mark.parametrize("how", ["sync", "swallows_its_end", "waits"])
def test_calls_that_hang_stop_no_others_and_are_bounded(tmp_path: Path, how: str) -> None:
    hanging = Hanging()
    shadow, _ = shadow_of(tmp_path, getattr(hanging, how), workers=2, timeout=0.2, noise=0.0)
    for number in range(3):
        shadow.offer(asking_for(f"hang-{number}"))
    for number in range(5):
        shadow.offer(asking_for(f"fine-{number}"))
    wait_until(lambda: len(pairs(tmp_path)) == 8, "all pairs")
    outcomes = {pair.id: pair.other.outcome for pair in pairs(tmp_path)}
    assert outcomes == {f"hang-{n}": "timeout" for n in range(3)} | {f"fine-{n}": "ok" for n in range(5)}
    before = threading.active_count()
    for number in range(10):
        shadow.offer(asking_for(f"hang-more-{number}"))
    wait_until(lambda: not shadow._queue, "the queue is let go or asked")
    assert threading.active_count() <= before + 4
    hanging.free.set()
    shadow.close(10.0)
    wrong = [pair.id for pair in pairs(tmp_path) if pair.id.startswith("hang") and pair.other.outcome != "timeout"]
    assert len(wrong) <= 4  # those that ran when they were freed


def raises(asking: Asking) -> Any:
    raise ValueError("sk-secret")


def exits(asking: Asking) -> Any:
    raise SystemExit(3)


@pytest.mark.parametrize("ask", [raises, exits])
def test_a_call_that_raises_is_recorded_and_ends_nothing(tmp_path: Path, ask: Callable[[Asking], Any]) -> None:
    shadow, _ = shadow_of(tmp_path, ask, noise=0.0)
    for number in range(20):
        shadow.offer(tagged(number))
    shadow.close()
    assert {pair.other.outcome for pair in pairs(tmp_path)} <= {"error", "cancelled"}
    assert len(pairs(tmp_path)) == 20
    assert "sk-secret" not in "".join(path.read_text() for path in tmp_path.glob("*.raw"))


def test_a_client_that_changes_its_request_changes_no_one_elses(tmp_path: Path) -> None:
    def changes(asking: Asking) -> Any:
        said = answers(asking)
        asking.request["messages"].append({"role": "assistant", "content": "mine"})
        asking.request["messages"][0]["content"] = "spoilt"
        return said

    shadow, _ = shadow_of(tmp_path, changes, noise=1.0)
    one = tagged(1)
    shadow.offer(one)
    shadow.close()
    assert one.arguments["messages"] == [{"role": "user", "content": "tag-1"}]
    assert [pair.request["messages"] for pair in pairs(tmp_path)] == [[{"role": "user", "content": "tag-1"}]] * 2
    assert {pair.other.text for pair in pairs(tmp_path)} == {"model-new says tag-1", "model-old says tag-1"}


def test_tool_calls_are_recorded_and_nothing_is_executed(tmp_path: Path) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "refund", "arguments": '{ "amount": 5 }'}}
    answer = {"choices": [{"message": {"content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"}]}
    shadow, _ = shadow_of(tmp_path, lambda asking: answer, noise=0.0)
    arguments = {
        "messages": [{"role": "user", "content": "x"}],
        "tools": [{"type": "function", "function": {"name": "refund"}}],
    }
    shadow.offer(finished("said", arguments=arguments, side_effects=False))
    shadow.offer(finished("not said", arguments=arguments))
    shadow.close()
    (pair,) = pairs(tmp_path)
    assert [(one.name, one.arguments) for one in pair.other.tool_calls] == [("refund", '{"amount":5}')]
    assert drops(tmp_path) == {"side_effects": 1}


def test_close_asks_what_waits_and_counts_what_is_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hanging = Hanging()
    shadow, _ = shadow_of(tmp_path, hanging.sync, workers=2, noise=0.0, queue=100)
    for number in range(30):
        shadow.offer(asking_for(f"fine-{number}"))
    wait_until(lambda: not shadow._queue, "the queue")
    for number in range(10):
        shadow.offer(asking_for(f"hang-{number}"))
    with caplog.at_level(logging.WARNING):
        shadow.close(1.0)
        shadow.close(1.0)
    assert {pair.id for pair in pairs(tmp_path)} == {f"fine-{n}" for n in range(30)}
    assert drops(tmp_path) == {"shutting_down": 10}
    assert caplog.text.count("10 sampled requests were lost in shutting down") == 1
    hanging.free.set()


def test_a_trip_turns_it_off_within_a_turn(tmp_path: Path) -> None:
    asked: list[str] = []
    shadow, held = shadow_of(tmp_path, lambda asking: asked.append(words_of(asking)), noise=0.0)
    held.current = control_only(held.current.control_route.reason)  # type: ignore[arg-type]
    shadow.offer(asking_for("after the trip"))
    shadow.close()
    assert asked == []
    assert entries(tmp_path) == []


def test_shadowed_requests_are_counted_by_the_usual_names(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    router, _ = router_over(shadowed(100.0))
    metrics = CohortMetrics(router, instruments=PrometheusInstruments.of(registry))

    def ask(asking: Asking) -> Any:
        if "limit" in words_of(asking):
            return {"error": {"code": "insufficient_quota"}}
        return answers(asking) if "fine" in words_of(asking) else {"error": {"code": "server_error"}}

    ask.shares_key = True  # type: ignore[attr-defined]  # as `shadow_ask` has found
    shadow = Shadow(router, ask=ask, spool=tmp_path, metrics=metrics, noise=0.0, workers=1)
    cohort = {"model": "model-new", "cohort": "shadow"}
    wait_until(lambda: registry.get_sample_value("llm_requests_total", {**cohort, "outcome": "ok"}) == 0.0, "zeros")
    for words in ("fine-1", "fine-2", "bad", "limit"):
        shadow.offer(asking_for(words))
    shadow.offer(finished("never", served_outcome="error"))
    shadow.close()
    value = registry.get_sample_value
    assert value("llm_requests_total", {**cohort, "outcome": "ok"}) == 2.0
    assert value("llm_requests_total", {**cohort, "outcome": "error"}) == 1.0
    assert value("llm_judged_requests_total", {**cohort, "outcome": "ok"}) == 1.0  # one user's
    assert value("llm_latency_ms_count", cohort) == 3.0
    assert value("llm_completion_tokens_sum", cohort) == 14.0
    pair = {"rollout": "support-copilot", "kind": "candidate"}
    assert value("llm_shadow_pairs_total", {**pair, "outcome": "budget"}) == 1.0
    assert value("llm_shadow_dropped_total", {"rollout": "support-copilot", "reason": "not_comparable"}) == 1.0
    assert value("llm_shadow_shared_key_total", {"rollout": "support-copilot"}) == 4.0
    assert value("llm_shadow_uncapped_total", {"rollout": "support-copilot"}) == 4.0


def test_a_forked_child_shadows_its_own_requests_alone(tmp_path: Path) -> None:
    """What waited in the parent is asked once, by the parent; the child's threads are its own."""
    hanging = Hanging()
    shadow, _ = shadow_of(tmp_path, hanging.sync, workers=1, noise=0.0)
    shadow.offer(asking_for("hang-parent"))
    wait_until(lambda: not shadow._queue, "the parent asks")
    shadow.offer(asking_for("waits in the parent"))
    child = os.fork()
    if child == 0:
        try:
            shadow.offer(asking_for("of the child"))
            shadow.close(20.0)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert [pair.id for pair in pairs(tmp_path)] == ["of the child"]
    hanging.free.set()
    shadow.close(20.0)
    assert sorted(pair.id for pair in pairs(tmp_path)) == ["hang-parent", "of the child", "waits in the parent"]


def test_no_fork_happens_while_metrics_are_counted(tmp_path: Path) -> None:
    """A lock of prometheus_client that is held in a fork would hang the child's own requests."""
    shadow, _ = shadow_of(tmp_path)
    held, counted = threading.Event(), threading.Event()

    def count() -> None:
        with shadow.counting:
            held.set()
            time.sleep(0.05)
            counted.set()

    counting = threading.Thread(target=count)
    counting.start()
    held.wait(20.0)
    child = os.fork()
    if child == 0:
        os._exit(0 if counted.is_set() and not shadow.counting.locked() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    counting.join()
    shadow.close()


def test_a_metric_that_hangs_is_not_waited_for_by_a_fork(tmp_path: Path) -> None:
    """Its lock is held in the child for good: there nothing is counted, and the shadow goes on."""
    router, _ = router_over(shadowed(100.0))
    metrics = CohortMetrics(router, instruments=PrometheusInstruments.of(CollectorRegistry()))
    shadow = Shadow(router, ask=answers, spool=tmp_path, metrics=metrics)
    held, forked = threading.Event(), threading.Event()

    def count() -> None:
        with shadow.counting:
            held.set()
            forked.wait(20.0)

    counting = threading.Thread(target=count)
    counting.start()
    held.wait(20.0)
    child = os.fork()
    if child == 0:
        os._exit(0 if shadow._counting._metrics is None and shadow.counting.acquire(timeout=20.0) else 1)
    assert shadow.counting.locked()  # it still hangs, and the fork has not waited for its end
    forked.set()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    counting.join()
    shadow.close()


PROGRAM = """
import sys
from pathlib import Path
from tests.integration.router.shadow.test_shadow_service import shadow_of, tagged
shadow, _ = shadow_of(Path(sys.argv[1]), noise=0.0)
for number in range(200):
    shadow.offer(tagged(number))
"""


def test_a_process_that_ends_writes_what_waits(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[4])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "spool")],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(pairs(tmp_path / "spool")) == 200
    assert "Traceback" not in done.stderr


def test_a_full_queue_and_a_full_disk_reach_no_user(tmp_path: Path) -> None:
    """The service's own answers come back as ever, while the canary hangs and the folder cannot be written."""
    (tmp_path / "spool").write_text("in the way of the folder")
    hanging = Hanging()
    shadow, _ = shadow_of(tmp_path / "spool", hanging.sync, workers=1, queue=5, noise=0.0)
    served = []
    for number in range(200):
        one = asking_for(f"hang-{number}")
        shadow.offer(one)
        served.append(one.answer)
    assert served == [chat_answer("good day")] * 200
    hanging.free.set()
    shadow.close(3.0)
    assert (tmp_path / "spool").read_text() == "in the way of the folder"
