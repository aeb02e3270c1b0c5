"""`Router.wait_ready` and `await_ready`: true once the store was read, whichever store it is, and never early."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from killswitch.flags.document import to_document as flag_document
from killswitch.router import Router
from killswitch.stores import Put, keys
from killswitch.stores.sqlite.store import SqliteStore
from tests.doubles.flags import ROLLOUT, armed
from tests.integration.router.following import store
from tests.servers.etcd import EtcdCluster, wait_until

STORES = ("file", "sqlite", "etcd")


@contextmanager
def holding_a_flag(kind: str, folder: Path, *, empty: bool = False) -> Iterator[str]:
    """The URL of a store of that kind, with an armed flag or without one."""
    if kind == "file":
        path = folder / "flag.json"
        if not empty:
            path.write_bytes(flag_document(armed()))
        yield f"file://{path}"
    elif kind == "sqlite":
        made = SqliteStore(str(folder / "s.db"))
        made.commit((), (Put(keys.controller("c") if empty else keys.flag(ROLLOUT), flag_document(armed())),))
        yield f"sqlite://{folder / 's.db'}"
    else:
        with EtcdCluster(folder) as etcd:
            if not empty:
                store(etcd.members[0], armed())
            yield etcd.url


@pytest.mark.parametrize("kind", STORES)
def test_ready_means_that_the_flag_is_obeyed(tmp_path: Path, kind: str) -> None:
    with holding_a_flag(kind, tmp_path) as url, Router(ROLLOUT, url, control="model-old", registry=None) as router:
        assert router.wait_ready(60.0)
        assert router.routes()[-1].model == "model-new"
        assert asyncio.run(router.await_ready(0.0))


@pytest.mark.parametrize("kind", STORES)
def test_a_store_without_a_flag_is_ready_too(tmp_path: Path, kind: str) -> None:
    with (
        holding_a_flag(kind, tmp_path, empty=True) as url,
        Router(ROLLOUT, url, control="model-old", registry=None) as router,
    ):
        assert asyncio.run(router.await_ready(60.0))


@pytest.mark.parametrize("kind", STORES)
def test_a_store_out_of_reach_is_not_ready_at_the_timeout(tmp_path: Path, kind: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and nobody listens
        url = {
            "file": f"file://{tmp_path}",  # a folder; a file that is absent is a flag that is absent
            "sqlite": f"sqlite://{tmp_path}/absent.db",
            "etcd": f"etcd://127.0.0.1:{closed.getsockname()[1]}",
        }[kind]
        with Router(ROLLOUT, url, control="model-old", registry=None) as router:
            began = time.monotonic()
            assert not router.wait_ready(0.2)
            assert not asyncio.run(router.await_ready(0.2))
            assert time.monotonic() - began >= 0.4
            assert not router.wait_ready(-1.0)
            assert router.route("u").model == "model-old"


def test_waiting_in_a_coroutine_lets_other_tasks_run(tmp_path: Path) -> None:
    """The flag comes from another task, while one waits for it."""
    path = tmp_path / "s.db"

    async def main() -> bool:
        with Router(ROLLOUT, f"sqlite://{path}", control="model-old", registry=None) as router:
            waiting = asyncio.create_task(router.await_ready(60.0))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            SqliteStore(str(path)).commit((), (Put(keys.flag(ROLLOUT), flag_document(armed())),))
            return await waiting

    assert asyncio.run(main())


def test_a_closed_router_is_not_ready(tmp_path: Path) -> None:
    """It routes everyone to control for good."""
    with holding_a_flag("file", tmp_path) as url:
        router = Router(ROLLOUT, url, control="model-old", registry=None)
        assert router.wait_ready(60.0)
        router.close()
        assert not router.wait_ready(0.0)


def test_a_forked_child_is_as_ready_as_its_parent(tmp_path: Path) -> None:
    """It goes on from what its parent read, and waited for a read of its own, up to the timeout, for nothing."""
    with (
        EtcdCluster(tmp_path) as etcd,
        Router(ROLLOUT, etcd.url, control="model-old", stale_grace=3.0, registry=None) as router,
    ):
        assert router.wait_ready(60.0)
        etcd.members[0].kill()
        wait_until(lambda: router.health().counts["read_failed"] > 0, "the store is out of reach")
        child = os.fork()
        if child == 0:
            began = time.monotonic()
            os._exit(not (router.wait_ready(60.0) and time.monotonic() - began < 30.0))
        assert os.waitpid(child, 0)[1] == 0
