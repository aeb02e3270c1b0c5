"""Changes of roles: one transaction each, on the evidence they need, whatever the store does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from killswitch.errors import BadDocument, IllegalTransition, KillswitchError, OutcomeUnknown, Refused, UnknownRole
from killswitch.pages.page import PageKind
from killswitch.registry import gate_runs
from killswitch.registry.registry import Registry
from killswitch.registry.role_transaction import LostRace
from killswitch.roles.config import RoleConfig, RoleEndpoint
from killswitch.roles.gate_record import GateVerdict
from killswitch.roles.retirement import RetirementDate
from killswitch.roles.role import Role, RoleChange
from killswitch.roles.transitions import RoleSlots
from killswitch.stores import keys
from tests.doubles.gate_records import AT, NEW, OLD, gate_run
from tests.doubles.memory_store import Fault, MemoryStore
from tests.unit.registry.registries import PAGE, ROLE, Registries, once

RUN = gate_run()


@pytest.fixture
def world() -> Registries:
    return Registries()


def promote(registry: Registry, **more: object) -> Role:
    return registry.promote(ROLE, reason="it passed", settings=PAGE, **{"config": None, **more}).role  # type: ignore[arg-type]  # forwarded


def slots(role: Role) -> tuple[str | None, str | None, str | None]:
    return role.prod, role.candidate, role.previous


def test_a_promotion_is_one_transaction_that_names_its_run(world: Registries) -> None:
    registry = world.ready(RUN)
    made = registry.promote(ROLE, reason="it passed", config=None, settings=PAGE)
    assert slots(world.role()) == (NEW, None, OLD)
    assert (made.entry.gate_run, made.role.number) == (RUN.run, 3)
    assert made.role.origin is not None
    assert made.role.origin.gate_run == RUN.run
    assert made.page is not None
    written = {change.key for change in world.server.history if change.revision == made.revision}
    assert written == {keys.role(ROLE), keys.role_change(ROLE, 3), keys.outbox(made.page.id)}
    world.check_history()


def test_a_rollback_needs_no_gate_and_pages(world: Registries) -> None:
    registry = world.promoted(RUN)
    made = world.back(registry, incident="copilot.3")
    assert slots(world.role()) == (OLD, None, None)
    page = next(page for page in world.pages() if page.kind is PageKind.ROLE_ROLLED_BACK)
    assert (page.rollout, page.generation, page.slack) == ("role:triage", made.role.number, "#triage")
    assert made.entry.incident == "copilot.3"
    world.check_history()


def test_a_second_hasty_rollback_cannot_bring_the_bad_model_back(world: Registries) -> None:
    registry = world.rolled_back(RUN)
    with pytest.raises(IllegalTransition, match=r"no previous model to roll back to.*--to MODEL"):
        world.back(registry)
    assert slots(world.back(registry, to=NEW).role) == (NEW, None, None)


def test_a_model_that_was_never_prod_is_no_rollback(world: Registries) -> None:
    with pytest.raises(IllegalTransition, match="was never prod of role triage"):
        world.back(world.promoted(RUN), to="gpt-6")


def test_evidence_is_used_up_when_its_model_was_taken_back(world: Registries) -> None:
    registry = world.rolled_back(RUN)
    registry.set_candidate(ROLE, NEW, reason="once more")
    with pytest.raises(Refused, match="was taken back at"):
        promote(registry)
    assert world.role().prod == OLD


def test_a_promotion_without_evidence_changes_nothing(world: Registries) -> None:
    with pytest.raises(Refused, match=r"killswitch gate run triage.*or take the risk by name"):
        promote(world.ready())
    assert slots(world.role()) == (OLD, NEW, None)


def test_the_setup_of_the_role_file_must_be_that_of_the_run(world: Registries) -> None:
    config = RoleConfig(ROLE, RoleEndpoint("openai"))
    registry = world.ready(replace(RUN, setup=config.setup(OLD, NEW)))
    with pytest.raises(Refused, match="has changed since gate run"):
        promote(registry, config=replace(config, system="another prompt"))
    assert promote(registry, config=config).prod == NEW


def test_a_run_that_fails_while_someone_agrees_is_seen(world: Registries) -> None:
    registry = world.ready(RUN)

    def fails_meanwhile(*_: object) -> None:
        late = gate_run("20260921T133000Z-b1", verdict=GateVerdict.FAIL, ended_at=AT - 1.0)
        gate_runs.keep(MemoryStore(world.server), late)

    with pytest.raises(Refused, match="says FAIL"):
        promote(registry, agree=fails_meanwhile)
    assert world.role().prod == OLD


def test_a_run_stored_between_look_and_commit_loses_the_race(world: Registries) -> None:
    """The newest run is compared: a FAIL that is stored in this moment voids the PASS."""
    world.ready(RUN)
    store = MemoryStore(world.server, "ann")

    def fails_at_the_commit(call: object) -> None:
        if getattr(call, "name", "") == "commit":
            late = gate_run("20260921T133000Z-b1", verdict=GateVerdict.FAIL, ended_at=AT - 1.0)
            gate_runs.keep(MemoryStore(world.server), late)

    store.fault = fails_at_the_commit
    with pytest.raises(LostRace):
        promote(Registry(store, wall=lambda: AT, by="ann"))
    assert world.role().prod == OLD


def test_a_promotion_loses_to_whoever_was_first(world: Registries) -> None:
    registry = world.ready(RUN)
    with pytest.raises(LostRace, match="changed by someone else"):
        promote(registry, agree=lambda *_: promote(world.registry("bea@desk")))
    assert slots(world.role()) == (NEW, None, OLD)
    world.check_history()


def test_another_candidate_keeps_no_rollback_from_going_on(world: Registries) -> None:
    registry = world.promoted(RUN)
    made = world.back(registry, agree=lambda *_: world.registry("bea@desk").set_candidate(ROLE, "gpt-6", reason="next"))
    assert slots(made.role) == (OLD, "gpt-6", None)
    world.check_history()


def test_a_rollback_leaves_a_role_that_has_moved_on_alone(world: Registries) -> None:
    registry = world.promoted(RUN)
    judged = world.role()
    world.back(registry)
    world.back(registry, to=NEW)
    with pytest.raises(LostRace, match="has another prod or previous since"):
        world.back(registry, expect=judged)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("fault", [Fault.LOSE_ANSWER, Fault.APPLY_LATER, Fault.FAIL_BEFORE])
def test_a_lost_answer_is_read_again_never_assumed(world: Registries, fault: Fault, number: int) -> None:
    """A rollback is made once, whatever became of the first try."""
    world.promoted(RUN)
    registry = world.registry("bea@desk", once("commit", fault, number))
    if fault is Fault.FAIL_BEFORE and number == 0:
        with pytest.raises(KillswitchError):
            world.back(registry)
        assert world.role().prod == NEW
        return
    made = world.back(registry)
    world.server.apply_late()
    assert slots(world.role()) == (OLD, None, None)
    assert made.role == world.role()
    assert world.role().number == 4
    world.check_history()


def test_a_promotion_whose_answer_was_lost_is_found(world: Registries) -> None:
    world.ready(RUN)
    made = world.registry("bea@desk", once("commit", Fault.LOSE_ANSWER)).promote(
        ROLE, reason="it passed", config=None, settings=PAGE
    )
    assert made.role == world.role()


def test_a_promotion_that_may_come_later_is_not_called_done(world: Registries) -> None:
    world.ready(RUN)
    with pytest.raises(OutcomeUnknown, match="may be still: look at `killswitch role show triage`"):
        promote(world.registry("bea@desk", once("commit", Fault.APPLY_LATER)))
    world.server.apply_late()
    assert world.role().prod == NEW
    world.check_history()


def test_a_damaged_role_says_the_way_out(world: Registries) -> None:
    registry = world.promoted(RUN)
    world.put(keys.role(ROLE), b"{")
    for change in (world.back, promote):
        with pytest.raises(BadDocument, match=r"killswitch roles export --role triage.*killswitch roles import"):
            change(registry)


def test_a_role_restored_from_a_backup_can_be_changed(world: Registries) -> None:
    """Its history is ahead of it; the next change takes the next free number."""
    registry = world.ready(RUN)
    item = world.server.get(keys.role(ROLE))
    assert item is not None
    promote(registry)
    world.put(keys.role(ROLE), item.value)
    assert registry.set_candidate(ROLE, "gpt-6", reason="next").role.number == 4


@pytest.mark.parametrize("blank", ["", " ", "\u200b"])
def test_every_change_needs_a_reason(world: Registries, blank: str) -> None:
    registry = world.ready(RUN)
    changes: list[Callable[[], object]] = [
        lambda: registry.create("other", OLD, reason=blank),
        lambda: registry.set_candidate(ROLE, "gpt-6", reason=blank),
        lambda: registry.promote(ROLE, reason=blank, config=None, settings=PAGE),
        lambda: registry.rollback(ROLE, reason=blank, settings=PAGE),
        lambda: registry.approve(ROLE, RUN.run, reason=blank),
        lambda: registry.waive(ROLE, owner="ann", reason=blank, expires_at=AT + 60.0),
    ]
    for change in changes:
        with pytest.raises(Refused, match="say why with --reason"):
            change()


def test_an_unknown_role_names_those_that_are_known(world: Registries) -> None:
    world.ready(RUN)
    with pytest.raises(UnknownRole, match="known roles: triage; `killswitch role create traige --prod MODEL`"):
        world.registry().rollback("traige", reason="bad", settings=PAGE)


def test_no_role_rests_on_a_retired_model(world: Registries) -> None:
    registry = world.ready(RUN)
    gone = [RetirementDate(NEW, AT - 1.0, "retirements.yaml")]
    with pytest.raises(Refused, match=r"was retired on .* \(retirements.yaml\)"):
        promote(registry, dates=gone)
    with pytest.raises(Refused, match="must not rest on it"):
        registry.set_candidate("other", NEW, reason="next", dates=gone)
    promote(registry)
    old_gone = [RetirementDate(OLD, AT - 1.0, "retirements.yaml")]
    with pytest.raises(Refused, match="was retired on"):
        world.back(registry, dates=old_gone)
    assert world.back(registry, dates=old_gone, even_if_retired=True).role.prod == OLD


def test_a_role_may_begin_with_its_candidate(world: Registries) -> None:
    registry = world.registry()
    assert slots(registry.set_candidate(ROLE, NEW, reason="first").role) == (None, NEW, None)
    with pytest.raises(Refused, match="role create triage --prod MODEL"):
        promote(registry)
    assert slots(registry.create(ROLE, OLD, reason="it serves today").role) == (OLD, NEW, None)
    with pytest.raises(IllegalTransition, match="set-candidate triage gpt-6"):
        registry.create(ROLE, "gpt-6", reason="around the gate")
    with pytest.raises(IllegalTransition, match="nothing to do"):
        registry.create(ROLE, OLD, reason="typed twice")


def test_a_waiver_promotes_and_is_named(world: Registries) -> None:
    registry = world.ready()
    registry.waive(ROLE, owner="ann", reason="the gate is down", expires_at=AT + 3600.0)
    made = registry.promote(ROLE, reason="now", config=None, settings=PAGE)
    assert made.entry.gate_run is None
    assert made.entry.waiver is not None
    assert made.entry.waiver.startswith("no gate, waived by ann until 2026-09-21T15:13:20")
    assert made.role.change is RoleChange.PROMOTED


@pytest.mark.parametrize(
    ("owner", "expires_in", "said"),
    [("ann", -1.0, "already"), ("ann", 31 * 86_400.0, "30 days at most"), (" ", 60.0, "--owner")],
)
def test_a_waiver_has_an_owner_and_ends_soon(world: Registries, owner: str, expires_in: float, said: str) -> None:
    with pytest.raises(Refused, match=said):
        world.ready().waive(ROLE, owner=owner, reason="why", expires_at=AT + expires_in)


def test_an_approval_is_recorded_and_promotes(world: Registries) -> None:
    registry = world.ready(gate_run(verdict=GateVerdict.NEEDS_APPROVAL, why="costs 1.2 x prod"))
    with pytest.raises(Refused, match=r"needs approval: costs 1\.2 x prod"):
        promote(registry)
    approved = world.registry("bea@desk").approve(ROLE, RUN.run, reason="the price is agreed")
    assert approved.approval is not None
    assert approved.approval.by == "bea@desk"
    assert promote(registry).prod == NEW


@pytest.mark.parametrize("verdict", [GateVerdict.FAIL, GateVerdict.TOO_FEW_ROWS, GateVerdict.UNKNOWN])
def test_what_did_not_pass_cannot_be_approved(world: Registries, verdict: GateVerdict) -> None:
    registry = world.ready(gate_run(verdict=verdict))
    with pytest.raises(Refused, match=f"says {verdict}, which no one can approve"):
        registry.approve(ROLE, RUN.run, reason="please")


def test_an_approval_is_of_the_present_pair_and_the_newest_run(world: Registries) -> None:
    asks = gate_run(verdict=GateVerdict.NEEDS_APPROVAL)
    registry = world.ready(asks)
    gate_runs.keep(MemoryStore(world.server), gate_run("20260921T130000Z-a2", verdict=GateVerdict.FAIL, ended_at=AT))
    with pytest.raises(Refused, match="20260921T130000Z-a2 of the same models is newer and says FAIL"):
        registry.approve(ROLE, asks.run, reason="ok")
    registry.set_candidate(ROLE, "gpt-6", reason="another")
    with pytest.raises(Refused, match="not prod and candidate of role triage now"):
        registry.approve(ROLE, asks.run, reason="ok")
    with pytest.raises(Refused, match="has no gate run"):
        registry.approve(ROLE, "nothing", reason="ok")


def test_a_passed_run_needs_no_approval(world: Registries) -> None:
    with pytest.raises(Refused, match="passes, and needs no approval"):
        world.ready(RUN).approve(ROLE, RUN.run, reason="ok")


def test_a_damaged_run_stops_a_promotion_but_for_a_waiver(world: Registries) -> None:
    registry = world.ready(RUN)
    world.put(keys.gate_run(ROLE, "20260921T130000Z-a2"), b"{")
    with pytest.raises(Refused, match=r"it may have failed, so no run counts: `killswitch gate list .*` names its key"):
        promote(registry)
    registry.waive(ROLE, owner="ann", reason="a damaged run", expires_at=AT + 3600.0)
    assert promote(registry).prod == NEW


def test_a_rollback_takes_back_no_model_that_no_one_named(world: Registries) -> None:
    """Someone promotes another model while a person agrees to leave this one: the new one stays."""
    registry = world.promoted(RUN)

    def promoted_meanwhile(*_: object) -> None:
        other = world.registry("bea@desk")
        other.set_candidate(ROLE, "gpt-6", reason="next")
        other.waive(ROLE, owner="bea", reason="the other is bad", expires_at=world.now + 60.0)
        promote(other)

    with pytest.raises(LostRace, match="has another prod or previous"):
        world.back(registry, agree=promoted_meanwhile)
    assert slots(world.role()) == ("gpt-6", None, NEW)


def test_a_rollback_takes_back_no_later_promotion_of_its_model(world: Registries) -> None:
    """A controller that was stopped for hours goes on: the model was taken back and has earned its place since."""
    registry = world.promoted(RUN)
    judged = world.role()
    world.back(world.registry("bea@desk"))
    registry.set_candidate(ROLE, NEW, reason="fixed")
    registry.waive(ROLE, owner="bea", reason="fixed", expires_at=world.now + 60.0)
    promote(registry)
    assert slots(world.role()) == slots(judged)
    with pytest.raises(LostRace, match="since this was decided"):
        world.back(registry, expect=judged)
    assert slots(world.role()) == slots(judged)


@pytest.mark.parametrize("on", ["a run", "a waiver"])
def test_what_was_promoted_on_is_used_up_whatever_clocks_say(world: Registries, on: str) -> None:
    """The clock of the machine that ran the gate, or waived it, is two minutes ahead of the one that rolls back."""
    registry = world.ready(replace(RUN, ended_at=AT + 100.0) if on == "a run" else None)
    if on == "a waiver":
        world.now += 100.0
        registry.waive(ROLE, owner="bea", reason="a test", expires_at=world.now + 3600.0)
    promote(registry)
    world.now = AT + 10.0
    world.back(registry)
    world.now = AT + 300.0
    registry.set_candidate(ROLE, NEW, reason="again")
    with pytest.raises(Refused, match="taken back"):
        promote(registry)


def test_a_new_waiver_in_the_same_words_counts(world: Registries) -> None:
    registry = world.ready()
    until = world.now + 3600.0
    registry.waive(ROLE, owner="bea", reason="a test", expires_at=until)
    promote(registry)
    world.back(registry)
    registry.set_candidate(ROLE, NEW, reason="it is newer")
    registry.waive(ROLE, owner="bea", reason="a test", expires_at=until)
    promote(registry)
    assert world.role().prod == NEW


def test_a_history_without_its_first_entry_still_counts(world: Registries) -> None:
    """A damaged role is read from its history: without any, a file could name any model as prod."""
    registry = world.ready(RUN)
    world.delete(keys.role_change(ROLE, 1))
    assert registry.last_number(ROLE) == 2
    world.put(keys.role(ROLE), b"damaged")
    with pytest.raises(IllegalTransition, match="which is a promotion"):
        registry.import_draft(ROLE, RoleSlots("never-seen", None, None), config=None)


def test_no_entry_of_a_history_is_overwritten(world: Registries) -> None:
    """Someone who writes the store by hand may take its number: then the change is not made."""
    world.ready(RUN)
    store = MemoryStore(world.server, "ann")

    def entry_by_hand(call: object) -> None:
        if getattr(call, "name", "") == "commit":
            world.put(keys.role_change(ROLE, 3), b"{}")

    store.fault = entry_by_hand
    with pytest.raises(LostRace):
        promote(Registry(store, wall=lambda: AT, by="ann"))
    item = world.server.get(keys.role_change(ROLE, 3))
    assert item is not None
    assert item.value == b"{}"


def test_a_short_evidence_age_hides_no_failed_run() -> None:
    """A lucky run asks for a person's approval, also where the file believes runs of the last hour only."""
    config = RoleConfig(ROLE, RoleEndpoint("openai"), max_evidence_age=3600.0)
    lucky = gate_run(ended_at=AT - 600.0, setup=config.setup(OLD, NEW))
    test = Registries()
    failed = replace(lucky, run="20260825T120000Z-f0", verdict=GateVerdict.FAIL, ended_at=AT - 27 * 86_400.0)
    gate_runs.keep(MemoryStore(test.server), failed)
    registry = test.ready(lucky)
    with pytest.raises(Refused, match="so it may be luck"):
        registry.promote(ROLE, reason="it passed", config=config, settings=PAGE)
