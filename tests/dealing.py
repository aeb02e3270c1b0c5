"""The order in which `--dist worksteal` gets the tests, so that those that wait begin first, on every worker.

worksteal cuts the list into one part a worker. A worker without tests takes half of the longest part, from its end.
In the order of the folders one worker of four had all of `e2e` and `faults` and most of `integration`. These wait
for real servers, and at the end the other workers waited for that one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import pytest

# Each test of these has servers of its own. Elsewhere the tests of a file share them, and stay together.
ALONE = ("tests/faults/", "tests/e2e/test_demo.py", "tests/e2e/test_cli_tools.py")
# Each test of these needs a fleet that has run for a while, so the file shares one.
TOGETHER = ("tests/faults/test_alerts_in.py", "tests/faults/test_drills.py")
# Seconds a test, roughly, by how its id begins; the longest beginning counts. All others are dealt last.
SECONDS = {
    "tests/faults/": 30.0,
    "tests/faults/test_explorer.py": 10.0,
    "tests/faults/test_flag_store.py::test_a_breach_without_a_quorum": 90.0,
    "tests/faults/test_killed_and_stopped.py": 8.0,
    "tests/faults/test_metric_store.py::test_a_prometheus_that_is_down": 100.0,
    "tests/faults/test_metric_store.py::test_a_replica_blind_alone": 90.0,
    "tests/faults/test_moments.py::test_a_metric_store_that_lies": 150.0,
    "tests/faults/test_pages.py": 110.0,
    "tests/faults/test_router_under_load.py": 10.0,
    "tests/faults/test_safety.py": 0.1,
    "tests/faults/test_schedule.py": 80.0,
    "tests/e2e/": 3.0,
    "tests/e2e/test_demo.py": 15.0,
    "tests/e2e/test_alerts.py": 0.1,
    "tests/e2e/test_helm_chart.py": 0.3,
    "tests/e2e/test_kustomize.py": 0.2,
    "tests/integration/": 0.5,
    "tests/integration/security/test_secrets.py": 10.0,
    "tests/integration/security/test_tls.py": 10.0,
}


def dealt(items: Sequence[pytest.Item], workers: int) -> list[pytest.Item]:
    """One hand a worker, one hand after the other. In each, tests that wait come before the others."""
    hands: list[list[pytest.Item]] = [[] for _ in range(workers)]
    busy = [0.0] * workers
    others: list[pytest.Item] = []
    groups = [(_seconds(group), group) for group in _groups(items)]
    for seconds, group in sorted(groups, key=lambda one: -one[0]):
        if not seconds:
            others += group
            continue
        least = busy.index(min(busy))
        hands[least] += group
        busy[least] += seconds
    return _filled(hands, others)


def _groups(items: Sequence[pytest.Item]) -> list[list[pytest.Item]]:
    """What has to stay together."""
    groups: list[list[pytest.Item]] = []
    for file, found in groupby(items, key=lambda item: item.nodeid.partition("::")[0]):
        tests = list(found)
        alone = file.startswith(ALONE) and file not in TOGETHER
        groups += [[test] for test in tests] if alone else [tests]
    return groups


def _seconds(group: Sequence[pytest.Item]) -> float:
    return sum(SECONDS[max(known, key=len)] for test in group if (known := [*filter(test.nodeid.startswith, SECONDS)]))


def _filled(hands: Sequence[list[pytest.Item]], others: list[pytest.Item]) -> list[pytest.Item]:
    """Each hand gets as many others as it lacks to what worksteal gives a worker, which then begins with its hand."""
    order: list[pytest.Item] = []
    count, begun = sum(map(len, hands)) + len(others), 0
    for number, hand in enumerate(hands):
        lacks = max(0, (count - len(order)) // (len(hands) - number) - len(hand))
        order += [*hand, *others[begun : begun + lacks]]
        begun += lacks
    return order + others[begun:]
