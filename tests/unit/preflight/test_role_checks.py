"""What the doctor says of roles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from killswitch.flags.flag import Flag
from killswitch.preflight.checks import Status
from killswitch.preflight.role_checks import examine_roles
from killswitch.roles.config import RoleConfig, RoleEndpoint, RoleWatch
from killswitch.stores import keys
from tests.doubles.gate_records import AT, gate_run
from tests.doubles.memory_store import Fault, MemoryStore
from tests.unit.controller.watched_roles import watch_rules
from tests.unit.registry.registries import ROLE, Registries

CONFIG = RoleConfig(ROLE, RoleEndpoint("openai"), watch=RoleWatch("watch"))


@pytest.fixture
def all_() -> Registries:
    return Registries()


def _said(
    found: Registries, configs: Mapping[str, RoleConfig] | None = None, flags: Mapping[str, Flag] | None = None
) -> dict[str, Status]:
    rules = list(watch_rules().values())
    given = {ROLE: CONFIG} if configs is None else configs
    checks = examine_roles(MemoryStore(found.server), rules, given, flags or {}, now=AT + 120.0)
    return {one.found: one.status for one in checks}


def _status(said: Mapping[str, Status], part: str) -> Status:
    (status,) = [status for found, status in said.items() if part in found]
    return status


def test_a_role_that_rule_files_name_must_exist(all_: Registries) -> None:
    assert _status(_said(all_), "name it, and it does not exist") is Status.WRONG


def test_a_candidate_with_a_passed_run_is_in_order(all_: Registries) -> None:
    all_.ready(gate_run())
    said = _said(all_, {})
    assert _status(said, "its candidate rests on gate run") is Status.OK
    assert _status(said, "it has no role file") is Status.NOTE


def test_a_candidate_without_evidence_is_noted(all_: Registries) -> None:
    all_.ready()
    assert _status(_said(all_), "may have no users yet") is Status.NOTE


def test_a_promotion_without_its_watch_is_a_warning(all_: Registries) -> None:
    all_.promoted(gate_run())
    assert _status(_said(all_), "watch does not watch its new prod") is Status.WARNING


def test_a_watch_that_is_no_rule_file_is_wrong(all_: Registries) -> None:
    all_.promoted(gate_run())
    other = {ROLE: replace(CONFIG, watch=RoleWatch("unseen"))}
    assert _status(_said(all_, other), "names unseen as its watch") is Status.WRONG


def test_a_damaged_role_is_wrong_and_the_store_may_fail(all_: Registries) -> None:
    all_.put(keys.role(ROLE), b"damaged")
    assert _status(_said(all_), "its document is damaged") is Status.WRONG
    store = MemoryStore(all_.server, "cut off")
    store.fault = lambda _: Fault.FAIL_BEFORE
    (check,) = examine_roles(store, list(watch_rules().values()), {}, {}, now=AT)
    assert "the registry cannot be read" in check.found
