"""Where the shadow's calls run: a fixed number of threads, or one event loop for a coroutine function.

A call that does not come back is given up by the dispatcher: its place is taken by a new thread, its task is cancelled.
What hangs is counted, and the dispatcher stops asking before there are too many.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from queue import SimpleQueue
from typing import Any, Protocol

from killswitch.router.shadow.answers import AnswerReader
from killswitch.router.shadow.asking import Ask, Asking
from killswitch.router.shadow.call import Came, ShadowCall


class CallLane(Protocol):
    """Runs at most a fixed number of calls at a time."""

    def free(self) -> int:
        """How many more calls may be started."""
        ...

    def hung(self) -> int:
        """How many calls were given up and have not come back."""
        ...

    def running(self) -> tuple[ShadowCall, ...]: ...
    def start(self, call: ShadowCall) -> None: ...
    def abandon(self, call: ShadowCall) -> None: ...
    def close(self) -> None:
        """No more calls are started; threads that wait for work end."""
        ...


def lane_for(ask: Ask, workers: int, clock: Callable[[], float], wake: Callable[[], None]) -> CallLane:
    """The event loop for a coroutine function (or an object whose ``__call__`` is one), else threads."""
    if inspect.iscoroutinefunction(ask) or inspect.iscoroutinefunction(getattr(ask, "__call__", None)):  # noqa: B004
        return LoopLane(ask, workers, clock, wake)
    return ThreadLane(ask, workers, clock, wake)


class _Places:
    """Which calls run and which were given up."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._lock = threading.Lock()
        self._running: set[ShadowCall] = set()
        self._given_up: set[ShadowCall] = set()

    def free(self) -> int:
        return self._number - len(self._running)

    def hung(self) -> int:
        return len(self._given_up)

    def running(self) -> tuple[ShadowCall, ...]:
        with self._lock:
            return tuple(self._running)

    def enter(self, call: ShadowCall) -> None:
        with self._lock:
            self._running.add(call)

    def leave(self, call: ShadowCall) -> bool:
        """Whether it had been given up: its place is another's."""
        with self._lock:
            self._running.discard(call)
            given_up = call in self._given_up
            self._given_up.discard(call)
            return given_up

    def give_up(self, call: ShadowCall) -> bool:
        """Whether it was still running."""
        with self._lock:
            if call not in self._running:
                return False
            self._running.discard(call)
            self._given_up.add(call)
            return True


class _Lane:
    """What both kinds of lane begin with: places for ``workers`` calls, and a queue of those that were started."""

    def __init__(self, ask: Ask, workers: int, clock: Callable[[], float], wake: Callable[[], None]) -> None:
        self._ask = ask
        self._clock = clock
        self._wake = wake
        self._places = _Places(workers)
        self._work: SimpleQueue[ShadowCall | None] = SimpleQueue()
        self.free, self.hung, self.running = self._places.free, self._places.hung, self._places.running

    def start(self, call: ShadowCall) -> None:
        self._places.enter(call)
        self._work.put(call)


class ThreadLane(_Lane):
    """``workers`` threads, each with one call at a time. Satisfies `CallLane`."""

    def __init__(self, ask: Ask, workers: int, clock: Callable[[], float], wake: Callable[[], None]) -> None:
        super().__init__(ask, workers, clock, wake)
        self._loop: LoopThread | None = None  # for a plain function that returns something to await
        self._lock = threading.Lock()
        self._threads = 0
        for _ in range(workers):
            self._add_thread()

    def abandon(self, call: ShadowCall) -> None:
        if self._places.give_up(call):
            self._threads -= 1
            self._add_thread()

    def close(self) -> None:
        for _ in range(self._threads):
            self._work.put(None)
        if self._loop is not None:
            self._loop.stop()

    def _add_thread(self) -> None:
        thread = threading.Thread(target=self._run, name="killswitch-shadow-worker", daemon=True)
        with contextlib.suppress(RuntimeError):  # no more threads: the others go on
            thread.start()
            self._threads += 1

    def _run(self) -> None:
        while (call := self._work.get()) is not None:
            asking = call.prepare()
            if asking is not None:
                call.record(self._answer(asking))
            if self._places.leave(call):
                return
            self._wake()

    def _answer(self, asking: Asking) -> Came:
        watch = _Watch(self._clock, asking)
        try:
            answer = self._ask(asking)
            # LiteLLM's streams have both, and of a synchronous call only the synchronous one works
            if inspect.isawaitable(answer) or (hasattr(answer, "__aiter__") and not hasattr(answer, "__iter__")):
                return self._loop_thread().wait(_take_async(answer, watch), asking.timeout, watch)
            _take(answer, watch)
        except BaseException as error:  # noqa: BLE001  # SystemExit too: it is the shadow's and ends no service
            return watch.failed(error)
        return watch.came()

    def _loop_thread(self) -> LoopThread:
        with self._lock:
            if self._loop is None:
                self._loop = LoopThread()
            return self._loop


