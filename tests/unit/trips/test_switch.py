"""The switch over a store whose every call may fail: one flip a generation, and no outcome assumed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from killswitch.cli.trip import request_by_hand
from killswitch.errors import (
    BadDocument,
    IllegalTransition,
    KillswitchError,
    NoFlag,
    OutcomeUnknown,
    Refused,
    Unavailable,
)
from killswitch.flags.document import from_document as flag_from_document
from killswitch.flags.document import to_document as flag_document
from killswitch.flags.flag import Actor, Flag, State
from killswitch.flags.incident import from_document
from killswitch.model import PageSettings
from killswitch.pages import events
from killswitch.pages.page import Page
from killswitch.stores import Compare, Delete, Put, keys
from killswitch.trips.flips import ATTEMPTS
from killswitch.trips.request import Alone, TripOutcome, TripRequest, TripResult
from killswitch.trips.stored_flags import StoredFlag
from killswitch.trips.switch import Switch
from killswitch.verdicts.baseline import Baseline
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import Call, Fault, MemoryServer, MemoryStore
from tests.doubles.pages import incident_draft


class World:
    """A server, and as many people and controllers as a test wants."""

    def __init__(self) -> None:
        # a real clock has no whole milliseconds
        self.clock = VirtualClock(wall=1_776_608_531.123_456_7)
        self.server = MemoryServer(self.clock)
        self.person = self.switch("ann")

    def switch(self, name: str, fault: Callable[[Call], Fault | None] = lambda _: None) -> Switch:
        store = MemoryStore(self.server, name)
        store.fault = fault
        return Switch(store, wall=self.clock.wall, by=name)

    def arm(self, **changes: object) -> Flag:
        values: dict[str, object] = {"control": "old", "canary": "new", "percent": 5.0, "stage": "ramp_5", "salt": ""}
        return self.person.arm("copilot", **{**values, **changes})  # type: ignore[arg-type]  # the test's keywords

    def flips(self) -> int:
        flags = [c.value or b"" for c in self.server.history if c.key == keys.flag("copilot")]
        return sum(b'"state": "tripped"' in value for value in flags)

    def incidents(self) -> int:
        return sum(change.key.startswith(keys.incidents("copilot")) for change in self.server.history)


@pytest.fixture
def world() -> World:
    return World()


def automatic(
    at: float = 1_776_608_520.0, generation: int | None = 1, by: str = "a", rollout: str = "copilot"
) -> TripRequest:
    draft = incident_draft(rollout, by=by, reason="refusals")
    return TripRequest(draft, generation=generation, actor=Actor.CONTROLLER, at=at, page=PageSettings())


def page(flag: Flag) -> Page:
    return events.re_armed(flag, reason="fixed", by="ann", settings=PageSettings())


def once(name: str, fault: Fault) -> Callable[[Call], Fault | None]:
    """The fault at the first call of that name."""
    struck: list[Call] = []

    def faults(call: Call) -> Fault | None:
        if call.name != name or struck:
            return None
        struck.append(call)
        return fault

    return faults


def test_a_trip_writes_flag_incident_and_outbox_at_one_revision(world: World) -> None:
    world.arm()
    result = world.switch("a").trip(automatic())
    assert result == TripResult(TripOutcome.TRIPPED, "copilot.1", world.server.revision)
    written = {change.key: change.revision for change in world.server.history if change.by == "a"}
    assert written == dict.fromkeys(
        [keys.flag("copilot"), keys.incident("copilot", 1), keys.outbox("copilot.1")], result.revision
    )


def test_a_second_trip_is_a_no_op_that_names_the_first(world: World) -> None:
    """The second trip of a generation is a no-op that names the first."""
    world.arm()
    world.switch("a").trip(automatic())
    again = world.switch("b").trip(automatic(by="b"))
    assert (again.outcome, again.incident) == (TripOutcome.ALREADY_TRIPPED, "copilot.1")
    assert (world.flips(), world.incidents()) == (1, 1)


@pytest.mark.parametrize("request_of", [automatic, lambda: request_by_hand("copilot", "by hand", PageSettings())])
@pytest.mark.parametrize("fault", [Fault.LOSE_ANSWER, Fault.APPLY_LATER])
def test_a_trip_whose_answer_was_lost_is_reread_and_never_assumed(
    world: World, fault: Fault, request_of: Callable[[], TripRequest]
) -> None:
    """Also a person's, whose clock gives more digits than the document holds: it is theirs, and they page."""
    world.arm()
    result = world.switch("a", once("commit", fault)).trip(request_of())
    world.server.apply_late()
    flag = world.server.get(keys.flag("copilot"))
    assert flag is not None
    assert result == TripResult(TripOutcome.TRIPPED, "copilot.1", flag.mod_revision)
    assert (world.flips(), world.incidents()) == (1, 1)


