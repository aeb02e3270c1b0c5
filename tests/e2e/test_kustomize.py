"""The manifests hold what they promise, as kustomize renders them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from killswitch.daemon.settings import Settings, load_settings
from killswitch.rules.loading import load_folder
from killswitch.rules.role_files import load_roles
from tests.servers.image import REPOSITORY

KUSTOMIZE = REPOSITORY / "deploy" / "kustomize"
_RESTRICTED_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim",
                       "projected", "secret"}  # fmt: skip


def render(folder: str) -> list[dict[str, Any]]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not here")
    finished = subprocess.run(
        ["kubectl", "kustomize", str(KUSTOMIZE / folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert "Warning" not in finished.stderr, finished.stderr
    return list(yaml.safe_load_all(finished.stdout))


@pytest.fixture(params=["base", "example"])
def objects(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return render(request.param)


def _one(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = (item for item in objects if item["kind"] == kind)
    return found


def _settings(objects: list[dict[str, Any]]) -> dict[str, str]:
    (found,) = (
        o for o in objects if o["kind"] == "ConfigMap" and o["metadata"]["name"].startswith("killswitch-settings")
    )
    data: dict[str, str] = found["data"]
    return data


def _pod(objects: list[dict[str, Any]]) -> dict[str, Any]:
    pod: dict[str, Any] = _one(objects, "Deployment")["spec"]["template"]["spec"]
    return pod


def _container(objects: list[dict[str, Any]]) -> dict[str, Any]:
    (container,) = _pod(objects)["containers"]
    assert isinstance(container, dict)
    return container


def test_the_pod_satisfies_the_restricted_pod_security_standard(objects: list[dict[str, Any]]) -> None:
    pod, container = _pod(objects), _container(objects)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 65532
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert all("hostPort" not in port for port in container["ports"])
    for volume in pod["volumes"]:
        assert (volume.keys() - {"name"}) <= _RESTRICTED_VOLUMES


def test_nothing_can_be_written_but_an_empty_folder(objects: list[dict[str, Any]]) -> None:
    container = _container(objects)
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    writable = {mount["name"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    emptied = {volume["name"] for volume in _pod(objects)["volumes"] if "emptyDir" in volume}
    assert writable == emptied == {"tmp"}


def test_the_pod_holds_no_kubernetes_token(objects: list[dict[str, Any]]) -> None:
    assert _pod(objects)["automountServiceAccountToken"] is False
    assert _one(objects, "ServiceAccount")["automountServiceAccountToken"] is False


def test_two_replicas_are_spread_and_one_always_stays(objects: list[dict[str, Any]]) -> None:
    deployment = _one(objects, "Deployment")["spec"]
    assert deployment["replicas"] >= 2
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert {spread["topologyKey"] for spread in _pod(objects)["topologySpreadConstraints"]} == {
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    }
    assert _one(objects, "PodDisruptionBudget")["spec"]["minAvailable"] == 1


def test_everything_that_selects_the_pods_selects_these(objects: list[dict[str, Any]]) -> None:
    labels = _one(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        _one(objects, "Deployment")["spec"]["selector"]["matchLabels"],
        _one(objects, "Service")["spec"]["selector"],
        _one(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        _one(objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(spread["labelSelector"]["matchLabels"] for spread in _pod(objects)["topologySpreadConstraints"]),
    ]
    for selector in selectors:
        assert selector
        assert selector.items() <= labels.items()


def test_rules_arrive_as_a_folder_that_changes_without_a_restart(objects: list[dict[str, Any]]) -> None:
    mounts = {mount["name"]: mount for mount in _container(objects)["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in _pod(objects)["volumes"]}
    assert all("subPath" not in mount for mount in mounts.values())
    assert mounts["rules"]["mountPath"] == _settings(objects)["KILLSWITCH_RULES"]
    names = [item["metadata"]["name"] for item in objects if item["kind"] == "ConfigMap"]
    assert volumes["rules"]["configMap"]["name"] == "killswitch-rules"
    assert "killswitch-rules" in names  # exactly: with a hash in its name a change would replace the pods


def test_role_files_arrive_as_a_folder_and_are_accepted(tmp_path: Path) -> None:
    example = render("example")
    mounts = {mount["name"]: mount["mountPath"] for mount in _container(example)["volumeMounts"]}
    assert mounts["roles"] == _settings(example)["KILLSWITCH_ROLES"]
    (volume,) = (volume for volume in _pod(example)["volumes"] if volume["name"] == "roles")
    name = volume["configMap"]["name"]
    (roles,) = (item for item in example if item["kind"] == "ConfigMap" and item["metadata"]["name"] == name)
    assert name == "killswitch-roles"  # exactly: with a hash in its name a change would replace the pods
    for file, text in roles["data"].items():
        (tmp_path / file).write_text(text)
    (config,) = load_roles(tmp_path).values()
    assert config.endpoint.key_file is not None
    assert config.endpoint.key_file.parent == Path(mounts["secrets"])


def test_changed_settings_replace_the_pods(objects: list[dict[str, Any]]) -> None:
    ((reference,),) = [source.values() for source in _container(objects)["envFrom"]]
    assert re.fullmatch(r"killswitch-settings-[a-z0-9]{10}", reference["name"])


def test_the_rule_files_are_accepted(objects: list[dict[str, Any]], tmp_path: Path) -> None:
    (rules,) = (o for o in objects if o["kind"] == "ConfigMap" and o["metadata"]["name"] == "killswitch-rules")
    for name, text in rules["data"].items():
        (tmp_path / name).write_text(text)
    assert load_folder(tmp_path).rollouts


def test_the_daemon_knows_every_setting_and_accepts_them(
    objects: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in _settings(objects).items():
        assert name.removeprefix("KILLSWITCH_").lower() in Settings.model_fields, name
        monkeypatch.setenv(name, value)
    for variable in _container(objects)["env"]:
        assert variable["name"].removeprefix("KILLSWITCH_").lower() in Settings.model_fields, variable["name"]
        monkeypatch.setenv(variable["name"], "killswitch")
    assert load_settings().listen == "0.0.0.0:8080"


def test_every_secret_is_a_file_in_the_mounted_folder(objects: list[dict[str, Any]]) -> None:
    mounts = {mount["name"]: mount["mountPath"] for mount in _container(objects)["volumeMounts"]}
    (secret,) = (volume["secret"] for volume in _pod(objects)["volumes"] if "secret" in volume)
    assert secret["optional"] is True
    for name, value in _settings(objects).items():
        if name.endswith("_FILE"):
            assert Path(value).parent == Path(mounts["secrets"]), name
    assert not [o for o in objects if o["kind"] == "Secret"]  # made by the user, never in a repository


def test_base_needs_no_secret_at_all() -> None:
    base = render("base")
    assert not [name for name in _settings(base) if name.endswith("_FILE")]
    assert "secretKeyRef" not in json.dumps(base)


def _secrets_of_components() -> dict[str, list[str]]:
    """The keys of the Secret that each component names."""
    named = {}
    for file in sorted(KUSTOMIZE.glob("components/*/kustomization.yaml")):
        document = yaml.safe_load(file.read_text())
        literals = [text for one in document.get("configMapGenerator", ()) for text in one["literals"]]
        named[file.parent.name] = [Path(text).name for text in literals if "_FILE=" in text]
    return {name: keys for name, keys in named.items() if keys}


@pytest.mark.parametrize("component", _secrets_of_components())
def test_each_secret_is_optional_works_alone_and_is_documented(component: str, tmp_path: Path) -> None:
    """A team that has this one secret lists this one component, and the README says how its key is made."""
    (key,) = _secrets_of_components()[component]
    readme = (KUSTOMIZE / "README.md").read_text()
    assert f"| `{component}` | `{key}` |" in readme
    shutil.copytree(KUSTOMIZE, tmp_path / "kustomize")
    alone = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["../base"],
        "components": [f"../components/{component}"],
    }
    (tmp_path / "kustomize" / "alone").mkdir()
    (tmp_path / "kustomize" / "alone" / "kustomization.yaml").write_text(yaml.safe_dump(alone))
    settings = _settings(render(str(tmp_path / "kustomize" / "alone")))
    assert [Path(value).name for name, value in settings.items() if name.endswith("_FILE")] == [key]
    assert settings["KILLSWITCH_STORE"]


def test_probes_ask_the_daemon_over_http_on_the_port_it_listens_on(objects: list[dict[str, Any]]) -> None:
    container = _container(objects)
    paths = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {"startupProbe": "/-/healthy", "livenessProbe": "/-/healthy", "readinessProbe": "/-/ready"}
    (port,) = container["ports"]
    assert _settings(objects)["KILLSWITCH_LISTEN"] == f"0.0.0.0:{port['containerPort']}"
    assert {container[name]["httpGet"]["port"] for name in paths} == {port["name"]}
    assert _one(objects, "Service")["spec"]["ports"][0]["targetPort"] == port["name"]


def test_a_pod_has_longer_to_end_than_the_daemon_takes(objects: list[dict[str, Any]]) -> None:
    assert _pod(objects)["terminationGracePeriodSeconds"] > 10


def test_memory_is_bounded_and_the_processor_is_not(objects: list[dict[str, Any]]) -> None:
    resources = _container(objects)["resources"]
    assert resources["limits"].keys() == {"memory"}
    assert resources["requests"].keys() == {"cpu", "memory"}


def _addresses(settings: dict[str, str]) -> set[tuple[str, str, int]]:
    """Setting, namespace and port of every address inside the cluster that the settings name."""
    found = set()
    for name, value in settings.items():
        if "://" not in value:
            continue
        for host, port in re.findall(r"([A-Za-z0-9.-]+):(\d+)", value.partition("://")[2]):
            service = re.fullmatch(r"(?:[a-z0-9-]+\.)+?([a-z0-9-]+)\.svc(?:\.cluster\.local)?", host)
            assert service is not None, f"{name}: {host} names no namespace, so no policy can be compared with it"
            found.add((name, service[1], int(port)))
    return found


def test_the_policy_lets_the_daemon_reach_all_its_addresses(objects: list[dict[str, Any]]) -> None:
    """The example's etcd was in the namespace `platform`, and the policy let it reach `etcd`."""
    egress = _one(objects, "NetworkPolicy")["spec"]["egress"]
    allowed = {
        (peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], port["port"])
        for rule in egress
        for peer in rule["to"]
        if "namespaceSelector" in peer
        for port in rule["ports"]
    }
    addresses = _addresses(_settings(objects))
    assert {name for name, _, _ in addresses} == {"KILLSWITCH_STORE", "KILLSWITCH_SOURCE"}
    for name, namespace, port in addresses:
        assert (namespace, port) in allowed, name
    (open_to_all,) = (peer["ipBlock"] for rule in egress for peer in rule["to"] if "ipBlock" in peer)
    assert "169.254.0.0/16" in open_to_all["except"]  # the cloud's metadata


def test_the_daemon_answers_to_its_services_names(objects: list[dict[str, Any]]) -> None:
    service = _one(objects, "Service")["metadata"]
    names = _settings(objects)["KILLSWITCH_HOST_NAMES"].split(",")
    namespace = service.get("namespace", "killswitch")
    assert {service["name"], f"{service['name']}.{namespace}.svc"} <= set(names)
