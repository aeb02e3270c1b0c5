"""Processes with many threads that spend one cap together, over real stores, also when they are killed or forked."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from killswitch.spend.books import Book, from_document
from killswitch.spend.caps import Period
from killswitch.spend.reservations import NotReserved, Reservation, ScopedLedger, SpendReason
from killswitch.stores import Delete, keys
from killswitch.stores.opening import open_store
from tests.integration.spend.spender import AMOUNT, CAP, SCOPE, ledger
from tests.servers.etcd import wait_until
from tests.servers.image import REPOSITORY

PROCESSES, THREADS = 4, 250


class Spenders:
    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self._file = folder / "spent"
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *, threads: int, times: int) -> None:
        arguments = (self.url, str(self._file), str(threads), str(times))
        command = [sys.executable, "-m", "tests.integration.spend.spender", *arguments]
        self.processes.append(subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL))

    def wait(self) -> None:
        for process in self.processes:
            process.wait(120)

    @property
    def times(self) -> int:
        """How many reservations were spent, by those that live and those that were killed."""
        return self._file.read_bytes().count(b"\n") if self._file.exists() else 0


@pytest.fixture
def spenders(url: str, tmp_path: Path) -> Iterator[Spenders]:
    running = Spenders(url, tmp_path)
    yield running
    for process in running.processes:
        process.kill()
        process.wait()
    store = open_store(url)
    store.commit((), (Delete(keys.account(SCOPE, Period.MONTH)),))
    store.close()


def book(url: str) -> Book:
    store = open_store(url)
    item = store.get(keys.account(SCOPE, Period.MONTH))
    store.close()
    assert item is not None
    return from_document(item.value, SCOPE, Period.MONTH)


def test_a_thousand_reservations_in_four_processes_overshoot_nothing(spenders: Spenders) -> None:
    """A thousand threads ask for ten cents each, of five dollars."""
    for _ in range(PROCESSES):
        spenders.start(threads=THREADS, times=1)
    spenders.wait()
    assert 0.9 * CAP <= spenders.times * AMOUNT <= CAP
    account = book(spenders.url).current
    assert account.spent == spenders.times * AMOUNT
    assert account.leased == 0


def test_killed_processes_overshoot_nothing_and_their_money_returns(spenders: Spenders) -> None:
    """Two of four are killed in mid-spending. What they had not spent is spent by others after their leases."""
    for _ in range(PROCESSES):
        spenders.start(threads=THREADS, times=1_000)
    wait_until(lambda: spenders.times >= 10, "ten reservations")
    for process in spenders.processes[:2]:
        process.kill()
    spenders.wait()
    assert spenders.times * AMOUNT <= CAP

    late_times: list[int] = []

    def nothing_is_left() -> bool:
        with ledger(spenders.url) as late:
            late_times.append(times_until_refused(late.for_scopes(SCOPE)))
        return late_times[-1] == 0 and book(spenders.url).current.leased == 0

    wait_until(nothing_is_left, "the blocks of the killed processes")
    spent = (spenders.times + sum(late_times)) * AMOUNT
    # up to its mark a killed process's block counts as spent: that is one reservation here, and what its threads had
    # reserved without having written it down
    assert CAP - 8 * AMOUNT <= spent <= CAP
    assert book(spenders.url).current.spent == CAP


def times_until_refused(scoped: ScopedLedger) -> int:
    for times in itertools.count():
        answer = scoped.reserve("m", AMOUNT, 0)
        if isinstance(answer, NotReserved):
            assert answer.reason is SpendReason.CAP, answer
            return times
        answer.settle()
    raise AssertionError


def test_a_forked_child_spends_no_block_of_its_parent(url: str, spenders: Spenders) -> None:
    """The child leases its own blocks, and what it does to its parent's reservations changes nothing."""
    with ledger(url) as opened:
        scoped = opened.for_scopes(SCOPE)
        first = scoped.reserve("m", AMOUNT, 0)
        assert isinstance(first, Reservation)
        child = os.fork()
        if child == 0:
            times = 255
            try:
                first.release()
                if scoped.accounts == ():
                    times = times_until_refused(scoped)
                    opened.close()
            finally:
                os._exit(times)
        in_child = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert 40 <= in_child < 50
        assert in_child + times_until_refused(scoped) == 49
        first.settle()
    assert book(url).current.spent == CAP


def test_a_store_that_is_away_is_waited_for_no_longer_than_stated(tmp_path: Path) -> None:
    with ledger("etcd://127.0.0.1:1") as opened:
        answer = opened.for_scopes(SCOPE, wait=0.2).reserve("m", AMOUNT, 0)
    assert isinstance(answer, NotReserved)
    assert answer.reason is SpendReason.STORE