def test_a_trip_on_a_flag_just_read_asks_for_nothing_more(world: World) -> None:
    world.arm()
    calls: list[str] = []
    switch = world.switch("a", lambda call: calls.append(call.name))
    request = replace(automatic(), stored=switch.everything()[0]["copilot"])
    calls.clear()
    assert switch.trip(request).outcome is TripOutcome.TRIPPED
    assert calls == ["commit"]


@pytest.mark.parametrize("fault", [Fault.LOSE_ANSWER, Fault.APPLY_LATER])
def test_a_trip_on_a_flag_just_read_is_reread_if_answer_was_lost(world: World, fault: Fault) -> None:
    """A trip on a flag just read, whose answer was lost, is read again like any other."""
    world.arm()
    request = replace(automatic(), stored=world.person.stored("copilot"))
    result = world.switch("a", once("commit", fault)).trip(request)
    world.server.apply_late()
    assert result.outcome is TripOutcome.TRIPPED
    assert (world.flips(), world.incidents()) == (1, 1)


def test_a_flag_that_changed_since_its_read_is_read_again(world: World) -> None:
    """A flag that changed since it was read is read again, and that decides."""
    world.arm()
    before = replace(automatic(), stored=world.person.stored("copilot"))
    later = replace(before, draft=replace(before.draft, by="b"))
    world.person.set_stage("copilot", percent=1.0, stage="ramp_1")
    assert world.switch("a").trip(before).outcome is TripOutcome.TRIPPED
    tripped = world.person.stored("copilot").flag
    assert tripped is not None
    assert tripped.trip is not None
    assert tripped.trip.percent_before == 1.0
    assert world.switch("b").trip(later).outcome is TripOutcome.ALREADY_TRIPPED
    world.person.rearm("copilot", reason="fixed", percent=1.0, stage="ramp_1", page=page)
    assert world.switch("b").trip(later).outcome is TripOutcome.SUPERSEDED
    assert (world.flips(), world.incidents()) == (1, 1)


def test_a_verdict_about_an_older_generation_is_superseded(world: World) -> None:
    world.arm()
    world.switch("b").trip(automatic(by="b"))
    world.person.rearm("copilot", reason="fixed", percent=1.0, stage="ramp_1", page=page)
    assert world.switch("a").trip(automatic()).outcome is TripOutcome.SUPERSEDED
    assert world.switch("a").trip(automatic(generation=2)).outcome is TripOutcome.TRIPPED


def test_a_late_trip_applied_after_a_re_arm_changes_nothing(world: World) -> None:
    """A trip that timed out and is applied after a re-arm changes nothing."""
    world.arm()
    lost = world.switch("a", lambda call: Fault.APPLY_LATER if call.name == "commit" else None)
    with pytest.raises(KillswitchError):
        lost.trip(automatic())
    world.switch("b").trip(automatic(by="b"))
    world.person.rearm("copilot", reason="fixed", percent=1.0, stage="ramp_1", page=page)
    world.server.apply_late()
    flag = world.person.stored("copilot").flag
    assert flag is not None
    assert (flag.generation, flag.state) == (2, State.ARMED)
    assert world.flips() == 1


def test_an_expired_request_or_a_lost_guard_sends_nothing(world: World) -> None:
    """An expired request, or a guard that cannot hold, sends nothing."""
    world.arm()
    for request, outcome in (
        (replace(automatic(), still_valid=lambda: False), TripOutcome.EXPIRED),
        (replace(automatic(), guards=lambda: None), TripOutcome.SUPERSEDED),
    ):
        assert world.switch("a").trip(request).outcome is outcome
    assert world.flips() == 0


