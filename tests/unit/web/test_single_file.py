"""Requests wait for their turn without a thread: a crowd of them leaves the threads to everything else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial

import pytest
from anyio.to_thread import current_default_thread_limiter

from killswitch.web.single_file import MAX_WAITING, NoTurn, SingleFile


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1_000_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError


def test_a_crowd_has_one_thread() -> None:
    hangs, done = threading.Event(), []

    def work(number: int) -> int:
        hangs.wait(60)
        done.append(number)
        return number

    async def crowd() -> list[int | BaseException]:
        line = SingleFile(within=60.0)
        tasks = [asyncio.create_task(line.run(partial(work, number))) for number in range(MAX_WAITING)]
        await until(lambda: bool(current_default_thread_limiter().borrowed_tokens))
        assert current_default_thread_limiter().borrowed_tokens == 1
        assert not line.full
        hangs.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    assert asyncio.run(crowd()) == done == list(range(MAX_WAITING))


def test_who_comes_when_too_many_wait_gets_no_turn() -> None:
    hangs = threading.Event()

    async def crowd() -> list[object]:
        line = SingleFile(within=60.0)
        tasks = [asyncio.create_task(line.run(lambda: hangs.wait(60))) for _ in range(MAX_WAITING + 10)]
        await until(tasks[-1].done)
        assert line.full
        hangs.set()
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    ends, served = asyncio.run(crowd()), MAX_WAITING + 1  # one has its turn, the others wait
    assert ends.count(True) == served
    assert all(isinstance(one, NoTurn) for one in ends[served:])


def test_who_waits_too_long_gets_no_turn_and_the_next_one_does() -> None:
    hangs = threading.Event()

    async def three() -> None:
        line = SingleFile(within=0.0)
        first = asyncio.create_task(line.run(lambda: hangs.wait(60)))
        await until(lambda: bool(current_default_thread_limiter().borrowed_tokens))
        with pytest.raises(NoTurn):
            await line.run(lambda: True)
        hangs.set()
        assert await first
        assert await line.run(lambda: True)
        assert not line.full

    asyncio.run(three())


def test_work_that_fails_ends_its_turn() -> None:
    def fails() -> None:
        raise ValueError("bug")

    async def two() -> bool:
        line = SingleFile(within=0.0)
        with pytest.raises(ValueError, match="bug"):
            await line.run(fails)
        return await line.run(lambda: True)

    assert asyncio.run(two())
