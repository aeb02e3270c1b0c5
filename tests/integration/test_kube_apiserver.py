"""The Kubernetes API server of the tests refuses what a cluster refuses: otherwise what it accepts proves nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.servers.kube_apiserver import KubeApiServer, skip_without_kube_apiserver

PODS = "/api/v1/namespaces/shop/pods"
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.fixture(scope="module")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeApiServer]:
    skip_without_kube_apiserver()
    with KubeApiServer(tmp_path_factory.mktemp("kube")) as server:
        server.namespace("shop", enforce="restricted")
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        server.call("POST", "/api/v1/namespaces/shop/serviceaccounts", account)
        yield server


def pod(name: str, security: dict[str, Any]) -> dict[str, Any]:
    container = {"name": "one", "image": "one", "securityContext": security}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container]}}


def test_a_pod_that_may_be_root_is_refused(kube: KubeApiServer) -> None:
    """Refused in a namespace that enforces `restricted`; the same pod with a security context is taken."""
    refused = kube.call("POST", PODS, pod("root", {}))
    assert refused.status == 403
    assert 'violates PodSecurity "restricted:latest"' in refused.document["message"]
    assert kube.call("POST", PODS, pod("restricted", RESTRICTED)).status == 201


def test_a_field_that_does_not_exist_is_said(kube: KubeApiServer) -> None:
    misspelled = pod("misspelled", RESTRICTED)
    misspelled["spec"]["containers"][0]["imagePullPolicyy"] = "Always"
    answer = kube.call("POST", f"{PODS}?fieldValidation=Strict&dryRun=All", misspelled)
    assert answer.status == 400
    assert "imagePullPolicyy" in answer.document["message"]


def test_a_user_without_a_role_may_do_nothing(kube: KubeApiServer) -> None:
    """Neither a user, nor the ServiceAccount of a pod."""
    for token in (kube.token_of("someone"), kube.service_account_token("shop", "default")):
        assert kube.call("GET", PODS, token=token).status == 403
    assert kube.call("GET", PODS).status == 200