def test_a_guard_is_made_anew_for_every_attempt(world: World) -> None:
    world.arm()
    world.server.commit("x", (), (Put("/guard", b"1"),))
    guards: list[int] = []

    def guard() -> tuple[Compare, ...]:
        item = world.server.get("/guard")
        assert item is not None
        guards.append(item.mod_revision)
        if len(guards) < 3:
            world.server.commit("x", (), (Put("/guard", b"2"),))
        return (Compare("/guard", item.mod_revision),)

    assert world.switch("a").trip(replace(automatic(), guards=guard)).outcome is TripOutcome.TRIPPED
    assert len(set(guards)) == 3


def test_an_armed_flag_with_an_old_incident_can_still_be_tripped(world: World) -> None:
    """Somebody restored the flag from a backup: the old record is kept, and the new one stands beside it."""
    world.arm()
    armed = world.server.value(keys.flag("copilot"))
    assert armed is not None
    world.switch("a").trip(automatic())
    world.server.commit("backup", (), (Put(keys.flag("copilot"), armed), Delete(keys.outbox("copilot.1"))))
    assert world.switch("a").trip(automatic()).outcome is TripOutcome.TRIPPED
    flag = world.server.history[-1].revision  # of the second flip; the first one's key is taken
    beside = f"{keys.incident('copilot', 1)}.{flag - 1}"
    assert [item.key for item in world.server.list(keys.incidents("copilot")).items] == [
        keys.incident("copilot", 1),
        beside,
    ]


def test_arming_after_an_end_continues_the_generations(world: World) -> None:
    """A late transaction of the old life must not fit the new one."""
    world.arm()
    world.switch("a").trip(automatic())
    world.person.end("copilot")
    assert world.arm().generation == 2


def test_a_generation_ended_without_a_trip_does_not_come_twice(world: World) -> None:
    """A generation that ended without a trip does not come twice."""
    assert world.arm().generation == 1
    world.person.end("copilot")
    assert world.arm().generation == 2
    world.switch("a").trip(automatic(generation=2))
    world.person.rearm("copilot", reason="fixed", percent=5.0, stage="again", page=page)
    world.server.commit("x", (), (Delete(keys.flag("copilot")),))  # by hand, without a word to the counter
    assert world.arm().generation == 4


def test_two_who_arm_and_end_at_once_never_share_a_generation(world: World) -> None:
    """The flag is absent before and after, so only the counter tells the second that a life has been between."""
    world.arm()
    world.person.end("copilot")

    def other(call: Call) -> Fault | None:
        if call.name == "commit":
            world.arm()
            world.person.end("copilot")
        return None

    with pytest.raises(Refused, match="changed by someone else"):
        world.switch("bob", other).arm("copilot", control="old", canary="new", percent=5.0, stage="s", salt="")
    assert world.arm().generation == 3


@pytest.mark.parametrize(
    "nonsense",
    [b"", b"[]", b'{"generation": -5}', b'{"generation": true}', b'{"generation": 1e9}',
     b'{"generation": 9007199254740992}', b'{"generation": ' + b"9" * 900 + b"}", b" " * 5000],
)  # fmt: skip
def test_a_counter_nobody_understands_counts_as_none(world: World, nonsense: bytes) -> None:
    world.server.commit("x", (), (Put(keys.generation("copilot"), nonsense),))
    assert world.arm().generation == 1
    world.person.end("copilot")
    assert world.arm().generation == 2


def test_a_verdict_is_about_one_arming_not_one_generation(world: World) -> None:
    """An older release, or a person with etcdctl, may have ended the flag without counting."""
    armed = world.arm()
    request = replace(automatic(), armed_at=armed.armed_at)
    world.server.commit("x", (), (Delete(keys.flag("copilot")), Delete(keys.generation("copilot"))))
    world.clock.advance(5)
    assert world.arm().generation == 1
    assert world.switch("a").trip(request).outcome is TripOutcome.SUPERSEDED
    assert world.flips() == 0


