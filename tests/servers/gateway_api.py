"""The Gateway API's `HTTPRoute` in the tests' API server: its resource definition, as far as weights are concerned."""

from __future__ import annotations

from typing import Any

from tests.servers.etcd import wait_until
from tests.servers.kube_apiserver import KubeApiServer

GROUP = "gateway.networking.k8s.io"
# config/crd/standard/gateway.networking.k8s.io_httproutes.yaml of gateway-api v1.4: fields of a backend reference
_BACKEND = {
    "type": "object",
    "required": ["name"],
    "x-kubernetes-preserve-unknown-fields": True,
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 253},
        "namespace": {"type": "string", "minLength": 1, "maxLength": 63},
        "port": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 65535},
        "weight": {"type": "integer", "format": "int32", "minimum": 0, "maximum": 1_000_000, "default": 1},
    },
}
_RULE = {
    "type": "object",
    "x-kubernetes-preserve-unknown-fields": True,
    "properties": {"backendRefs": {"type": "array", "maxItems": 16, "items": _BACKEND}},
}


def define_http_routes(kube: KubeApiServer) -> None:
    """Make the API server know `HTTPRoute`; returns once it serves it."""
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "x-kubernetes-preserve-unknown-fields": True,
                "properties": {"rules": {"type": "array", "maxItems": 16, "items": _RULE}},
            },
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        # a group that ends in k8s.io needs its approval
        "metadata": {
            "name": f"httproutes.{GROUP}",
            "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/gateway-api/pull/2466"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": "HTTPRoute",
                "plural": "httproutes",
                "singular": "httproute",
                "listKind": "HTTPRouteList",
            },
            "versions": [version],
        },
    }
    answer = kube.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
    assert answer.status == 201, answer
    wait_until(lambda: kube.call("GET", f"/apis/{GROUP}/v1/httproutes").status == 200, "HTTPRoute is served")


def route_path(namespace: str, name: str = "") -> str:
    return f"/apis/{GROUP}/v1/namespaces/{namespace}/httproutes{f'/{name}' if name else ''}"


def make_route(kube: KubeApiServer, namespace: str, name: str, **weights: int) -> None:
    """A route with one rule, and a backend for each keyword (``old=1``)."""
    backends = [{"name": backend, "port": 80, "weight": weight} for backend, weight in weights.items()]
    body = {
        "apiVersion": f"{GROUP}/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name},
        "spec": {"parentRefs": [{"name": "models"}], "rules": [{"backendRefs": backends}]},
    }
    answer = kube.call("POST", route_path(namespace), body)
    assert answer.status == 201, answer


def weights_of(kube: KubeApiServer, namespace: str, name: str) -> dict[str, int]:
    """The weights of the first rule's backends."""
    found: dict[str, Any] = kube.call("GET", route_path(namespace, name)).document
    return {one["name"]: one["weight"] for one in found["spec"]["rules"][0]["backendRefs"]}
