"""A real Kubernetes API server on a real etcd: TLS, tokens, RBAC, admission; no kubelet and no controllers.

It stores, validates and admits objects as any cluster does, Pod Security included. Nothing runs what it stores: pods
stay Pending, a Deployment makes no pods, and a deleted namespace stays Terminating. So a test takes a namespace of its
own, and does a kubelet's part by writing a pod's status.

::

    with KubeApiServer(tmp_path) as kube:
        kube.namespace("shop", enforce="restricted")
        kube.call("GET", "/api/v1/namespaces/shop/configmaps")
        follow(api=kube.url, token_file=kube.token_file, ca_file=kube.ca_file)

The program is not in Debian: `make compat` builds it from its Go module.
"""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.servers.certificates import Authority
from tests.servers.compat_program import compat_program
from tests.servers.etcd import EtcdCluster, free_ports, wait_until

_ADMIN = "admin-token-of-the-tests"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API server said: the HTTP status, the document, and its warnings, which `kubectl` would print."""

    status: int
    document: dict[str, Any]
    warnings: tuple[str, ...]


def skip_without_kube_apiserver() -> None:
    """Skips the test, with what to do, where `make compat` has not built the program."""
    if compat_program("kube-apiserver") is None:
        pytest.skip("no kube-apiserver here: `make compat` builds it (needs Go), or set KILLSWITCH_TEST_KUBE_APISERVER")


class KubeApiServer:
    """One API server with an etcd of its own. The user of ``token_file`` may do everything (`system:masters`)."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.log = folder / "kube-apiserver.log"
        self._etcd = EtcdCluster(folder / "etcd")
        self._authority = Authority(folder / "tls", "Kubernetes for tests")
        self._certificate = self._authority.issue("apiserver", hosts=("localhost", "127.0.0.1"))
        self._users = folder / "tokens.csv"
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None

    # --- what a client needs

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    @property
    def ca_file(self) -> Path:
        return self._authority.ca_file

    @property
    def token_file(self) -> Path:
        """The administrator's bearer token."""
        return self.token_of("admin")

    @property
    def kubeconfig(self) -> Path:
        """For `kubectl` and `helm`, as the administrator."""
        file = self.folder / "kubeconfig"
        cluster = {"server": self.url, "certificate-authority": str(self.ca_file)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"tokenFile": str(self.token_file)}}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "admin"}}],
            "current-context": "tests",
        }
        file.write_text(yaml.safe_dump(document))
        return file

    def token_of(self, user: str) -> Path:
        """The file of a user's token: ``admin``, or ``someone``, who may do what a test's Role gives to that user."""
        return self.folder / f"{user}.token"

    def service_account_token(self, namespace: str, name: str) -> Path:
        """A token of a ServiceAccount, as a pod would have it (the TokenRequest API), in a file."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        file = self.folder / f"{namespace}.{name}.token"
        file.write_text(self.call("POST", path, request).document["status"]["token"])
        return file

    def call(
        self, method: str, path: str, body: object | None = None, *, patch: str = "merge", token: Path | None = None
    ) -> Answer:
        """One request; also an answer that refuses it is returned. ``patch``: merge, json or strategic-merge."""
        kind = f"application/{patch}-patch+json" if method == "PATCH" else "application/json"
        headers = {"Authorization": f"Bearer {(token or self.token_file).read_text()}", "Content-Type": kind}
        sent = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", sent, headers, method=method)
        trust = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(self.ca_file)))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), trust)
        try:
            with opener.open(request, timeout=30) as answer:
                warnings = tuple(answer.headers.get_all("Warning") or ())
                return Answer(answer.status, json.load(answer), warnings)
        except urllib.error.HTTPError as error:
            with error:
                body = error.read()
            try:
                document = json.loads(body)
            except ValueError:  # a path that it does not serve is answered in plain text
                document = {"message": body.decode(errors="replace")}
            return Answer(error.code, document, tuple(error.headers.get_all("Warning") or ()))

    def namespace(self, name: str, *, enforce: str | None = None) -> None:
        """Make a namespace. ``enforce``: the Pod Security level of all its pods, also said as a warning."""
        label = "pod-security.kubernetes.io"
        labels = {} if enforce is None else {f"{label}/enforce": enforce, f"{label}/warn": enforce}
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        answer = self.call("POST", "/api/v1/namespaces", body)
        assert answer.status == 201, answer

    def custom_resource(self, definition: dict[str, Any]) -> None:
        """Make a CustomResourceDefinition and wait until objects of it are taken."""
        answer = self.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
        assert answer.status == 201, answer
        spec = definition["spec"]
        served = f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}"
        wait_until(lambda: self.call("GET", served).status == 200, f"{served} served")

    # --- life

    def start(self) -> None:
        """Start etcd and the API server, and wait until it is ready."""
        program = compat_program("kube-apiserver")
        assert program is not None, "ask skip_without_kube_apiserver() first"
        users = {"admin": (_ADMIN, '"system:masters"'), "someone": ("token-of-someone", "")}
        self._users.write_text("".join(f"{token},{user},{user},{groups}\n" for user, (token, groups) in users.items()))
        for user, (token, _) in users.items():
            self.token_of(user).write_text(token)
        key = self.folder / "service-accounts.key"
        key.write_bytes(
            ec.generate_private_key(ec.SECP256R1()).private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
            )
        )
        self._etcd.start()
        self._port = free_ports(1)[0]
        arguments = [
            f"--etcd-servers={','.join(f'http://{one}' for one in self._etcd.endpoints)}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._port}",
            f"--tls-cert-file={self._certificate.cert}",
            f"--tls-private-key-file={self._certificate.key}",
            f"--token-auth-file={self._users}",
            "--authorization-mode=RBAC",
            f"--service-account-issuer={self.url}",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--endpoint-reconciler-type=none",  # no one looks for this server inside the cluster
            "--profiling=false",
        ]
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([program, *arguments], stdout=log, stderr=log, env=environment)
        try:
            wait_until(self._ready, f"kube-apiserver ready; its log is {self.log}")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        self._etcd.close()

    def _ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"kube-apiserver has ended; its log ends:\n{self.log.read_text()[-3000:]}")
        try:
            context = ssl.create_default_context(cafile=str(self.ca_file))
            opener = urllib.request.build_opener(
                urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
            )
            headers = {"Authorization": f"Bearer {_ADMIN}"}
            with opener.open(urllib.request.Request(f"{self.url}/readyz", headers=headers), timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