def test_an_ended_life_leaves_no_baseline_and_no_notice_behind(world: World) -> None:
    world.arm()
    told = [Put(keys.notice("copilot", 1, f"kind{number}"), b"{}") for number in range(50)]
    old = [Put(keys.baseline("copilot", number), b"{}") for number in range(100, 150)]
    others = (Put(keys.baseline("copilot2", 1), b"{}"), Put(keys.notice("copilot2", 1, "kind"), b"{}"))
    for some in (told, old, others):
        world.server.commit("x", (), some)
    world.person.end("copilot")
    left = [*world.server.list(keys.BASELINES).items, *world.server.list(keys.NOTICES).items]
    assert [item.key for item in left] == [put.key for put in others]
    world.arm()
    with pytest.raises(IllegalTransition, match="no control cohort is left"):
        world.person.set_stage("copilot", percent=100.0, stage="all")


def test_more_remains_than_one_transaction_takes_go_in_several(world: World) -> None:
    world.arm()
    for block in range(4):
        numbers = range(100 * block, 100 * block + 100)
        world.server.commit("x", (), [Put(keys.notice("copilot", 1, f"kind{number}"), b"{}") for number in numbers])
    world.person.end("copilot")
    assert world.person.stored("copilot").flag is None
    assert world.server.list(keys.NOTICES).items == ()


@pytest.mark.parametrize("fault", [Fault.LOSE_ANSWER])
def test_a_persons_change_whose_answer_was_lost_is_recognised(world: World, fault: Fault) -> None:
    """Documents hold milliseconds: what was written comes back a little different from what was meant."""
    careless = world.switch("ann", once("commit", fault))
    armed = careless.arm("copilot", control="old", canary="new", percent=5.0, stage="ramp_5", salt="")
    assert armed.generation == 1
    careless = world.switch("ann", once("commit", fault))
    assert careless.set_stage("copilot", percent=1.0, stage="ramp_1").canary_percent == 1.0


def test_a_persons_change_that_may_still_come_is_unknown(world: World) -> None:
    """A person's change that may still be applied later is reported as unknown."""
    world.arm()
    with pytest.raises(OutcomeUnknown) as unknown:
        world.switch("ann", once("commit", Fault.APPLY_LATER)).set_stage("copilot", percent=1.0, stage="ramp_1")
    assert str(unknown.value) == (
        "the change of copilot was sent and no answer came; it has not been applied so far and may be still: look at "
        "`killswitch status` in a few seconds, then repeat it if needed"
    )


def test_two_people_at_once_do_not_overwrite_each_other(world: World) -> None:
    world.arm()

    def other(call: Call) -> Fault | None:
        if call.name == "commit":
            world.person.set_stage("copilot", percent=1.0, stage="ramp_1")
        return None

    with pytest.raises(Refused, match=r"^copilot was changed by someone else"):
        world.switch("bob", other).set_stage("copilot", percent=25.0, stage="ramp_25")
    flag = world.person.stored("copilot").flag
    assert flag is not None
    assert flag.canary_percent == 1.0


def test_a_rollout_without_a_flag_lists_those_with_one(world: World) -> None:
    world.arm()
    for attempt in (
        lambda: world.person.set_stage("nobody", percent=1.0, stage="x"),
        lambda: world.person.rearm("nobody", reason="r", percent=1.0, stage="x", page=page),
        lambda: world.person.end("nobody"),
        lambda: world.person.trip(request_by_hand("nobody", "r", PageSettings())),
    ):
        with pytest.raises(NoFlag, match=r"nobody has no flag.*rollouts with a flag: copilot"):
            attempt()


def test_an_unreadable_flag_is_shown_and_ended_not_overwritten(world: World) -> None:
    """A flag that cannot be read is shown, can be ended, and is not overwritten."""
    world.arm()
    world.server.commit("x", (), (Put(keys.flag("copilot"), b"{"), Put(keys.flag("other"), b"[]")))
    good, bad = world.person.everything()
    assert good == {}
    assert sorted(bad) == ["copilot", "other"]
    assert bad["other"] == "flag of other: not a JSON object"
    with pytest.raises(BadDocument):
        world.arm()
    world.person.end("copilot")
    assert world.person.stored("copilot").flag is None


