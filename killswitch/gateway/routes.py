"""One route in Kubernetes: read and patched through the official client, with our errors and a total time.

Where it runs in a cluster, the client reads the ServiceAccount's token again as it is rotated; elsewhere it takes
KUBECONFIG. The server's certificate is verified.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException, OpenApiException
from kubernetes.config.config_exception import ConfigException
from urllib3.util import create_urllib3_context

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, BadSettings, KillswitchError, Refused, Unavailable
from killswitch.net.bounded_http.failures import no_answer
from killswitch.net.bounded_http.sockets import POOLS, BodyTooLargeError, BoundedTLSSocket, Call, serving
from killswitch.wording import plain

CONNECT = 2.0  # seconds
TOTAL = 7.0  # seconds for one call, however slowly the server answers
MOST = 4 * 1024 * 1024  # bytes of an answer; the store of Kubernetes takes objects of 1.5 MiB
_ROUTE = re.compile(r"([a-z0-9][a-z0-9-]{0,62})/([a-z0-9][a-z0-9.-]{0,252})\Z")


@dataclass(frozen=True, slots=True)
class RouteKind:
    """A kind of route: its API group, the plural in its address, and the version to ask for."""

    group: str
    plural: str
    version: str


KINDS: Mapping[str, RouteKind] = {
    "HTTPRoute": RouteKind("gateway.networking.k8s.io", "httproutes", "v1"),
    "GRPCRoute": RouteKind("gateway.networking.k8s.io", "grpcroutes", "v1"),
    # Envoy AI Gateway writes its HTTPRoute from this one, so a weight in the HTTPRoute would not stay
    "AIGatewayRoute": RouteKind("aigateway.envoyproxy.io", "aigatewayroutes", "v1alpha1"),
}


class Changed(Refused):
    """Someone else has changed the route since it was read: read it again."""


class WeightedRoute:
    """The route ``NAMESPACE/NAME`` of a kind. Raises BadSettings where neither a cluster nor a kubeconfig is found.

    ``total``: seconds for one call, from the name lookup to the last byte.
    """

    def __init__(
        self,
        kind: str,
        address: str,
        *,
        version: str | None = None,
        context: str | None = None,
        total: float = TOTAL,
    ) -> None:
        found = _ROUTE.match(address)
        if kind not in KINDS or found is None:
            raise BadSettings([f"--route {address!r:.100}: write NAMESPACE/NAME; kinds are {', '.join(KINDS)}"])
        self.kind, self.namespace, self.name = kind, found[1], found[2]
        self._where = KINDS[kind]
        self._version = version or self._where.version
        self._api = client.CustomObjectsApi(_connection(context))
        self._total = total

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"

    def read(self) -> Mapping[str, Any]:
        """The whole object. Raises AccessDenied, Refused (there is none) or Unavailable."""
        with self._call("read"):
            found = self._api.get_namespaced_custom_object(*self._address())
        if not isinstance(found, dict):
            raise Unavailable(f"{self}: the Kubernetes API answered no object")
        return found

    def patch(self, changes: Sequence[Mapping[str, Any]]) -> None:
        """Apply a JSON Patch, whole or not at all. Raises Changed where a test in it fails, and as `read`."""
        with self._call("patch"):
            self._api.patch_namespaced_custom_object(
                *self._address(), list(changes), _content_type="application/json-patch+json"
            )

    def close(self) -> None:
        self._api.api_client.close()

    def _address(self) -> tuple[str, str, str, str, str]:
        return self._where.group, self._version, self.namespace, self._where.plural, self.name

    @contextmanager
    def _call(self, verb: str) -> Iterator[None]:
        """Within the block this thread's call of the API is bounded; its failures are ours."""
        call = Call(Deadline(self._total), CONNECT, MOST)
        try:
            with serving(call):
                yield
        except BodyTooLargeError:
            raise Unavailable(f"{self}: the Kubernetes API answered more than {MOST >> 20} MiB") from None
        except (OpenApiException, urllib3.exceptions.HTTPError, OSError, ValueError, RecursionError) as error:
            raise self._meaning(error, verb, call) from None

    def _meaning(self, error: Exception, verb: str, call: Call) -> KillswitchError:
        if not isinstance(error, ApiException) or not error.status:
            failure = no_answer(error, "the Kubernetes API", call).failure
            return type(failure)(f"{self}: {failure}")
        said = f"{self}: the Kubernetes API answered {error.status} {plain(str(error.reason), 80)}"
        if error.status in {401, 403}:
            return AccessDenied(f"{said}; the Role must let this ServiceAccount {verb} it by name")
        if error.status == 404:
            return Refused(f"{said}; is it there, and is its kind served as {self._where.group}/{self._version}?")
        # 422: a test of the patch has failed
        if error.status in {409, 412} or (verb == "patch" and error.status == 422):
            return Changed(said)
        return Unavailable(said)


def _connection(context: str | None) -> client.ApiClient:
    settings = client.Configuration()
    try:
        if context is None:
            config.load_config(client_configuration=settings)
        else:
            config.load_kube_config(context=context, client_configuration=settings)
    except (ConfigException, OSError) as error:
        what = plain(str(error), 200)
        raise BadSettings(
            [f"neither a pod's ServiceAccount nor a kubeconfig is found ({what}); set KUBECONFIG"]
        ) from error
    settings.retries = False  # the mirror tries again by itself
    if not settings.verify_ssl:
        raise BadSettings(
            ["this kubeconfig says insecure-skip-tls-verify: give the cluster's certificate authority instead"]
        )
    connection = client.ApiClient(settings)
    pools = connection.rest_client.pool_manager
    pools.pool_classes_by_scheme = dict(POOLS)
    # the client names the authorities and certificates to it; it verifies
    tls = create_urllib3_context()
    tls.sslsocket_class = BoundedTLSSocket
    if settings.ssl_ca_cert is None:
        tls.load_default_certs()
    pools.connection_pool_kw["ssl_context"] = tls
    return connection
