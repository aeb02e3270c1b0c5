"""`killswitch follow` as a process: a flag in a real etcd, a route in a real Kubernetes API server, least rights."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from killswitch.cli.trip import request_by_hand
from killswitch.model import PageSettings
from killswitch.pages import events
from killswitch.stores import Put, Store, keys
from killswitch.stores.opening import open_store
from killswitch.trips.router_progress import routers_followed
from killswitch.trips.switch import Switch
from tests.servers.etcd import EtcdCluster, wait_until
from tests.servers.gateway_api import define_http_routes, make_route, route_path, weights_of
from tests.servers.kube_apiserver import KubeApiServer, skip_without_kube_apiserver

ROLLOUT = "support-copilot"
NOW = 1_776_608_531.0
ONE_PERCENT = {"old": 9900, "new": 100}
FIVE_PERCENT = {"old": 9500, "new": 500}
CONTROL = {"old": 10_000, "new": 0}
ALL = {"followed": 1, "known": 1}


@dataclass(frozen=True)
class Cluster:
    kube: KubeApiServer
    etcd: EtcdCluster
    store: Store
    switch: Switch


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    skip_without_kube_apiserver()
    folder = tmp_path_factory.mktemp("follow")
    with KubeApiServer(folder / "kube") as kube, EtcdCluster(folder / "flags") as etcd:
        define_http_routes(kube)
        store = open_store(etcd.url)
        # a living controller: without one a router ends the canary after some minutes
        store.commit((), (Put(keys.controller("kill-1"), b"{}"),))
        yield Cluster(kube, etcd, store, Switch(store, wall=lambda: NOW, by="ann", origin="test"))
        store.close()


@pytest.fixture
def shop(cluster: Cluster, request: pytest.FixtureRequest) -> str:
    """A namespace of its own, with a ServiceAccount that may get and patch the one route."""
    number = len(cluster.kube.call("GET", "/api/v1/namespaces").document["items"])
    name = f"shop-{number}"
    kube = cluster.kube
    kube.namespace(name, enforce="restricted")
    make_route(kube, name, "support", old=1, new=0)
    documents = list(yaml.safe_load_all(FOLLOW_ROLE.read_text()))
    for document in documents:
        document["metadata"]["namespace"] = name
        for subject in document.get("subjects", []):
            subject["namespace"] = name
        group = "api/v1" if document["kind"] == "ServiceAccount" else "apis/rbac.authorization.k8s.io/v1"
        answer = kube.call("POST", f"/{group}/namespaces/{name}/{document['kind'].lower()}s", document)
        assert answer.status == 201, answer
    return name


FOLLOW_ROLE = Path(__file__).resolve().parents[3] / "deploy" / "kustomize" / "follow" / "role.yaml"


@contextmanager
def following(cluster: Cluster, shop: str, tmp_path: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """The command, with the rights of its ServiceAccount alone."""
    config = yaml.safe_load(cluster.kube.kubeconfig.read_text())
    token = cluster.kube.service_account_token(shop, "killswitch-follow")
    config["users"][0]["user"] = {"token": token.read_text()}
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    command = [
        sys.executable, "-m", "killswitch", "follow", ROLLOUT, "--route", f"{shop}/support", "--control-backend", "old",
        "--canary-backend", "new", "--every", "1s", "--store", cluster.etcd.url, *more,
    ]  # fmt: skip
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)


def armed(cluster: Cluster) -> None:
    cluster.switch.arm(ROLLOUT, control="m-old", canary="m-new", percent=1.0, stage="ramp_1", salt="", replaces=True)


def becomes(cluster: Cluster, shop: str, weights: dict[str, int]) -> None:
    wait_until(lambda: weights_of(cluster.kube, shop, "support") == weights, f"weights {weights}")


def test_a_route_follows_a_whole_life(cluster: Cluster, shop: str, tmp_path: Path) -> None:
    """Armed, raised, tripped, re-armed; each is in the route, and the mirror counts as a router that followed."""
    armed(cluster)
    with following(cluster, shop, tmp_path):
        becomes(cluster, shop, ONE_PERCENT)
        cluster.switch.set_stage(ROLLOUT, percent=5.0, stage="ramp_5")
        becomes(cluster, shop, FIVE_PERCENT)
        result = cluster.switch.trip(request_by_hand(ROLLOUT, "refusals", PageSettings()))
        becomes(cluster, shop, CONTROL)
        wait_until(
            lambda: routers_followed(cluster.store, ROLLOUT, result.revision, tripped=True) == ALL,
            "the report of the trip",
        )
        cluster.switch.rearm(
            ROLLOUT,
            reason="fixed",
            percent=1.0,
            stage="ramp_1",
            page=lambda flag: events.re_armed(flag, reason="fixed", by="ann", settings=PageSettings()),
        )
        becomes(cluster, shop, ONE_PERCENT)
    becomes(cluster, shop, CONTROL)  # once no one mirrors
    assert routers_followed(cluster.store, ROLLOUT, result.revision) is None


def test_a_mirror_may_touch_its_own_route_alone(cluster: Cluster, shop: str, tmp_path: Path) -> None:
    make_route(cluster.kube, shop, "other", old=1, new=1)
    token = cluster.kube.service_account_token(shop, "killswitch-follow")
    patch = [{"op": "add", "path": "/spec/rules/0/backendRefs/0/weight", "value": 7}]
    refused = cluster.kube.call("PATCH", route_path(shop, "other"), patch, patch="json", token=token)
    assert refused.status == 403
    assert cluster.kube.call("GET", route_path(shop), token=token).status == 403
    assert cluster.kube.call("DELETE", route_path(shop, "support"), token=token).status == 403


def test_a_killed_mirror_is_gone_from_the_routers(cluster: Cluster, shop: str, tmp_path: Path) -> None:
    """Its route stays as it was, so a trip that it did not see must not count as followed."""
    armed(cluster)
    with following(cluster, shop, tmp_path) as process:
        becomes(cluster, shop, ONE_PERCENT)
        revision = cluster.switch.stored(ROLLOUT).revision
        wait_until(
            lambda: routers_followed(cluster.store, ROLLOUT, revision) == ALL,
            "the report",
        )
        process.kill()
        process.wait()
        result = cluster.switch.trip(request_by_hand(ROLLOUT, "refusals", PageSettings()))
        assert routers_followed(cluster.store, ROLLOUT, result.revision, tripped=True) == {"followed": 0, "known": 1}
    assert weights_of(cluster.kube, shop, "support") == ONE_PERCENT
    with following(cluster, shop, tmp_path):
        becomes(cluster, shop, CONTROL)


def test_without_the_flag_store_the_route_goes_to_control(cluster: Cluster, shop: str, tmp_path: Path) -> None:
    """A mirror that starts while the store is down knows nothing, so it lets no one into the canary."""
    kube = cluster.kube
    patch = [{"op": "replace", "path": "/spec/rules/0/backendRefs/1/weight", "value": 50}]
    assert kube.call("PATCH", route_path(shop, "support"), patch, patch="json").status == 200
    with following(cluster, shop, tmp_path, "--store", "etcd://127.0.0.1:1"):
        becomes(cluster, shop, CONTROL)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--canary-backend", "newer"), "no rule of the route has both backends"),
        (("--route", "nowhere/support"), "the Role must let this ServiceAccount"),
        (("--every", "1h"), "--every: from 1s to 60s"),
        (("--kind", "GRPCRoute"), "the Role must let this ServiceAccount"),
    ],
)
def test_what_cannot_be_followed_is_said_at_once(
    cluster: Cluster, shop: str, tmp_path: Path, more: tuple[str, ...], said: str
) -> None:
    with following(cluster, shop, tmp_path, *more) as process:
        _, shown = process.communicate(timeout=60)
    assert process.returncode != 0
    assert said in " ".join(shown.split())