def test_raising_to_100_percent_needs_a_stored_baseline(world: World) -> None:
    world.arm()
    with pytest.raises(IllegalTransition, match="no control cohort is left"):
        world.person.set_stage("copilot", percent=100.0, stage="all")
    world.server.commit("x", (), (Put(keys.baseline("copilot", 1), b"{}"),))
    assert world.person.set_stage("copilot", percent=100.0, stage="all").canary_percent == 100.0


def test_a_re_arm_puts_its_page_into_the_same_transaction(world: World) -> None:
    world.arm()
    world.switch("a").trip(automatic())
    flag = world.person.rearm("copilot", reason="fixed", percent=1.0, stage="ramp_1", page=page)
    revisions = {
        c.revision for c in world.server.history if c.key in (keys.flag("copilot"), keys.outbox(page(flag).id))
    }
    assert max(revisions) == world.server.revision


def test_all_flags_are_read_also_if_only_a_byte_has_changed(world: World) -> None:
    """Documents that stay the same are understood once; a restored backup may bring other bytes at any revision."""
    world.arm()
    reader = world.switch("a")
    first = reader.everything()[0]["copilot"]
    assert reader.everything()[0]["copilot"].flag is first.flag
    world.person.set_stage("copilot", percent=25.0, stage="ramp_25")
    changed = reader.everything()[0]["copilot"]
    assert changed.flag == reader.stored("copilot").flag
    assert changed.flag != first.flag
    world.server.commit("x", (), (Put(keys.flag("copilot"), b"{"),))
    good, bad = reader.everything()
    assert (list(good), list(bad)) == ([], ["copilot"])


def test_the_same_verdict_sent_twice_made_one_flip(world: World) -> None:
    """The second was not asked about a lost answer, so the flip is not claimed again."""
    world.arm()
    world.switch("a").trip(automatic())
    again = world.switch("a").trip(automatic())
    assert again == TripResult(TripOutcome.ALREADY_TRIPPED, "copilot.1")
    assert world.switch("a").trip(automatic(), sent=True).outcome is TripOutcome.TRIPPED
    assert world.switch("b").trip(automatic(by="b"), sent=True).outcome is TripOutcome.ALREADY_TRIPPED


def test_a_verdict_about_a_flag_that_ended_is_superseded(world: World) -> None:
    world.arm()
    world.person.end("copilot")
    assert world.switch("a").trip(automatic()) == TripResult(TripOutcome.SUPERSEDED)


def test_the_incident_is_written_by_the_name_that_the_flag_has(world: World) -> None:
    world.arm()
    world.switch("a").trip(automatic())
    flag = world.person.stored("copilot").flag
    written = world.server.value(keys.incident("copilot", 1))
    assert flag is not None
    assert flag.trip is not None
    assert written is not None
    record = from_document(written, rollout="copilot")
    assert (flag.trip.incident, record.id) == ("copilot.1", "copilot.1")
    assert (record.percent_before, record.stage_before, record.canary) == (5.0, "ramp_5", "new")


def test_a_flag_that_changes_at_every_attempt_is_left_for_later(world: World) -> None:
    world.arm()
    percents = iter(range(1, 99))

    def other(call: Call) -> Fault | None:
        if call.name == "commit":
            world.person.set_stage("copilot", percent=float(next(percents)), stage="custom")
        return None

    with pytest.raises(Unavailable) as refused:
        world.switch("a", other).trip(automatic())
    assert str(refused.value) == f"copilot changed {ATTEMPTS} times while it was being tripped; will try again"
    assert next(percents) == ATTEMPTS + 1


# --- what a person does -------------------------------------------------------------------------


def test_an_armed_flag_is_not_armed_over(world: World) -> None:
    before = world.arm(salt="pepper")
    assert before.salt == "pepper"
    with pytest.raises(IllegalTransition, match="it is armed already"):
        world.arm(percent=50.0)
    assert world.person.stored("copilot").flag == before_stored(before)


def before_stored(flag: Flag) -> Flag:
    return flag_from_document(flag_document(flag), rollout=flag.rollout)


