"""Rule files and secrets change under a running fleet: rows 17, 19 and 25."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from killswitch.stores import keys
from tests.faults.figures import figure
from tests.faults.fleet import ROLLOUT, Fleet, rules_of, started, swap
from tests.faults.replica import Replica
from tests.servers.etcd import wait_until


def test_a_bad_rule_file_is_paged_once_and_the_old_rules_trip(tmp_path: Path) -> None:
    """Row 17."""
    with started(tmp_path) as fleet:
        file = fleet.rules / f"{ROLLOUT}.yaml"
        swap(file, rules_of(ROLLOUT).replace("max: 2%", "max: 2"))
        for replica in fleet.replicas:
            wait_until(lambda replica=replica: replica.metric("killswitch_rules_reload_ok") == 0, "the gauge")  # type: ignore[misc]
        wait_until(lambda: len(fleet.pages("rule files refused")) == 1, "the page")
        fleet.for_cycles(2)
        fleet.fail()
        assert fleet.until_tripped()["trip"]["rules"] == ["error_rate"]
        assert len(fleet.pages("rule files refused")) == 1
        swap(file, rules_of(ROLLOUT).replace("max: 2%", "max: 3%"))
        for replica in fleet.replicas:
            wait_until(lambda replica=replica: replica.metric("killswitch_rules_reload_ok") == 1, "the gauge")  # type: ignore[misc]


def test_a_configmap_swap_reloads_once_and_drift_is_reported(tmp_path: Path) -> None:
    """Row 25: the folder is what Kubernetes mounts; a swap of one link changes every file at once."""
    first, second = tmp_path / "..first", tmp_path / "..second"
    for version, limit in ((first, "2%"), (second, "3%")):
        version.mkdir()
        (version / f"{ROLLOUT}.yaml").write_text(rules_of(ROLLOUT).replace("max: 2%", f"max: {limit}"))
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    (mounted / "..data").symlink_to(first)
    (mounted / f"{ROLLOUT}.yaml").symlink_to(Path("..data") / f"{ROLLOUT}.yaml")
    with Fleet(tmp_path / "fleet", replicas=1) as fleet:
        fleet.add_replica("on-configmap", RULES=str(mounted))
        fleet.start()
        _, swapping = fleet.replicas
        before = _digest(fleet, swapping)
        assert before == _digest(fleet, fleet.replicas[0])
        (mounted / "..data_tmp").symlink_to(second)
        (mounted / "..data_tmp").replace(mounted / "..data")
        wait_until(lambda: _digest(fleet, swapping) != before, "the new rules in its heartbeat")
        fleet.for_cycles(2)
        assert swapping.logged("rules reloaded") == 1
        for replica in fleet.replicas:
            assert replica.logged("replicas have different rule files") >= 1
        fleet.replicas[0].kill()
        fleet.fail()
        fleet.until_tripped()
        (incident,) = fleet.incidents()
        file = hashlib.sha256((second / f"{ROLLOUT}.yaml").read_bytes()).hexdigest()
        assert incident["rules_digest"] == file
        assert _digest(fleet, swapping) == hashlib.sha256(file.encode()).hexdigest()  # of the set: this one file


def _digest(fleet: Fleet, replica: Replica) -> str:
    item = fleet.store.get(keys.controller(replica.name))
    assert item is not None
    return str(json.loads(item.value)["rules_digest"])


def test_rotated_secrets_and_expired_tokens_need_no_restart(tmp_path: Path) -> None:
    """Row 19: etcd's tokens live two seconds, then its password changes, then Slack's token."""
    with Fleet(tmp_path, replicas=1, etcd_arguments=("--auth-token-ttl=2",)) as fleet:
        (replica,) = fleet.replicas
        fleet.start()
        replica.kill()
        # while its session lives, the name is taken: an error of its own
        wait_until(lambda: fleet.store.get(keys.claim(f"sessions/{replica.name}")) is None, "the end of its session")
        password = tmp_path / "password"
        password.write_text("first")
        replica.environment |= {"KILLSWITCH_STORE_USER": "killswitch", "KILLSWITCH_STORE_PASSWORD_FILE": str(password)}
        fleet.etcd.enable_auth("root", {"killswitch": ("first", keys.ROOT)})
        replica.start()
        pid = replica.pid
        fleet.for_cycles(4, replica)  # several lives of a token
        member = fleet.etcd.members[0]
        new = {"name": "killswitch", "password": "second"}
        member.call("/v3/auth/user/changepw", new, token=fleet.etcd.token("root", "root"))
        swap(password, "second")
        fleet.for_cycles(4, replica)
        assert replica.metric("killswitch_store_up") == 1
        fleet.slack.token = "xoxb-rotated"
        swap(replica.folder / "token", "xoxb-rotated")
        fleet.fail()
        wait_until(lambda: len(fleet.pages("tripped, ")) == 1, "the page")
        figure(f"row 19: {replica.logged('ERROR')} errors logged through all rotations")
        assert replica.logged("ERROR") <= 1
        assert replica.pid == pid
