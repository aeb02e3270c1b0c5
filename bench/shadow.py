"""What shadow mode costs a user: nanoseconds of `Shadow.offer`, and a service's latency with the shadow off and on.

The service answers 200 requests a second (asyncio, or a pool of threads) from a fake model over local HTTP, which has a
process of its own and takes 60 to 140 ms for an answer. Rounds without a shadow, with 20 % shadowed, and with a canary
that hangs alternate, with the same arrivals and the same model times in each. Ratios are medians over rounds of that
round's ratio to the one without. The bar is 1.02.

    python -m bench.shadow [--seconds 10] [--rounds 5] [--threads]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import http.client
import json
import queue
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from killswitch.model import Cohort
from killswitch.router.route_types import NOTHING_SHADOWED, Route, RouteReason, ShadowSplit
from killswitch.router.shadow import Asking, Finished, Shadow
from killswitch.router.shadow.answers import read

PER_SECOND = 200
PERCENT = 20.0
BAR = 1.02
CONTROL = Route(Cohort.CONTROL, "model-old", RouteReason.SPLIT, 1, 1)
CONVERSATION = [{"role": "user", "content": "How do I return an order? " * 20} for _ in range(20)]
ANSWER = "You can return it within thirty days. " * 30


class FixedRouter:
    """What `Router` says, without a store."""

    rollout = "bench"

    def __init__(self, percent: float) -> None:
        self.split = ShadowSplit(percent, {}, "shadow/", "model-old", "model-new", 1) if percent else NOTHING_SHADOWED

    def shadow_split(self) -> ShadowSplit:
        return self.split


def finished(request_id: str, answer: Any = None, seconds: float = 0.1, started: float = 0.0) -> Finished:
    arguments = {"model": "model-old", "messages": CONVERSATION}
    return Finished(
        request_id, "u", "c", "chat", arguments, tuple(CONVERSATION), answer, CONTROL, started, seconds, "ok"
    )


def answer_of(text: str) -> dict[str, Any]:
    """A chat completion as JSON."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3000, "completion_tokens": 300, "total_tokens": 3300}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [choice],
        "usage": usage,
    }


# --- (a) one call of `offer`


def nanoseconds(shadow: Shadow, requests: list[Finished]) -> tuple[float, float]:
    """Median and 99th percentile of one call, an empty one's median taken off.

    Of 50 rounds the best, because in the others this machine did something else in between.
    """

    def times(of: Callable[[Finished], object]) -> list[int]:
        found = []
        for one in requests:
            start = time.perf_counter_ns()
            of(one)
            found.append(time.perf_counter_ns() - start)
        return sorted(found)

    empty = min(statistics.median(times(lambda one: None)) for _ in range(10))  # noqa: ARG005
    rounds = []
    for _ in range(50):
        rounds.append(times(shadow.offer))
        shadow._queue.clear()  # noqa: SLF001  # as the dispatcher does: its memory is used again
        shadow._bytes = 0  # noqa: SLF001
    return (
        min(statistics.median(one) for one in rounds) - empty,
        min(one[int(0.99 * len(one))] for one in rounds) - empty,
    )


def offers(folder: str) -> None:
    """An answer is weighed by how a client gives it: as JSON, as an object, or as an object without a ``__dict__``."""
    answer = answer_of(ANSWER)
    kinds: list[tuple[str, float, int, Any]] = [
        ("the flag shadows nothing", 0.0, 10**9, answer),
        ("not sampled", 1e-9, 10**9, answer),
        ("sampled", 100.0, 10**9, answer),
        ("sampled, no answer to weigh", 100.0, 10**9, object()),
    ]
    with suppress(ImportError):
        from openai.types.chat import ChatCompletion  # noqa: PLC0415  # only if installed

        kinds.append(("sampled, OpenAI client's object", 100.0, 10**9, ChatCompletion.model_validate(answer)))
    kinds.append(("sampled, and the queue is full", 100.0, 0, answer))
    print(f"{'one call of offer()':34}{'p50 ns':>8}{'p99 ns':>8}")
    for name, percent, room, given in kinds:
        requests = [finished(f"request-{number}", given) for number in range(1000)]
        router = FixedRouter(percent)
        shadow = Shadow(router, ask=lambda asking: None, spool=folder, queue=1)  # noqa: ARG005
        shadow._ended.set()  # noqa: SLF001  # measured is the request's path, not the threads that empty the queue
        shadow._thread.join()  # noqa: SLF001
        shadow._room = shadow._unseen_room = room  # noqa: SLF001
        gc.collect()
        gc.disable()
        median, high = nanoseconds(shadow, requests)
        gc.enable()
        shadow.close(0.0)
        print(f"{name:34}{median:8.0f}{high:8.0f}")


