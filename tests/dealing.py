"""The order in which `--dist worksteal` gets the tests, so that those that wait begin first, on every worker.

worksteal cuts the list into one part a worker, and whoever is done takes half of the longest part's end. In the
order of the folders, one worker of four had all of `e2e`, `faults` and most of `integration`, which wait for
real servers, and was waited for by the others, which had the unit tests, at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

import pytest

# faults' tests share nothing and last longest: dealt one by one. The others share the servers of their file.
ONE_BY_ONE = "tests/faults"
BY_FILE = ("tests/e2e", "tests/integration")
# seconds, roughly, as measured on two idle cores: only what is much longer than its folder's others
SECONDS_OF_A_FAULT = 45.0
SECONDS_OF_A_TEST = {"tests/e2e": 4.0, "tests/integration": 1.0}


def dealt(items: Sequence[pytest.Item], workers: int) -> list[pytest.Item]:
    """One hand a worker, one after the other: faults, then `e2e` and `integration`, then unit tests."""
    waiting, others = _groups(items)
    hands: list[list[pytest.Item]] = [[] for _ in range(workers)]
    seconds = [0.0] * workers
    for weight, group in sorted(waiting, key=lambda one: -one[0]):  # the longest first, to whoever has least
        least = seconds.index(min(seconds))
        hands[least] += group
        seconds[least] += weight
    return _filled(hands, others, len(items))


def _groups(items: Sequence[pytest.Item]) -> tuple[list[tuple[float, list[pytest.Item]]], list[pytest.Item]]:
    waiting: list[tuple[float, list[pytest.Item]]] = []
    others: list[pytest.Item] = []
    for file, found in groupby(items, key=lambda item: item.nodeid.partition("::")[0]):
        tests = list(found)
        folder = next((one for one in BY_FILE if file.startswith(f"{one}/")), "")
        if file.startswith(f"{ONE_BY_ONE}/"):
            waiting += [(SECONDS_OF_A_FAULT, [test]) for test in tests]
        elif folder:
            waiting.append((SECONDS_OF_A_TEST[folder] * len(tests), tests))
        else:
            others += tests
    return waiting, others


def _filled(hands: Iterable[list[pytest.Item]], others: list[pytest.Item], count: int) -> list[pytest.Item]:
    """Each hand has as many tests as worksteal gives one worker, so that it begins where a worker begins."""
    order: list[pytest.Item] = []
    begun = 0
    remaining = list(hands)
    for number, hand in enumerate(remaining):
        size = (count - len(order)) // (len(remaining) - number)
        more = max(0, size - len(hand))
        order += [*hand, *others[begun : begun + more]]
        begun += more
    return order + others[begun:]
