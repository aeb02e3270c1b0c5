"""A shell with a role, its files, and the rollouts of its slots."""

from __future__ import annotations

import time
from dataclasses import replace

from killswitch.registry import gate_runs
from killswitch.registry.registry import Registry
from killswitch.registry.stored_roles import StoredRoles
from killswitch.roles.armed_pair import ArmedPair
from killswitch.roles.gate_record import GateVerdict
from killswitch.roles.role import Role
from killswitch.rules.role_files import load_roles
from killswitch.stores.opening import open_store
from killswitch.trips.armed_pairs import stored_pair
from killswitch.trips.switch import Switch
from tests.doubles.gate_records import gate_run
from tests.unit.cli.shell import Shell

ROLE = "support"
ROLE_FILE = "role: support\nprovider: openai\nlabel: $\nwatch: {rollout: watch, shadow_rollout: previous-unseen}\n"
HEAD = "metrics: cohort-labels\nrules: {error_rate: {max: 2%}}\npage: {mention: '<!here>'}\n"
OVER = "plan: {stages: [{stage: ramp_1, for: 24h}]}\n"
SLOTS = {
    "copilot": ("prod", "candidate"),
    "watch": ("previous", "prod"),
    "previous-unseen": ("prod", "previous"),
}


def with_role(shell: Shell, *, plan: str = OVER) -> Shell:
    """The role has prod ``model-old`` and candidate ``model-new``; ``plan`` is of the rollout that compares them."""
    for name, (control, canary) in SLOTS.items():
        slots = f"rollout: {name}\ncontrol: role:{ROLE}.{control}\ncanary: role:{ROLE}.{canary}\n"
        (shell.rules / f"{name}.yaml").write_text(slots + HEAD + (plan if name == "copilot" else ""))
    (shell.folder / "roles").mkdir()
    (shell.folder / "roles" / "support.yaml").write_text(ROLE_FILE)
    store = open_store(shell.store)
    registry = Registry(store, wall=time.time, by="ann")
    registry.create(ROLE, "model-old", reason="it serves today")
    registry.set_candidate(ROLE, "model-new", reason="it is newer")
    store.close()
    return shell


def passed(
    shell: Shell,
    *,
    verdict: GateVerdict = GateVerdict.PASS,
    age: float = 60.0,
    run: str = "a1",
    candidate: str = "model-new",
) -> None:
    """A run of the role's gate on its prod and ``candidate`` ended ``age`` seconds ago."""
    config = load_roles(shell.folder / "roles")[ROLE]
    ended = time.time() - age
    record = gate_run(
        gate_runs.run_id(ended, run), verdict=verdict, prod="model-old", candidate=candidate, ended_at=ended,
        setup=config.setup("model-old", candidate),
    )  # fmt: skip
    store = open_store(shell.store)
    gate_runs.keep(store, replace(record, role=ROLE))
    store.close()


def waived(shell: Shell, seconds: float = 3600.0) -> None:
    store = open_store(shell.store)
    Registry(store, wall=time.time, by="ann").waive(
        ROLE, owner="ann", reason="the gate's provider is down", expires_at=time.time() + seconds
    )
    store.close()


def candidate(shell: Shell, model: str | None) -> None:
    store = open_store(shell.store)
    Registry(store, wall=time.time, by="bob").set_candidate(ROLE, model, reason="newer still")
    store.close()


def the_role(shell: Shell) -> Role:
    store = open_store(shell.store)
    role = StoredRoles(store).required(ROLE).role
    store.close()
    assert role is not None
    return role


def rests_on(shell: Shell, rollout: str = "copilot", generation: int = 1) -> ArmedPair | None:
    store = open_store(shell.store)
    try:
        return stored_pair(store, rollout, generation)
    finally:
        store.close()


def percent(shell: Shell, rollout: str = "copilot") -> float | None:
    """Of users who get the canary's answers; None without a flag."""
    store = open_store(shell.store)
    flag = Switch(store, wall=time.time, by="test", origin="test").stored(rollout).flag
    store.close()
    return None if flag is None else flag.canary_percent if flag.stage not in ("aa", "shadow") else 0.0