# --- (b) reading a stream: it takes the service's own time, for control's chunks and for the canary's


def readings() -> None:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    ends = [None] * 499 + ["stop"]
    chunks: list[Any] = [
        {**chunk, "choices": [{"index": 0, "delta": {"content": f"word{number} "}, "finish_reason": end}]}
        for number, end in enumerate(ends)
    ]
    kinds = {"JSON": chunks, "events of a body": [b"data: %s\n\n" % json.dumps(one).encode() for one in chunks]}
    with suppress(ImportError):
        from openai.types.chat import ChatCompletionChunk  # noqa: PLC0415  # only if installed

        kinds["objects of the OpenAI client"] = [ChatCompletionChunk.construct(**one) for one in chunks]
    print(f"\n{'read() of 500 chunks':34}{'CPU ms':>8}")
    for name, stream in kinds.items():
        found = []
        for _ in range(20):
            start = time.thread_time()
            read(stream)
            found.append(time.thread_time() - start)
        print(f"{name:34}{1e3 * min(found):8.2f}")


# --- (c) a service under load


def upstream() -> None:
    """The fake model, as a process: prints its port; a request says how long it takes; ``hang`` never answers."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                body = json.loads(await reader.readexactly(length))
                await asyncio.sleep(3600.0 if body.get("hang") else body["seconds"])
                answer = json.dumps(answer_of(ANSWER)).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))
                await writer.drain()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        async with server:
            await server.serve_forever()

    asyncio.run(run())


class Model:
    """A client of the fake model that keeps its connections, for threads."""

    def __init__(self, port: int, timeout: float = 60.0) -> None:
        self._port = port
        self._timeout = timeout
        self._idle: queue.SimpleQueue[http.client.HTTPConnection] = queue.SimpleQueue()

    def ask(self, body: dict[str, Any]) -> Any:
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=self._timeout)
        connection.request("POST", "/", json.dumps(body).encode())
        answer = json.loads(connection.getresponse().read())
        self._idle.put(connection)
        return answer


class AsyncModel:
    """The same for asyncio."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, body: dict[str, Any]) -> Any:
        if self._idle:
            reader, writer = self._idle.pop()
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        data = json.dumps(body).encode()
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data))
        head = await reader.readuntil(b"\r\n\r\n")
        answer = await reader.readexactly(int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0]))
        self._idle.append((reader, writer))
        return json.loads(answer)


def schedule(seconds: float, seed: int) -> list[tuple[float, float, str]]:
    """When each request arrives, how long its model takes, and its id."""
    draw = random.Random(seed)
    number = int(seconds * PER_SECOND)
    return [(at / PER_SECOND, draw.uniform(0.06, 0.14), f"{seed}-{at}") for at in range(number)]


async def serve_async(port: int, arrivals: list[tuple[float, float, str]], shadow: Shadow) -> list[float]:
    model, found = AsyncModel(port), []
    start = time.perf_counter() + 0.2

    async def one(at: float, takes: float, request_id: str) -> None:
        began = time.time()
        answer = await model.ask({"messages": CONVERSATION, "seconds": takes})
        shadow.offer(finished(request_id, answer, takes, began))
        found.append(time.perf_counter() - start - at)

    async with asyncio.TaskGroup() as tasks:
        for at, takes, request_id in arrivals:
            await asyncio.sleep(max(0.0, start + at - time.perf_counter()))
            tasks.create_task(one(at, takes, request_id))
    return found


