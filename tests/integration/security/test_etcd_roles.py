"""The roles that docs/security.md tells people to create: enough for each part's work, and for nothing else."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from killswitch.errors import AccessDenied
from killswitch.net.credentials import Secret
from killswitch.preflight.checks import Status
from killswitch.preflight.permission_checks import examine_excess, examine_permissions
from killswitch.router import Roles, Router
from killswitch.spend.caps import Cap, Period
from killswitch.spend.ledger import Ledger
from killswitch.spend.prices import MILLION, Price, PriceList
from killswitch.spend.reservations import Reservation
from killswitch.stores import Delete, Put, Store, keys
from killswitch.stores.access import Access
from killswitch.stores.opening import open_store
from killswitch.stores.permissions import StoreUser
from tests.doubles.roles import REVIEW, put_roles, role
from tests.faults.service import FAILING, Service
from tests.integration.security.secured import ROOT, RULES, SETTINGS, running
from tests.servers.etcd import EtcdCluster, wait_until

NAME = "copilot"
ROLES = ("router", "controller", "ledger", "person")


def documented_commands() -> str:
    text = (ROOT / "docs" / "security.md").read_text()
    (block,) = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    return str(block)


@dataclass
class Guarded:
    etcd: EtcdCluster
    folder: Path

    @contextlib.contextmanager
    def store(self, role: str) -> Iterator[Store]:
        user = role if role == "root" else f"killswitch-{role}"
        store = open_store(self.etcd.url, user=user, password=Secret.from_file(self.folder / f"{role}.password"))
        try:
            yield store
        finally:
            store.close()

    def environment(self, role: str, **settings: str) -> dict[str, str]:
        ours = {
            **SETTINGS,
            "STORE": self.etcd.url,
            "STORE_USER": f"killswitch-{role}",
            "STORE_PASSWORD_FILE": str(self.folder / f"{role}.password"),
            "RULES": str(self.folder / "rules"),
            **settings,
        }
        del ours["SOURCE_USER"], ours["FALLBACK"]
        others = {name: value for name, value in os.environ.items() if not name.startswith("KILLSWITCH_")}
        return {**others, "PYTHONPATH": str(ROOT), **{f"KILLSWITCH_{name}": value for name, value in ours.items()}}

    def person(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "killswitch", *arguments],
            # a person waits for a busy machine; the daemon's two seconds are for its trips
            env=self.environment("person", STORE_TIMEOUT="30s"),
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("roles")
    for name in ("root", *ROLES):
        (folder / f"{name}.password").write_text(f"{name}-password\n")
    (folder / "rules").mkdir()
    (folder / "rules" / "copilot.yaml").write_text(RULES.format(name=NAME))
    with EtcdCluster(folder / "etcd", arguments=["--bcrypt-cost=4"]) as etcd:
        environment = {**os.environ, "ETCDCTL_API": "3", "ETCDCTL_ENDPOINTS": etcd.endpoints[0]}
        subprocess.run(["bash", "-euc", documented_commands()], cwd=folder, env=environment, check=True)
        yield Guarded(etcd, folder)


def test_people_and_a_controller_do_all_work_with_their_roles(guarded: Guarded) -> None:
    """Arm, judge, trip by itself, page, explain, re-arm, stage, trip by hand, end: each with its own user."""
    with Service([NAME]) as service:
        assert "armed" in guarded.person("arm", NAME, "--stage", "ramp_5", "--yes")
        source = f"scrape+http://{service.target}/metrics"
        with running(guarded.environment, "controller", SOURCE=source) as daemon:
            daemon.until_healthy()
            assert "ramp_25" in guarded.person("stage", NAME, "--stage", "ramp_25", "--yes")
            service.set(FAILING)
            daemon.until("the canary is tripped", lambda: daemon.status()["rollouts"][0]["state"] == "tripped")
            daemon.until("the page is out", lambda: "PAGE TRIPPED" in daemon.output)
            assert "error_rate" in guarded.person("explain", NAME)
            assert "tripped" in guarded.person("status", "--url", daemon.url)
            assert "armed again" in guarded.person("rearm", NAME, "--reason", "mended", "--yes")
    assert "permission" not in daemon.output.lower(), daemon.output
    with guarded.store("root") as store:
        wait_until(lambda: not store.list(keys.CONTROLLERS).items, "the controller has gone")
    assert "prod is m1" in guarded.person("role", "create", "triage", "--prod", "m1", "--yes")
    guarded.person("role", "set-candidate", "triage", "m2", "--yes")
    guarded.person("role", "waive", "triage", "--owner", "ann", "--until", "1h", "--reason", "a drill", "--yes")
    guarded.person("role", "promote", "triage", "--reason", "a drill", "--yes")
    assert "rolled back" in guarded.person("role", "rollback", "triage", "--reason", "a drill", "--yes")
    said = guarded.person("trip", NAME, "--reason", "a drill", "--yes")
    assert "this command paged console" in said
    assert "ended" in guarded.person("end", NAME, "--yes")


def test_a_controller_obeys_alerts_and_prunes_with_its_role(guarded: Guarded) -> None:
    """An alert trips one rollout and holds another; what people did 500 days ago is forgotten."""
    from killswitch.alert_settings import LABEL, AlertAction, AlertSettings  # noqa: PLC0415  only here
    from killswitch.trips.history_pruning import HistoryPruning  # noqa: PLC0415
    from killswitch.trips.switch import Switch  # noqa: PLC0415
    from tests.doubles.alertmanager_messages import alert, message  # noqa: PLC0415
    from tests.unit.alerts.desks import AlertWorld, rollout  # noqa: PLC0415

    world = AlertWorld()
    for action in AlertAction:
        world.rollouts[action] = rollout(action, AlertSettings(action, {LABEL: (action,)}))
    with guarded.store("person") as store:
        person = Switch(store, wall=world.clock.wall, by="ann", origin="test")
        for action in AlertAction:
            person.arm(action, control="old", canary="new", percent=5.0, stage="ramp_5", salt="")
    world.clock.advance(120)
    with guarded.store("controller") as store:
        body = message(*(alert(action, began=world.clock.wall()) for action in AlertAction))
        status, answer = world.desk_over(store).take(body)
        assert (status, [one["outcome"] for one in answer["rollouts"]]) == (200, ["tripped", "held"])
        world.clock.advance(500 * 86_400.0)
        pruning = HistoryPruning(store, wall=world.clock.wall)
        assert pruning.look() >= 0
        assert store.list(keys.flag_history("trip")).items  # etcd's own clock says that they are young


def test_a_router_follows_and_reports_with_its_role(guarded: Guarded) -> None:
    with guarded.store("person") as store:
        from killswitch.trips.switch import Switch  # noqa: PLC0415  beside its only use

        Switch(store, wall=lambda: 1.7e9, by="ann", origin="test").arm(
            "search", control="old", canary="new", percent=99.0, stage="full", salt=""
        )
    access = Access(user="killswitch-router", password=Secret.from_file(guarded.folder / "router.password"))
    router = Router("search", guarded.etcd.url, access=access, registry=CollectorRegistry())
    try:
        wait_until(lambda: {router.route(f"u{n}").model for n in range(300)} == {"old", "new"}, "the router follows")
        with guarded.store("person") as store:
            wait_until(lambda: store.list(keys.routers("search")).items, "the router reports")
            Switch(store, wall=lambda: 1.7e9, by="ann", origin="test").end("search")
        wait_until(lambda: {router.route(f"u{n}").cohort for n in range(300)} == {"control"}, "control again")
    finally:
        router.close()


def test_a_service_follows_roles_and_reports_with_the_same_role(guarded: Guarded) -> None:
    with guarded.store("person") as store:
        put_roles(store, role())
        access = Access(user="killswitch-router", password=Secret.from_file(guarded.folder / "router.password"))
        with Roles(guarded.etcd.url, access=access, registry=None) as roles:
            assert roles.wait_ready(20.0)
            wait_until(lambda: roles.health().watching, "the watch of the prefix")
            put_roles(store, role(prod="new", number=2))
            wait_until(lambda: roles.model_for(REVIEW) == "new", "the promotion")
            roles.answered(REVIEW, "new", "another")
            with guarded.store("controller") as controller:
                wait_until(lambda: controller.list(keys.ROLE_REPORTS).items, "the report")


def test_a_ledger_leases_spends_and_returns_with_its_role(guarded: Guarded) -> None:
    password = Secret.from_file(guarded.folder / "ledger.password")
    prices = PriceList([Price("m", 0.0, *[MILLION] * 5)])
    caps = [Cap("shadow:x", Period.MONTH, hard=5 * MILLION)]
    with Ledger(lambda: open_store(guarded.etcd.url, user="killswitch-ledger", password=password), caps, prices) as one:
        reserved = one.for_scopes("shadow:x", wait=10.0).reserve("m", MILLION, 0)
        assert isinstance(reserved, Reservation)
        assert reserved.settle() == MILLION
    assert "$1.00" in guarded.person("spend")
    with guarded.store("root") as store:
        assert not store.list(keys.LEDGER_OWNERS).items, "its lease was given back"


MAY_WRITE = {
    "router": {keys.router("x", "r1"), keys.role_report("r1")},
    "controller": {
        keys.role("x"), keys.role_change("x", 1), keys.role_notice("x", "k"), keys.role_health("x"),
        keys.gate_evidence("x", 1),
        keys.account("shadow:x", "day"), keys.live_spend("rollout:x"),
        keys.flag("x"), keys.incident("x", 1), keys.outbox("x"), keys.claim("x"), keys.controller("x"),
        keys.notice("x", 1, "k"), keys.outages("x"), keys.shadow_decision("x", 1),
        keys.plan_progress("x"), keys.slow_standing("x"), keys.advance("x", 1, 1),
        keys.hold("x"), keys.incident_trend("x", 1), keys.generation("x"), keys.alerts("x"),
        keys.drill("x", 1), keys.drill_open("x"), keys.drill_incident("x", 1), keys.drill_request("x"),
        keys.drill_standing("x"),
    },
    "ledger": {keys.account("shadow:x", "day"), keys.ledger_owner("x")},
    "person": {
        keys.flag("x"), keys.incident("x", 1), keys.outbox("x"), keys.claim("x"), keys.baseline("x", 1),
        keys.notice("x", 1, "k"), keys.generation("x"), keys.shadow_decision("x", 1),
        keys.approvals("x", 1), keys.hold("x"), keys.advance("x", 1, 1),
        keys.role("x"), keys.role_change("x", 1), keys.role_waiver("x"),
        keys.gate_run("x", "1"), keys.gate_newest("x"), keys.gate_evidence("x", 1),
        keys.drill("x", 1), keys.drill_request("x"), keys.drill_standing("x"),
    },
}  # fmt: skip
MAY_READ = {
    "router": {keys.flag("x"), keys.controller("x"), keys.role("x")},
    "controller": {
        *MAY_WRITE["controller"],
        keys.router("x", "r1"),
        keys.baseline("x", 1),
        keys.approvals("x", 1),
        keys.role_report("r1"),
        keys.role_waiver("x"),
        keys.gate_run("x", "1"),
        keys.gate_newest("x"),
    },
    "ledger": MAY_WRITE["ledger"],
    "person": set.union(*MAY_WRITE.values()),
}
ALL = [*sorted(set.union(*MAY_WRITE.values())), "/killswitch/v2/flags/x", "/somebody/else"]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("key", ALL)
def test_a_role_may_do_what_is_written_there_and_nothing_else(guarded: Guarded, role: str, key: str) -> None:
    with guarded.store(role) as store:
        for allowed, act in (
            (key in MAY_READ[role], lambda: store.get(key)),
            (key in MAY_WRITE[role], lambda: store.commit((), (Put(key, b"{}"),))),
            (key in MAY_WRITE[role], lambda: store.commit((), (Delete(key),))),
        ):
            if allowed:
                act()
            else:
                with pytest.raises(AccessDenied):
                    act()


def test_nobody_is_let_in_without_a_user(guarded: Guarded) -> None:
    store = open_store(guarded.etcd.url)
    with pytest.raises(AccessDenied):
        store.list(keys.FLAGS)
    store.close()


@pytest.mark.parametrize("role", ROLES)
def test_the_doctor_finds_each_role_enough_for_its_part(guarded: Guarded, role: str) -> None:
    """And a service's user too little for a controller; nothing is changed by the asking."""
    with guarded.store("root") as root:
        before = root.list(keys.ROOT)
    with guarded.store(role) as store:
        enough = list(examine_permissions(store, StoreUser(role)))
        excess = list(examine_excess(store, StoreUser(role)))
        other = StoreUser.ROUTER if role == "ledger" else StoreUser.LEDGER if role == "router" else StoreUser.SLACK
        too_little = list(examine_permissions(store, other))
    assert [check.status for check in enough] == [Status.OK], enough
    assert not excess
    assert Status.WRONG in {check.status for check in too_little}
    with guarded.store("root") as root:
        assert root.list(keys.ROOT).items == before.items