def test_a_person_confirms_the_flag_as_it_is_and_as_it_will_be(world: World) -> None:
    """A person is asked about the flag as it is and as it will be."""
    world.arm()
    asked: list[tuple[Flag | None, Flag]] = []
    world.person.set_stage("copilot", percent=1.0, stage="ramp_1", agree=lambda *pair: asked.append(pair))
    assert [(now and now.canary_percent, then.canary_percent) for now, then in asked] == [(5.0, 1.0)]


def test_a_re_arm_takes_the_percent_and_stage_that_it_is_given(world: World) -> None:
    world.arm()
    world.switch("a").trip(automatic())
    flag = world.person.rearm("copilot", reason="fixed", percent=7.0, stage="custom", page=page)
    assert (flag.canary_percent, flag.stage) == (7.0, "custom")


def test_refusals_name_the_rollout(world: World) -> None:
    world.arm()
    with pytest.raises(IllegalTransition, match="for copilot"):
        world.person.set_stage("copilot", percent=101.0, stage="custom")
    world.switch("a").trip(automatic())
    with pytest.raises(IllegalTransition, match="cannot rearm copilot"):
        world.person.rearm("copilot", reason=" ", percent=1.0, stage="ramp_1", page=page)


def test_generations_are_counted_at_arming_and_at_the_end(world: World) -> None:
    """So that they go on where the flag, the counter or neither of them is left."""
    world.arm()
    world.server.commit("x", (), (Delete(keys.flag("copilot")),))
    assert world.arm().generation == 2
    world.server.commit("x", (), (Delete(keys.generation("copilot")),))
    world.person.end("copilot")
    assert world.arm().generation == 3
    world.switch("a").trip(automatic(generation=3))
    world.server.commit("x", (), (Delete(keys.flag("copilot")), Delete(keys.generation("copilot"))))
    assert world.arm().generation == 4  # an incident counts as well


def test_incidents_count_by_the_generation_in_their_keys(world: World) -> None:
    """Also one that stands beside the first of its generation; what is no generation counts as none."""
    world.server.commit("x", (), (Put(keys.incidents("copilot") + "notes", b"{}"),))
    assert world.arm().generation == 1
    stored = world.server.value(keys.generation("copilot"))
    assert json.loads(stored or b"") == {"rollout": "copilot", "generation": 1}
    world.person.end("copilot")
    world.server.commit("x", (), (Put(keys.incident("copilot", 3) + ".9", b"{}"),))
    assert world.arm().generation == 4


def test_a_re_arm_compares_the_counter(world: World) -> None:
    world.arm()
    world.switch("a").trip(automatic())

    def other(call: Call) -> Fault | None:
        if call.name == "commit":
            world.server.commit("x", (), (Put(keys.generation("copilot"), b'{"generation": 7}'),))
        return None

    with pytest.raises(Refused, match="changed by someone else"):
        world.switch("bob", other).rearm("copilot", reason="fixed", percent=1.0, stage="ramp_1", page=page)


def test_an_end_whose_answer_was_lost_is_recognised(world: World) -> None:
    world.arm()
    world.switch("ann", once("commit", Fault.LOSE_ANSWER)).end("copilot")
    assert world.person.stored("copilot").flag is None


@pytest.mark.parametrize(("name", "which"), [("list", 0), ("commit", 1)])
def test_an_end_does_not_fail_for_what_is_left_behind(world: World, name: str, which: int) -> None:
    world.arm()
    world.server.commit("x", (), (Put(keys.notice("copilot", 1, "kind"), b"{}"),))
    seen: list[Call] = []

    def fails(call: Call) -> Fault | None:
        if call.name != name:
            return None
        seen.append(call)
        return Fault.FAIL_BEFORE if len(seen) == which + 1 else None

    world.switch("ann", fails).end("copilot")
    assert world.person.stored("copilot").flag is None
    assert len(seen) > which


def test_the_revision_of_a_flag_is_the_stores(world: World) -> None:
    assert world.person.revision("copilot") == 0
    world.arm()
    assert world.person.revision("copilot") == world.server.revision


# --- baselines ----------------------------------------------------------------------------------

