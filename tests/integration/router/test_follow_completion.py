"""A complete rollout on real stores: routers and the daemon's endpoints give everyone the new model, whatever comes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from killswitch.cli.trip import request_by_hand
from killswitch.controller.plan_steps import commit_completion
from killswitch.flags.flag import Flag
from killswitch.model import PageSettings
from killswitch.plan import Advance, Plan, PlanStage
from killswitch.ramps.gate import Gate
from killswitch.router import Router
from killswitch.stores import Store
from killswitch.stores.opening import open_store
from killswitch.trips.request import TripOutcome
from killswitch.trips.switch import Switch
from tests.servers.etcd import EtcdCluster, wait_until

ROLLOUT = "support-copilot"
NOW = 1_776_608_531.0
PLAN = Plan(Advance.PROPOSED, (PlanStage("full", 99.0, 60.0),))
USERS = [f"user-{number}" for number in range(500)]


@contextmanager
def a_store(kind: str, folder: Path) -> Iterator[tuple[str, Store]]:
    if kind == "sqlite":
        url = f"sqlite://{folder / 'flags.db'}"
        store = open_store(url)
        yield url, store
        store.close()
        return
    with EtcdCluster(folder) as etcd:
        store = open_store(etcd.url)
        yield etcd.url, store
        store.close()


def completed(store: Store) -> Flag:
    """Armed at 99 %, then completed, by the transaction that the command line makes."""
    switch = Switch(store, wall=lambda: NOW, by="ann", origin="test")
    switch.arm(ROLLOUT, control="model-old", canary="model-new", percent=99.0, stage="full", salt="")
    flag = switch.required(ROLLOUT).flag
    assert flag is not None
    gate = Gate(flag.generation, flag.stage, flag.stages[-1].at, ())
    done = commit_completion(
        store, switch.required(ROLLOUT), PLAN, gate,
        reason="it is well", by="ann", origin="test", now=NOW + 60, settings=PageSettings(), proof=None,
    )  # fmt: skip
    assert done is not None
    return done


def served(router: Router) -> set[str]:
    return {router.route(user).model for user in USERS}


def until_served(router: Router, *models: str) -> None:
    wait_until(lambda: served(router) == set(models), f"routers serve {models}", 60.0)


@pytest.mark.parametrize("kind", ["etcd", "sqlite"])
def test_a_router_serves_the_new_model_until_a_trip(tmp_path: Path, kind: str) -> None:
    """A trip sends everyone back, and a completion that has overtaken a stale read changes nothing."""
    with a_store(kind, tmp_path) as (url, store), Router(ROLLOUT, url, control="model-old", registry=None) as router:
        completed(store)
        until_served(router, "model-new")
        assert router.health().standing == "complete"
        result = Switch(store, wall=lambda: NOW + 90, by="ann", origin="test").trip(
            request_by_hand(ROLLOUT, "it lies", PageSettings())
        )  # fmt: skip
        assert result.outcome is TripOutcome.TRIPPED
        until_served(router, "model-old")


@pytest.mark.parametrize("kind", ["etcd", "sqlite"])
def test_a_running_router_keeps_the_new_model_when_the_flag_ends(tmp_path: Path, kind: str) -> None:
    """One that starts then takes what its service names, so the service must have been changed before."""
    with a_store(kind, tmp_path) as (url, store), Router(ROLLOUT, url, control="model-old", registry=None) as router:
        completed(store)
        until_served(router, "model-new")
        Switch(store, wall=lambda: NOW + 90, by="ann", origin="test").end(ROLLOUT)
        wait_until(lambda: router.health().standing == "no_flag", "the end of the flag", 60.0)
        assert served(router) == {"model-new"}
        with Router(ROLLOUT, url, control="model-new", registry=None) as later:
            assert later.wait_ready(60.0)
            assert served(later) == {"model-new"}


def test_a_router_that_loses_the_store_keeps_the_new_model(tmp_path: Path) -> None:
    """An armed flag is given up after the grace; a complete one is not."""
    with EtcdCluster(tmp_path) as etcd:
        store = open_store(etcd.url)
        with Router(ROLLOUT, etcd.url, control="model-old", registry=None, stale_grace=1.0, stale_jitter=0.0) as router:
            completed(store)
            until_served(router, "model-new")
            store.close()
            for member in etcd.members:
                member.kill()
            wait_until(lambda: router.health().error is not None, "the store to be missed", 60.0)
            assert served(router) == {"model-new"}