class LoopLane(_Lane):
    """An event loop with at most ``workers`` calls at a time, and a thread that prepares them. Satisfies `CallLane`."""

    def __init__(self, ask: Ask, workers: int, clock: Callable[[], float], wake: Callable[[], None]) -> None:
        super().__init__(ask, workers, clock, wake)
        self._loop = LoopThread()
        self._tasks: dict[ShadowCall, asyncio.Task[None]] = {}  # the loop itself keeps weak references only
        self._preparing = threading.Thread(target=self._prepare, name="killswitch-shadow-prepare", daemon=True)
        self._preparing.start()

    def abandon(self, call: ShadowCall) -> None:
        if self._places.give_up(call):
            self._loop.soon(lambda: self._cancel(call))

    def close(self) -> None:
        self._work.put(None)
        self._loop.stop()

    def _prepare(self) -> None:
        while (call := self._work.get()) is not None:
            asking = call.prepare()
            if asking is None:
                self._leave(call)
            else:
                self._loop.soon(lambda call=call, asking=asking: self._spawn(call, asking))  # type: ignore[misc]

    def _spawn(self, call: ShadowCall, asking: Asking) -> None:
        self._tasks[call] = asyncio.get_running_loop().create_task(self._run(call, asking))

    def _cancel(self, call: ShadowCall) -> None:
        task = self._tasks.get(call)
        if task is not None:
            task.cancel()
        else:
            self._leave(call)

    async def _run(self, call: ShadowCall, asking: Asking) -> None:
        watch = _Watch(self._clock, asking)
        try:
            try:
                async with asyncio.timeout(asking.timeout):
                    await _take_async(self._ask(asking), watch)
                came = watch.came()
            except BaseException as error:  # noqa: BLE001  # a cancellation too: nothing awaits this task
                came = watch.failed(error)
            call.record(came)
        finally:
            self._tasks.pop(call, None)
            self._leave(call)

    def _leave(self, call: ShadowCall) -> None:
        self._places.leave(call)
        self._wake()


class LoopThread:
    """An event loop on a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="killswitch-shadow-loop", daemon=True)
        self._thread.start()

    def soon(self, call: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # closed
            self._loop.call_soon_threadsafe(call)

    def wait(self, coroutine: Any, timeout: float, watch: _Watch) -> Came:
        """Run it here, while the calling thread waits at most ``timeout`` seconds."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            future.result(timeout)
        except BaseException as error:  # noqa: BLE001  # as `ThreadLane._answer`
            future.cancel()
            return watch.failed(error)
        return watch.came()

    def stop(self) -> None:
        """End it: what still runs is cancelled, and has a moment to close its connections."""
        self.soon(self._end)

    def _end(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.call_later(0.2, self._loop.stop)

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.close()


class _Watch:
    """The time of one call, and the reader of its answer."""

    def __init__(self, clock: Callable[[], float], asking: Asking) -> None:
        self._clock = clock
        self._started = clock()
        self._timeout = asking.timeout
        self.asked_streamed = asking.streamed
        self._streamed = asking.streamed  # a failed call is of the mode that was asked for
        self.reader = AnswerReader()
        self._first: float | None = None

    def add(self, chunk: object) -> None:
        """Take one chunk. Raises TimeoutError when a stream drips on after the timeout."""
        self.reader.add(chunk)
        seconds = self._clock() - self._started
        if self._first is None and self.reader.begun:
            self._first = seconds
        if seconds > self._timeout:
            raise TimeoutError("the shadow's own timeout")

    def came(self) -> Came:
        return Came(self.reader.result(), None, self._clock() - self._started, self._first, self._streamed)

    def failed(self, error: BaseException) -> Came:
        return Came(None, error, self._clock() - self._started, self._first, self._streamed)

    def whole(self, answer: object) -> None:
        """Take the whole answer, which did not come in chunks, whatever was asked for."""
        self._streamed = False
        self.reader.add(answer)


def _take(answer: Any, watch: _Watch) -> None:
    if not _is_stream(answer, watch):
        watch.whole(answer)
        return
    chunks: Iterator[Any] = iter(answer)
    try:
        for chunk in chunks:
            watch.add(chunk)
    finally:
        close = getattr(answer, "close", None)
        if callable(close):
            with contextlib.suppress(Exception):
                close()


async def _take_async(coming: Any, watch: _Watch) -> None:
    answer = await coming if inspect.isawaitable(coming) else coming
    if not hasattr(answer, "__aiter__"):
        _take(answer, watch)
        return
    chunks: AsyncIterator[Any] = aiter(answer)
    try:
        async for chunk in chunks:
            watch.add(chunk)
    finally:
        close = getattr(answer, "aclose", None) or getattr(answer, "close", None)
        if callable(close):
            with contextlib.suppress(Exception):
                closing = close()
                if inspect.isawaitable(closing):
                    await _settled(closing)


async def _settled(closing: Awaitable[Any]) -> None:
    await closing


def _is_stream(answer: object, watch: _Watch) -> bool:
    """Whether the answer comes in chunks: asked for as a stream, or something to iterate that is no whole answer."""
    if isinstance(answer, Mapping | str | bytes | bytearray) or answer is None:
        return False
    if isinstance(answer, list | tuple) or hasattr(answer, "__next__"):
        return True
    return watch.asked_streamed and hasattr(answer, "__iter__") and not hasattr(answer, "model_dump")
