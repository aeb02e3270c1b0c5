"""The chart's own etcd: its job makes certificates on a real API server, and with them three real members run.

The job's script runs with the token of its own ServiceAccount. The members run with the arguments of the rendered
StatefulSet, at three addresses of this machine, under the names that they have in a cluster.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pytest
from cryptography import x509

from tests.e2e.test_helm_on_kubernetes import pod_of, refusals
from tests.servers.etcd import ETCD, wait_until
from tests.servers.helm import CHART, Helm, given
from tests.servers.image import REPOSITORY
from tests.servers.in_a_pod import in_a_pod, skip_without_mounts
from tests.servers.kube_apiserver import KubeApiServer, skip_without_kube_apiserver

NAMESPACE = "killswitch"
ON = {"etcd.enabled": True}
MEMBERS = [f"killswitch-etcd-{number}" for number in range(3)]
DOMAIN = f"killswitch-etcd.{NAMESPACE}.svc"


@pytest.fixture(scope="module")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeApiServer]:
    skip_without_kube_apiserver()
    skip_without_mounts()
    with KubeApiServer(tmp_path_factory.mktemp("kube")) as server:
        server.namespace(NAMESPACE, enforce="restricted")
        other = {"metadata": {"name": "other"}, "data": {"password": "eA=="}}
        assert server.call("POST", f"/api/v1/namespaces/{NAMESPACE}/secrets", other).status == 201
        yield server


@pytest.fixture(scope="module")
def helm(kube: KubeApiServer, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(tmp_path_factory.mktemp("helm"), kubeconfig=kube.kubeconfig)


@dataclass
class Jobs:
    """Does for the job of the chart what a controller and a kubelet would: runs its pod, and says how it ended."""

    kube: KubeApiServer
    folder: Path
    printed: list[str] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)

    def while_running(self, helm: Helm, *arguments: str) -> None:
        """One helm command that has to succeed, whose job runs meanwhile."""
        done: list[subprocess.CompletedProcess[str]] = []
        command = threading.Thread(target=lambda: done.append(helm.run(*arguments, "--timeout", "60s")))
        command.start()
        try:
            path = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/killswitch-etcd-tls"
            wait_until(lambda: self.kube.call("GET", path).status == 200 or not command.is_alive(), "the job")
            if command.is_alive():
                self._run(self.kube.call("GET", path).document, path)
        finally:
            command.join()
        assert done[0].returncode == 0, done[0].stderr

    def _run(self, job: dict[str, Any], path: str) -> None:
        pod = pod_of(job, f"tls-{len(self.printed)}")
        assert self.kube.call("POST", f"/api/v1/namespaces/{NAMESPACE}/pods", pod).status == 201
        (container,) = pod["spec"]["containers"]
        account = self.folder / f"account{len(self.printed)}"
        account.mkdir()
        token = self.kube.service_account_token(NAMESPACE, pod["spec"]["serviceAccountName"])
        shutil.copy(token, account / "token")
        shutil.copy(self.kube.ca_file, account / "ca.crt")
        self._try_more_than_it_may(token)
        host, port = self.kube.url.removeprefix("https://").split(":")
        environment = {one["name"]: one["value"] for one in container["env"]}
        environment |= {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port, "PATH": os.environ["PATH"]}
        command = [sys.executable, "-I", *container["command"][1:], *container["args"]]
        finished = subprocess.run(
            in_a_pod(command, scratch=self.folder / "scratch", hosts={}, account=account),
            env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert finished.returncode == 0, finished.stderr
        self.printed.append(finished.stdout)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        conditions = [{"type": kind, "status": "True"} for kind in ("SuccessCriteriaMet", "Complete")]
        status = {"startTime": now, "completionTime": now, "succeeded": 1, "conditions": conditions}
        answer = self.kube.call("PATCH", f"{path}/status", {"status": status})
        assert answer.status == 200, answer

    def _try_more_than_it_may(self, token: Path) -> None:
        secrets = f"/api/v1/namespaces/{NAMESPACE}/secrets"
        for method, path in (
            ("GET", secrets), ("GET", f"{secrets}/other"), ("DELETE", f"{secrets}/killswitch-etcd-ca"),
            ("GET", f"/api/v1/namespaces/{NAMESPACE}/pods"),
        ):  # fmt: skip
            self.refused[f"{method} {path}"] = self.kube.call(method, path, token=token).status


@pytest.fixture(scope="module")
def jobs(kube: KubeApiServer, helm: Helm, tmp_path_factory: pytest.TempPathFactory) -> Jobs:
    """The jobs of an installation."""
    made = Jobs(kube, tmp_path_factory.mktemp("jobs"))
    made.while_running(helm, "install", "killswitch", str(CHART), "--namespace", NAMESPACE, *given(ON))
    return made


def secret(kube: KubeApiServer, part: str) -> dict[str, bytes]:
    document = kube.call("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets/killswitch-etcd-{part}").document
    return {name: base64.b64decode(text) for name, text in document["data"].items()}


def stateful_set(kube: KubeApiServer) -> dict[str, Any]:
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets/killswitch-etcd"
    return kube.call("GET", path).document


class TestTheJob:
    def test_it_makes_three_secrets(self, jobs: Jobs, kube: KubeApiServer) -> None:
        """The authority's key is in a Secret that no pod mounts."""
        assert jobs.printed[0].splitlines() == [f"made killswitch-etcd-{part}" for part in ("ca", "server", "client")]
        assert secret(kube, "ca").keys() == {"ca.crt", "ca.key"}
        mounted = json.dumps([stateful_set(kube), deployment(kube)])
        assert "killswitch-etcd-server" in mounted
        assert "killswitch-etcd-client" in mounted
        assert "killswitch-etcd-ca" not in mounted

    def test_it_may_touch_no_other_secret(self, jobs: Jobs) -> None:
        assert set(jobs.refused.values()) == {403}
        assert len(jobs.refused) == 4

    def test_its_rights_are_gone_afterwards(self, jobs: Jobs, kube: KubeApiServer) -> None:
        for path in ("roles", "rolebindings"):
            listed = kube.call("GET", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/{path}")
            assert listed.document["items"] == []

    def test_an_upgrade_keeps_good_certificates(self, jobs: Jobs, kube: KubeApiServer, helm: Helm) -> None:
        before = [secret(kube, part) for part in ("ca", "server", "client")]
        arguments = ("upgrade", "killswitch", str(CHART), "--namespace", NAMESPACE, *given(ON))
        jobs.while_running(helm, *arguments)
        assert [secret(kube, part) for part in ("ca", "server", "client")] == before
        assert jobs.printed[-1].splitlines() == ["kept killswitch-etcd-server", "kept killswitch-etcd-client"]

    def test_an_upgrade_renews_a_certificate_of_another_authority(
        self, jobs: Jobs, kube: KubeApiServer, helm: Helm
    ) -> None:
        """So a person who deletes the authority gets all three again."""
        before = secret(kube, "server")
        path = f"/api/v1/namespaces/{NAMESPACE}/secrets/killswitch-etcd-ca"
        assert kube.call("DELETE", path).status == 200
        jobs.while_running(helm, "upgrade", "killswitch", str(CHART), "--namespace", NAMESPACE, *given(ON))
        assert jobs.printed[-1].splitlines()[1:] == ["renewed killswitch-etcd-server", "renewed killswitch-etcd-client"]
        assert secret(kube, "server")["ca.crt"] != before["ca.crt"]

    def test_certificates_last_for_ten_years(self, jobs: Jobs, kube: KubeApiServer) -> None:
        """And the daemon's has no names: etcd would look them up, and refuse a pod with another address."""
        for part in ("server", "client"):
            certificate = x509.load_pem_x509_certificate(secret(kube, part)["tls.crt"])
            assert (certificate.not_valid_after_utc - datetime.now(UTC)).days in (3648, 3649)
            names = [one for one in certificate.extensions if isinstance(one.value, x509.SubjectAlternativeName)]
            assert bool(names) == (part == "server")


def deployment(kube: KubeApiServer) -> dict[str, Any]:
    return kube.call("GET", f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/killswitch").document


def test_restricted_admits_its_members_and_nothing_is_unknown(jobs: Jobs, kube: KubeApiServer, helm: Helm) -> None:
    pod = pod_of(stateful_set(kube), MEMBERS[0])
    pod["spec"]["volumes"].append({"name": "data", "emptyDir": {}})  # in place of the claim that a controller makes
    answer = kube.call("POST", f"/api/v1/namespaces/{NAMESPACE}/pods", pod)
    assert (answer.status, answer.warnings) == (201, ()), answer.document
    kube.namespace("strict", enforce="restricted")
    assert refusals(kube, "strict", helm.rendered(ON, namespace="strict")) == []


def test_our_image_can_make_certificates() -> None:
    """The job is a script for Python in our image, with a library that comes with the SDKs of providers."""
    assert "\ncryptography==" in (REPOSITORY / "deploy" / "requirements.txt").read_text()


def test_the_image_is_the_etcd_that_is_tested() -> None:
    tested = re.search(r"go\.etcd\.io/etcd/server/v3 (v\S+)", (REPOSITORY / "compat/etcd-3.6/go.mod").read_text())
    assert tested is not None
    assert f"etcd:{tested[1]}" in (CHART / "values.yaml").read_text()


class Members:
    """The three members as processes of this machine, each at an address of its own."""

    def __init__(self, kube: KubeApiServer, folder: Path) -> None:
        self.folder = folder
        block = f"127.{1 + os.getpid() % 250}.{1 + os.getppid() % 250}"
        self.addresses = {name: f"{block}.{number + 1}" for number, name in enumerate(MEMBERS)}
        self.hosts = {f"{name}.{DOMAIN}": address for name, address in self.addresses.items()}
        for part in ("server", "client"):
            (folder / part).mkdir(parents=True)
            for name, content in secret(kube, part).items():
                (folder / part / name).write_bytes(content)
        (container,) = stateful_set(kube)["spec"]["template"]["spec"]["containers"]
        self._arguments: list[str] = container["args"]
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        replaced = {
            "$(POD_NAME)": name, "0.0.0.0": self.addresses[name], "/etc/etcd/tls": str(self.folder / "server"),
            "/var/lib/etcd": str(self.folder / name),
        }  # fmt: skip
        arguments = list(self._arguments)
        for before, after in replaced.items():
            arguments = [argument.replace(before, after) for argument in arguments]
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                in_a_pod([ETCD, *arguments], scratch=self.folder / f"{name}.pod", hosts=self.hosts),
                stdout=log, stderr=log,
            )  # fmt: skip

    def kill(self, name: str) -> None:
        process = self._processes.pop(name, None)
        if process is not None:
            process.kill()
            process.wait()

    def healthy(self, name: str) -> bool:
        """As the kubelet asks: over plain HTTP, without a certificate."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://{self.addresses[name]}:2381/health", timeout=5) as answer:
                return bool(json.load(answer)["health"] == "true")
        except OSError:
            return False

    def __enter__(self) -> Self:
        for name in MEMBERS:
            self.start(name)
        return self

    def __exit__(self, *_: object) -> None:
        for name in MEMBERS:
            self.kill(name)


@pytest.fixture
def members(jobs: Jobs, kube: KubeApiServer, tmp_path: Path) -> Iterator[Members]:
    with ExitStack() as stack:
        running = stack.enter_context(Members(kube, tmp_path / "etcd"))
        for name in MEMBERS:
            wait_until(lambda name=name: running.healthy(name), f"{name}; its log is in {running.folder}")  # type: ignore[misc]
        yield running


def killswitch(
    members: Members, settings: Mapping[str, str], *arguments: str, **changed: str
) -> subprocess.CompletedProcess[str]:
    """A command with the daemon's own settings, in a pod that sees the members under their names."""
    environment = {name: value.replace("/etc/killswitch/etcd", str(members.folder / "client"))
                   for name, value in settings.items()}  # fmt: skip
    environment |= {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "COLUMNS": "200"}
    environment |= {"KILLSWITCH_RULES": str(CHART / "files" / "support-copilot.yaml"), **changed}
    command = [sys.executable, "-m", "killswitch", *arguments]
    return subprocess.run(
        in_a_pod(command, scratch=members.folder / "command", hosts=members.hosts),
        env=environment, cwd=members.folder, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_daemons_settings_reach_it_and_it_survives_a_member(members: Members, kube: KubeApiServer) -> None:
    """Armed with all three, tripped with two, and refused without a certificate."""
    path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/killswitch-settings"
    settings = kube.call("GET", path).document["data"]
    armed = killswitch(members, settings, "arm", "support-copilot", "--stage", "ramp_1", "--yes")
    assert armed.returncode == 0, armed.stderr
    members.kill(MEMBERS[0])
    # if that was the leader, the others elect one first
    wait_until(lambda: killswitch(members, settings, "status").returncode == 0, "a quorum of two")
    tripped = killswitch(members, settings, "trip", "support-copilot", "--reason", "tried", "--yes")
    assert tripped.returncode == 0, tripped.stderr
    members.start(MEMBERS[0])
    wait_until(lambda: members.healthy(MEMBERS[0]), "the member is back")
    without = {name: value for name, value in settings.items() if name not in (
        "KILLSWITCH_STORE_CERT_FILE", "KILLSWITCH_STORE_KEY_FILE")}  # fmt: skip
    refused = killswitch(members, without, "status")
    # TLS 1.3: whether the reason arrives before the connection ends is chance
    assert refused.returncode != 0
    assert re.search("certificate|cut the connection", refused.stderr), refused.stderr
