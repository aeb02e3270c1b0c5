"""Ten processes change one role at once, over real stores, also when they are killed."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from killswitch.pages.outbox_entry import from_document as outbox_from_document
from killswitch.registry.registry import Registry
from killswitch.roles.role import RoleChange, RoleHistoryEntry
from killswitch.stores import Store, keys
from killswitch.stores.opening import open_store
from tests.doubles.role_histories import checked_entries
from tests.servers.etcd import wait_until
from tests.servers.image import REPOSITORY

PROCESSES, TIMES = 10, 40
ROUNDS = 10  # which process wins is chance: one round may have no rollback
_numbers = itertools.count()


class Changers:
    """Processes that change one role, and what each was told of its changes."""

    def __init__(self, url: str, folder: Path) -> None:
        self.role = f"raced-{os.getpid()}-{next(_numbers)}"
        self.store = open_store(url)
        self._url = url
        self._folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        registry = Registry(self.store, wall=time.time, by="setup")
        registry.create(self.role, "model-0", reason="it serves today")

    def start(self, times: int) -> None:
        for number in range(len(self.processes), len(self.processes) + PROCESSES):
            arguments = (self._url, self.role, f"p{number}", str(times), str(self._folder / f"p{number}"))
            command = [sys.executable, "-m", "tests.integration.registry.changer", *arguments]
            self.processes.append(subprocess.Popen(command, cwd=REPOSITORY))

    def wait(self) -> None:
        for process in self.processes:
            assert process.wait(240) == 0

    def told(self) -> list[dict[str, Any]]:
        lines = [line for file in self._folder.glob("p*") for line in file.read_text().splitlines()]
        return [json.loads(line) for line in lines if line.endswith("}")]

    def length(self) -> int:
        return len(self.store.list(keys.role_changes(self.role)).items)


@pytest.fixture
def changers(url: str, tmp_path: Path) -> Iterator[Changers]:
    running = Changers(url, tmp_path)
    yield running
    for process in running.processes:
        process.kill()
        process.wait()
    running.store.close()


def checked_history(store: Store, name: str) -> list[RoleHistoryEntry]:
    """Numbers without gaps, each entry from the one before, the last the role; each entry with its page."""
    items = store.list(keys.role_changes(name)).items
    item = store.get(keys.role(name))
    entries = checked_entries(items, item, name)
    assert item is not None
    assert item.mod_revision == items[-1].mod_revision
    assert len({one.mod_revision for one in items}) == len(items)
    paged = {
        outbox_from_document(page.value, page=page.key.removeprefix(keys.OUTBOX)).page.generation
        for page in store.list(keys.outbox(f"role:{name}.")).items
    }
    of_prod = {RoleChange.PROMOTED, RoleChange.ROLLED_BACK}
    assert paged == {entry.role.number for entry in entries if entry.role.change in of_prod}
    return entries


def test_raced_changes_have_one_winner_each(changers: Changers) -> None:
    """What each process was told it had changed is exactly what the history says it changed."""
    wanted, entries = {RoleChange.PROMOTED, RoleChange.ROLLED_BACK}, list[RoleHistoryEntry]()
    for _ in range(ROUNDS):
        changers.start(TIMES)
        changers.wait()
        entries = checked_history(changers.store, changers.role)
        if wanted <= {entry.role.change for entry in entries}:
            break
    told = changers.told()
    numbers = [one["number"] for one in told if "number" in one]
    assert len(set(numbers)) == len(numbers)
    by_number = {entry.role.number: entry.role for entry in entries}
    for one in told:
        if "number" in one:
            made = by_number[one["number"]]
            assert (made.updated_by, made.prod) == (one["by"], one["prod"])
    unknown = sum("unknown" in one for one in told)
    assert len(entries) - 1 - len(numbers) <= unknown
    assert wanted <= {entry.role.change for entry in entries}


def test_killed_processes_leave_whole_changes(changers: Changers) -> None:
    """A process that is killed in mid-change leaves all of it or nothing."""
    changers.start(10_000)
    for process in changers.processes[: PROCESSES - 1]:
        enough = changers.length() + 3
        wait_until(lambda enough=enough: changers.length() > enough, "three more changes")  # type: ignore[misc]  # a default
        process.send_signal(signal.SIGKILL)
        process.wait()
    changers.processes[-1].kill()
    changers.processes[-1].wait()
    checked_history(changers.store, changers.role)