def serve_threads(port: int, arrivals: list[tuple[float, float, str]], shadow: Shadow) -> list[float]:
    model, found = Model(port), []
    work: queue.SimpleQueue[tuple[float, float, str] | None] = queue.SimpleQueue()
    start = time.perf_counter() + 0.2

    def run() -> None:
        while (job := work.get()) is not None:
            at, takes, request_id = job
            began = time.time()
            answer = model.ask({"messages": CONVERSATION, "seconds": takes})
            shadow.offer(finished(request_id, answer, takes, began))
            found.append(time.perf_counter() - start - at)

    threads = [threading.Thread(target=run) for _ in range(64)]
    for thread in threads:
        thread.start()
    for job in arrivals:
        time.sleep(max(0.0, start + job[0] - time.perf_counter()))
        work.put(job)
    for _ in threads:
        work.put(None)
    for thread in threads:
        thread.join()
    return found


def one_round(port: int, how: str, seconds: float, seed: int, folder: str, *, threads: bool) -> tuple[float, float]:
    """The service's p50 and p99 in milliseconds."""
    model, async_model = Model(port, timeout=20.0), AsyncModel(port)
    body = {"seconds": 0.1, "hang": how == "hangs"}

    async def ask_async(asking: Asking) -> Any:
        return await async_model.ask({**body, "messages": asking.request["messages"]})

    def ask(asking: Asking) -> Any:
        return model.ask({**body, "messages": asking.request["messages"]})

    router = FixedRouter(0.0 if how == "off" else PERCENT)
    shadow = Shadow(router, ask=ask if threads else ask_async, spool=folder, workers=8)
    arrivals = schedule(seconds, seed)
    gc.collect()
    found = serve_threads(port, arrivals, shadow) if threads else asyncio.run(serve_async(port, arrivals, shadow))
    shadow.close(0.0)
    ordered = sorted(found)
    return 1e3 * statistics.median(ordered), 1e3 * ordered[int(0.99 * len(ordered))]


def service(seconds: float, rounds: int, folder: str, *, threads: bool) -> bool:
    model = subprocess.Popen([sys.executable, "-m", "bench.shadow", "upstream"], stdout=subprocess.PIPE, text=True)
    try:
        assert model.stdout is not None
        port = int(model.stdout.readline())
        one_round(port, "off", 2.0, 99, folder, threads=threads)
        results: dict[str, list[tuple[float, float]]] = {"off": [], "on": [], "hangs": []}
        for number in range(rounds):
            order = list(results)
            for how in order[number % 3 :] + order[: number % 3]:  # none is always the first
                results[how].append(one_round(port, how, seconds, number, folder, threads=threads))
    finally:
        model.kill()
        model.wait()
    kind = "64 threads" if threads else "asyncio"
    print(f"\n{kind}, {PER_SECOND} requests/s, {PERCENT:g} % shadowed: {rounds} rounds of {seconds:g} s")
    print(f"{'the shadow':14}{'p50 ms':>9}{'p99 ms':>9}{'p50 ratio':>11}{'p99 ratio':>11}")
    within = True
    for how, found in results.items():
        p50, p99 = (statistics.median(one[index] for one in found) for index in (0, 1))
        ratios = [
            statistics.median(one[index] / off[index] for one, off in zip(found, results["off"], strict=True))
            for index in (0, 1)
        ]
        within = within and max(ratios) <= BAR
        print(f"{how:14}{p50:9.2f}{p99:9.2f}{ratios[0]:11.4f}{ratios[1]:11.4f}")
    print(f"the bar is {BAR}: {'kept' if within else 'BROKEN'}")
    return within


def main() -> None:
    if sys.argv[1:] == ["upstream"]:
        upstream()
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        offers(folder)
        readings()
        if not service(given.seconds, given.rounds, folder, threads=given.threads):
            raise SystemExit(1)


if __name__ == "__main__":
    main()
