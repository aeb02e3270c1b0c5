"""The role that docs/security.md tells people to give controllers where buttons in Slack are used: it is enough."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from killswitch.errors import AccessDenied
from killswitch.net.credentials import Secret
from killswitch.stores import Store
from killswitch.stores.opening import open_store
from tests.doubles.clock import VirtualClock
from tests.integration.security.test_etcd_roles import ROLES, documented_commands
from tests.servers.etcd import EtcdCluster
from tests.unit.interaction.pressed import ROLLOUT, Scene

ANN = "Ann Lee (U0ANN0001)"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EtcdCluster, Path]]:
    folder = tmp_path_factory.mktemp("slack-role")
    for name in ("root", *ROLES):
        (folder / f"{name}.password").write_text(f"{name}-password\n")
    with EtcdCluster(folder / "etcd", arguments=["--bcrypt-cost=4"]) as etcd:
        environment = {**os.environ, "ETCDCTL_API": "3", "ETCDCTL_ENDPOINTS": etcd.endpoints[0]}
        subprocess.run(["bash", "-euc", documented_commands()], cwd=folder, env=environment, check=True)
        yield etcd, folder


def opened(guarded: tuple[EtcdCluster, Path], role: str) -> Store:
    etcd, folder = guarded
    user = role if role == "root" else f"killswitch-{role}"
    return open_store(etcd.url, user=user, password=Secret.from_file(folder / f"{role}.password"))


def test_a_controller_carries_presses_out_with_that_role_alone(guarded: tuple[EtcdCluster, Path]) -> None:
    """Without it every press is refused; with it all four buttons and both commands are carried out."""
    etcd, folder = guarded
    clock = VirtualClock()
    scene = Scene(opened(guarded, "root"), clock)
    scene.arm()
    scene.trip()
    deeds = scene.deeds(opened(guarded, "controller"))
    with pytest.raises(AccessDenied):
        deeds.acknowledge(scene.value("a" * 32), ANN)

    root = ["--user", f"root:{(folder / 'root.password').read_text().strip()}", "--endpoints", etcd.endpoints[0]]
    grant = ["etcdctl", *root, "user", "grant-role", "killswitch-controller", "killswitch-slack"]
    subprocess.run(grant, env={**os.environ, "ETCDCTL_API": "3"}, check=True)
    deeds.acknowledge(scene.value("a" * 32), ANN)
    deeds.hold(scene.value("b" * 32), ANN, "")
    deeds.rearm(scene.value("c" * 32), ANN, reason="fixed", stage="ramp_1", new_users=False)
    deeds.trip(ROLLOUT, ANN, reason="again", trigger_id="1.2.x")
    deeds.end(scene.value("d" * 32), ANN, reason="given up")
    assert scene.flag() is None
