"""The worker next to a service in Kubernetes: what kustomize renders is safe, and the worker takes it."""

from __future__ import annotations

import inspect
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from killswitch.cli.app import app
from killswitch.router.shadow.spool import Spool
from killswitch.shadow.raw_files import MOST_BROKEN_BYTES
from tests.doubles.two_answers import DENIED, raw_pair
from tests.e2e.test_kustomize import KUSTOMIZE, render

GIB = 1 << 30


@pytest.fixture(scope="module")
def objects() -> list[dict[str, Any]]:
    return render("shadow-worker/example")


@pytest.fixture
def pod(objects: list[dict[str, Any]]) -> dict[str, Any]:
    (deployment,) = (one for one in objects if one["kind"] == "Deployment")
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return found


@pytest.fixture
def worker(pod: dict[str, Any]) -> dict[str, Any]:
    (found,) = pod["initContainers"]
    assert isinstance(found, dict)
    return found


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container["env"]}


def mounts(container: dict[str, Any]) -> dict[str, str]:
    return {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}


def volumes(pod: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {volume["name"]: volume for volume in pod["volumes"]}


def test_the_worker_is_restricted_and_holds_no_token(pod: dict[str, Any], worker: dict[str, Any]) -> None:
    """And it is the service's user, because raw files have mode 0600."""
    security = worker["securityContext"]
    assert security == {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 65532
    assert all("runAsUser" not in one["securityContext"] for one in pod["containers"])
    assert pod["automountServiceAccountToken"] is False
    assert worker["resources"]["limits"].keys() == {"cpu", "memory"}
    assert "ports" not in worker


def test_the_worker_ends_after_the_service_and_has_time_to(pod: dict[str, Any], worker: dict[str, Any]) -> None:
    """Only a sidecar is stopped last. The service's `Shadow` takes 10 s to close."""
    assert worker["restartPolicy"] == "Always"
    assert "--drain" in worker["args"]
    assert pod["terminationGracePeriodSeconds"] >= 40


def test_both_have_the_spool_and_the_key_and_only_the_worker_the_records(
    pod: dict[str, Any], worker: dict[str, Any]
) -> None:
    (service,) = pod["containers"]
    for name in ("KILLSWITCH_SHADOW_SPOOL", "KILLSWITCH_SHADOW_KEY_FILE"):
        assert environment(service)[name] == environment(worker)[name]
    for name in ("shadow-spool", "shadow-key"):
        assert mounts(service)[name] == mounts(worker)[name]
    assert "shadow-records" not in mounts(service)
    # a volume's own folder is open to all; the one inside is made with mode 0700
    assert Path(environment(worker)["KILLSWITCH_SHADOW_SPOOL"]).parent == Path(mounts(worker)["shadow-spool"])
    assert Path(environment(worker)["KILLSWITCH_SHADOW_RECORDS"]).parent == Path(mounts(worker)["shadow-records"])
    assert Path(environment(worker)["KILLSWITCH_SHADOW_KEY_FILE"]).parent == Path(mounts(worker)["shadow-key"])
    assert mounts(worker)["shadow-tmp"] == "/tmp"
    read_only = [mount["name"] for mount in worker["volumeMounts"] if mount.get("readOnly")]
    assert read_only == ["shadow-key"]


def test_a_full_spool_does_not_evict_the_service(pod: dict[str, Any]) -> None:
    """The kubelet evicts a pod over the limit, so the service and the worker must stop before it."""
    (limit,) = re.findall(r"^(\d+)Gi$", volumes(pod)["shadow-spool"]["emptyDir"]["sizeLimit"])
    spool_bytes = inspect.signature(Spool).parameters["most_bytes"].default
    assert int(limit) * GIB > 2 * spool_bytes + MOST_BROKEN_BYTES
    assert "sizeLimit" in volumes(pod)["shadow-tmp"]["emptyDir"]


def test_records_of_all_pods_are_on_one_claim(objects: list[dict[str, Any]], pod: dict[str, Any]) -> None:
    (claim,) = (one for one in objects if one["kind"] == "PersistentVolumeClaim")
    assert volumes(pod)["shadow-records"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_the_key_is_a_secret_of_the_users_and_a_file(objects: list[dict[str, Any]], pod: dict[str, Any]) -> None:
    """Made as the guide says, and in no repository; an optional one would be a worker without users."""
    secret = volumes(pod)["shadow-key"]["secret"]
    assert (secret["defaultMode"], secret.get("optional")) == (0o440, None)
    assert not [one for one in objects if one["kind"] == "Secret"]
    guide = (KUSTOMIZE.parents[1] / "docs" / "shadow.md").read_text()
    assert f"create secret generic {secret['secretName']} --from-file=shadow-key" in guide


def test_the_worker_takes_these_settings(worker: dict[str, Any], tmp_path: Path) -> None:
    """The rendered arguments and variables, with folders of this machine in the place of the mounts."""
    known = {name: f"{tmp_path}{value}" for name, value in environment(worker).items()}
    key = Path(known["KILLSWITCH_SHADOW_KEY_FILE"])
    key.parent.mkdir(parents=True)
    key.write_text("0123456789abcdef" * 4)
    spool = Spool(known["KILLSWITCH_SHADOW_SPOOL"])
    spool.put(raw_pair(DENIED))
    spool.write()
    done = CliRunner().invoke(app, [*worker["args"], "--once"], env=known)
    assert done.exit_code == 0, done.output
    assert list(Path(known["KILLSWITCH_SHADOW_RECORDS"]).rglob("*.parquet"))


def test_only_a_labelled_deployment_gets_a_worker(tmp_path: Path) -> None:
    shutil.copytree(KUSTOMIZE, tmp_path / "kustomize")
    example = tmp_path / "kustomize" / "shadow-worker" / "example" / "assistant.yaml"
    other = yaml.safe_load(example.read_text())
    other["metadata"] = {"name": "other"}
    example.write_text(f"{example.read_text()}---\n{yaml.safe_dump(other)}")
    made = {
        one["metadata"]["name"]: "initContainers" in one["spec"]["template"]["spec"]
        for one in render(str(example.parent))
        if one["kind"] == "Deployment"
    }
    assert made == {"assistant": True, "other": False}
