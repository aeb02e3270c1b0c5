"""Real stores for tests, begun once a session and worker; each test has a prefix of its own."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from killswitch.stores import Store
from killswitch.stores.opening import open_store
from tests.servers.certificates import Authority
from tests.servers.etcd import EtcdCluster

_numbers = itertools.count()


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """One member that all tests of a worker share; they leave it running."""
    with EtcdCluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def prefix() -> str:
    return f"/test/{os.getpid()}/{next(_numbers)}/"


@pytest.fixture(params=["etcd", "sqlite"])
def open_again(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Opens the store under test once more, as another process would."""
    url = f"sqlite://{tmp_path}/flags.db" if request.param == "sqlite" else request.getfixturevalue("etcd").url
    opened: list[Store] = []

    def open_one() -> Store:
        opened.append(open_store(url))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(open_again: Callable[[], Store]) -> Store:
    return open_again()