STORED = Baseline("copilot", 1, 1_776_608_400.0, 86_400.0, {"error_rate": 0.01})


def test_a_baseline_is_read_back_and_a_bad_one_is_named(world: World) -> None:
    """A baseline is read back as it was kept, and a bad one is named."""
    world.arm()
    world.person.keep_baseline(STORED)
    newer = replace(STORED, values={"error_rate": 0.02})
    world.person.keep_baseline(newer)
    bad = {keys.BASELINES + "a/what": b"{}", keys.baseline("copilot", 2): b"[]"}
    world.server.commit("x", (), [Put(key, value) for key, value in bad.items()])
    good, wrong = world.person.baselines()
    assert good == {("copilot", 1): newer}
    assert list(wrong) == [("copilot", 2)]
    assert "not a JSON object" in wrong["copilot", 2]


def test_a_baseline_of_another_life_or_tripped_flag_is_refused(world: World) -> None:
    """A baseline of another generation, or of a tripped flag, is refused."""
    world.arm()
    with pytest.raises(Refused, match=r"^copilot is not armed in generation 2 any more$"):
        world.person.keep_baseline(replace(STORED, generation=2))
    world.switch("a").trip(automatic())
    with pytest.raises(Refused, match=r"^copilot is not armed in generation 1 any more$"):
        world.person.keep_baseline(STORED)
    with pytest.raises(NoFlag, match="nobody has no flag"):
        world.person.keep_baseline(replace(STORED, rollout="nobody"))
    assert world.person.baselines() == ({}, {})


def test_a_baseline_is_not_kept_for_a_flag_that_changes_meanwhile(world: World) -> None:
    world.arm()

    def other(call: Call) -> Fault | None:
        if call.name == "commit":
            world.switch("b").trip(automatic(by="b"))
        return None

    with pytest.raises(Refused, match=r"^copilot was changed by someone else"):
        world.switch("ann", other).keep_baseline(STORED)
    assert world.person.baselines() == ({}, {})


def test_a_baseline_whose_answer_was_lost_is_kept(world: World) -> None:
    world.arm()
    world.switch("ann", once("commit", Fault.LOSE_ANSWER)).keep_baseline(STORED)
    assert world.person.baselines()[0] == {("copilot", 1): STORED}


# --- several in one transaction -----------------------------------------------------------------


