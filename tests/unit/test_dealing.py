"""The order in which workers get the tests: none is lost, and each worker begins with its share of those that wait."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.dealing import ALONE, SECONDS, TOGETHER, dealt

ROOT = Path(__file__).resolve().parents[2]
FAULTS = [f"tests/faults/test_a.py::test_{number}" for number in range(10)]
E2E = [f"tests/e2e/test_{file}.py::test_{number}" for file in "ab" for number in range(7)]
INTEGRATION = [f"tests/integration/x/test_{file}.py::test_{number}" for file in "abcdef" for number in range(9)]
UNIT = [f"tests/unit/test_{file}.py::test_{number}" for file in "abcdefgh" for number in range(40)]


def order(names: list[str], workers: int) -> list[str]:
    items = [cast("pytest.Item", SimpleNamespace(nodeid=name)) for name in names]
    return [item.nodeid for item in dealt(items, workers)]


def parts(names: list[str], workers: int) -> list[list[str]]:
    """As `xdist.scheduler.worksteal` cuts a list for workers that are all idle."""
    rest, found = list(names), []
    for number in range(workers):
        size = len(rest) // (workers - number)
        found.append(rest[:size])
        rest = rest[size:]
    return found


def folders(part: list[str]) -> list[str]:
    return [folder for folder, _ in itertools.groupby(name.split("/")[1] for name in part)]


@pytest.mark.parametrize("workers", range(1, 8))
@pytest.mark.parametrize("names", [E2E + FAULTS + INTEGRATION + UNIT, FAULTS, E2E + INTEGRATION, UNIT, UNIT[:3], []])
def test_every_test_is_dealt_once(names: list[str], workers: int) -> None:
    assert Counter(order(names, workers)) == Counter(names)


@pytest.mark.parametrize("workers", range(2, 7))
def test_each_worker_begins_with_its_share_of_faults(workers: int) -> None:
    for part in parts(order(E2E + FAULTS + INTEGRATION + UNIT, workers), workers):
        faults = sum(name in FAULTS for name in part)
        assert len(FAULTS) // workers <= faults <= len(FAULTS) // workers + 1
        assert folders(part)[0] == "faults"
        assert folders(part)[-1] == "unit"


@pytest.mark.parametrize("workers", range(2, 7))
def test_tests_of_a_file_with_shared_servers_stay_in_order(workers: int) -> None:
    """The tests of a file that shares servers stay together and in order."""
    found = order(E2E + FAULTS + INTEGRATION + UNIT, workers)
    for file in {name.partition("::")[0] for name in E2E + INTEGRATION}:
        at = [found.index(name) for name in E2E + INTEGRATION if name.startswith(f"{file}::")]
        assert at == list(range(at[0], at[0] + len(at)))


@pytest.mark.parametrize("beginning", [*SECONDS, *ALONE])
def test_what_is_known_of_a_test_is_known_of_one_that_exists(beginning: str) -> None:
    path, _, test = beginning.partition("::")
    assert (ROOT / path).exists()
    assert f"def {test}" in (ROOT / path).read_text() if test else True


@pytest.mark.parametrize("alone", ALONE)
def test_what_is_dealt_test_by_test_shares_no_servers(alone: str) -> None:
    path = ROOT / alone
    for file in path.rglob("test_*.py") if path.is_dir() else [path]:
        assert ("scope=" in file.read_text()) == (str(file.relative_to(ROOT)) in TOGETHER), file.name