class Many(World):
    """Rollouts that have been armed and read; their verdicts, with guards that hold."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = names
        for name in names:
            self.person.arm(name, control="old", canary="new", percent=5.0, stage="ramp_5", salt="")
        self.server.commit("x", (), (Put("/session", b""),))
        self.guard = Compare("/session", self.server.revision)
        self.commits: list[tuple[Sequence[Compare], int]] = []

    def requests(self) -> list[TripRequest]:
        stored = self.person.everything()[0]
        return [self.request(name, stored[name]) for name in self.names]

    def request(self, name: str, stored: StoredFlag | None) -> TripRequest:
        return replace(automatic(rollout=name), stored=stored, guards=lambda: (self.guard,))

    def together(
        self, requests: Sequence[TripRequest], fault: Callable[[Call], Fault | None] = lambda _: None
    ) -> list[TripResult | KillswitchError | Alone]:
        switch = self.switch("a", fault)
        commit = switch._store.commit

        def counted(compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> object:
            self.commits.append((compares, len(writes)))
            return commit(compares, writes)

        switch._store.commit = counted  # type: ignore[method-assign,assignment]  # it counts and goes on
        return switch.trip_together(requests)

    def tripped(self) -> list[str]:
        stored = self.person.everything()[0]
        return [name for name in self.names if (flag := stored[name].flag) and flag.state is State.TRIPPED]


def test_several_flips_are_one_transaction() -> None:
    """Several flips are one transaction, which has each comparison once."""
    many = Many("a", "b", "c")
    results = many.together(many.requests())
    revision = many.server.revision
    assert results == [TripResult(TripOutcome.TRIPPED, f"{name}.1", revision) for name in many.names]
    assert many.tripped() == ["a", "b", "c"]
    [(compares, writes)] = many.commits
    assert writes == 9  # flag, incident and page of each
    assert sorted(compare.key for compare in compares) == sorted(
        ["/session", *(keys.flag(name) for name in many.names), *(keys.incident(name, 1) for name in many.names)]
    )
    assert {compare.mod_revision for compare in compares if compare.key == keys.incident("b", 1)} == {0}


def test_a_guard_of_one_counts_for_all_of_its_transaction() -> None:
    many = Many("a", "b")
    first, second = many.requests()
    other = Compare("/other", 99)
    assert many.together([replace(first, guards=lambda: (many.guard, other)), second]) == [Alone(), Alone()]
    assert many.tripped() == []


def test_what_cannot_go_with_the_others_is_left_out_and_they_go() -> None:
    """One was not read, one is of another arming, one is too old, one names no flag at all."""
    many = Many("a", "b", "c", "d", "e")
    a, b, c, d, e = many.requests()
    person = replace(e, generation=None, stored=StoredFlag(None, 0))
    unread = replace(a, stored=None)

    def unreadable() -> None:
        raise Unavailable("the session could not be opened")

    failing = replace(d, guards=unreadable)
    results = many.together(
        [failing, person, unread, replace(b, generation=2), replace(c, still_valid=lambda: False), e]
    )
    assert str(results[0]) == "the session could not be opened"
    assert results[1:5] == [Alone(), Alone(), TripResult(TripOutcome.SUPERSEDED), TripResult(TripOutcome.EXPIRED)]
    assert results[5] == TripResult(TripOutcome.TRIPPED, "e.1", many.server.revision)
    assert many.tripped() == ["e"]


@pytest.mark.parametrize(
    ("fault", "became"),
    [(Fault.LOSE_ANSWER, Alone(sent=True)), (Fault.APPLY_LATER, Alone(sent=True))],
)
def test_after_a_lost_answer_each_is_tried_alone_as_sent(fault: Fault, became: Alone) -> None:
    many = Many("a", "b")
    assert many.together(many.requests(), once("commit", fault)) == [became, became]


def test_a_store_that_does_not_answer_says_so_of_each() -> None:
    many = Many("a", "b")
    results = many.together(many.requests(), once("commit", Fault.FAIL_BEFORE))
    assert [type(result) for result in results] == [Unavailable, Unavailable]
    assert many.tripped() == []


def test_a_refused_transaction_is_tried_one_by_one() -> None:
    """A transaction that no store would take is tried one flip at a time."""
    many = Many("a")
    again = many.requests() * 2  # the same key twice
    assert many.together(again) == [Alone(), Alone()]


def test_more_than_a_transaction_holds_go_in_several() -> None:
    many = Many(*(f"r{number:03}" for number in range(100)))
    results = many.together(many.requests())
    assert len(many.tripped()) == 100
    assert len(many.commits) > 1
    assert all(isinstance(result, TripResult) and result.outcome is TripOutcome.TRIPPED for result in results)
    assert len({result.revision for result in results if isinstance(result, TripResult)}) == len(many.commits)
    assert all(many.guard in compares for compares, _ in many.commits)


def test_a_flip_already_made_is_not_claimed_again_together() -> None:
    """A flip that was already made is not claimed again when several are sent together."""
    many = Many("a", "b")
    first = many.requests()
    many.together(first[:1])
    assert many.together([replace(first[0], stored=many.person.stored("a")), first[1]]) == [
        TripResult(TripOutcome.ALREADY_TRIPPED, "a.1"),
        TripResult(TripOutcome.TRIPPED, "b.1", many.server.revision),
    ]


def test_guards_count_among_what_a_transaction_holds() -> None:
    """Each with two of its own: fifty have more comparisons than writes."""
    many = Many(*(f"r{number:02}" for number in range(50)))
    many.server.commit("x", (), [Put(f"/{kind}/{name}", b"") for name in many.names for kind in ("guards", "more")])
    revision = many.server.revision

    def guarded(request: TripRequest) -> TripRequest:
        names = (f"/guards/{request.rollout}", f"/more/{request.rollout}")
        return replace(request, guards=lambda: [Compare(name, revision) for name in names])

    many.together([guarded(request) for request in many.requests()])
    assert len(many.tripped()) == 50
