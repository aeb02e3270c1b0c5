"""The daily job of slow signals over a store in memory: asked once a day, and a breach pins the canary once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from killswitch.controller.slow_signals import SlowSignals, unknown_findings
from killswitch.errors import BadSettings
from killswitch.flags.completion import complete
from killswitch.flags.document import to_document as flag_document
from killswitch.flags.flag import Flag
from killswitch.flags.incident import from_document as incident_from_document
from killswitch.flags.transitions import Actor, State
from killswitch.model import Mode, PageSettings, Reason, Rollout, Unreadable, Verdict
from killswitch.pages import pin_events
from killswitch.pages.page import Page
from killswitch.slow.findings import SlowFinding
from killswitch.slow.history import ExposureHistory
from killswitch.slow.standing import RETRY_AFTER, from_document
from killswitch.slow_settings import SlowSettings
from killswitch.stores import Put, keys
from tests.doubles.memory_store import Call, Crash, Fault, MemoryStore
from tests.doubles.warehouses import signal_of
from tests.unit.trips.switches import World, automatic, once, page

DAY = 86_400.0
SETTINGS = SlowSettings("duckdb:///x", "select", "user_id", "day", (signal_of(),))


class Warehouse:
    """Gives the verdict that a test has set, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[ExposureHistory] = []
        self.verdict = Verdict.HEALTHY
        self.reason = Reason.SOURCE_DOWN
        self.meanwhile: Callable[[], object] = lambda: None

    def evaluate(self, settings: SlowSettings, history: ExposureHistory, now: float) -> Sequence[SlowFinding]:
        self.asked.append(history)
        self.meanwhile()
        found = unknown_findings(settings, history, now, Unreadable(self.reason, "no"))
        if self.verdict is Verdict.UNKNOWN:
            return found
        said = f"csat {self.verdict.value.lower()}"
        return [
            replace(one, verdict=self.verdict, reason=None, sentence=said, canary=61.0, control=65.0) for one in found
        ]


class Daily:
    """A world with a rollout that has a slow signal, and replicas that look at it."""

    def __init__(self) -> None:
        self.world = World()
        self.warehouse = Warehouse()
        self.rollout = Rollout("copilot", "old", "new", {}, (), slow=SETTINGS)
        self.flag = self.world.arm()

    def replica(self, name: str = "a", fault: Callable[[Call], Fault | None] = lambda _: None) -> SlowSignals:
        store = MemoryStore(self.world.server, name)
        store.fault = fault
        return SlowSignals(
            store, self.world.switch(name), rollouts=lambda: {"copilot": self.rollout},
            evaluate=self.warehouse.evaluate, controller_id=name, version="1", wall=self.world.clock.wall,
        )  # fmt: skip

    def state(self) -> State:
        flag = self.world.person.stored("copilot").flag
        assert flag is not None
        return flag.state

    def outbox(self) -> list[bytes]:
        return [item.value for item in self.world.server.list(keys.OUTBOX).items]


def _lifted(flag: Flag) -> Page:
    return pin_events.unpinned(flag, reason="looked", by="ann", settings=PageSettings())


@pytest.fixture
def daily() -> Daily:
    return Daily()


def test_the_warehouse_is_asked_once_a_day_by_one_replica(daily: Daily) -> None:
    replicas = [daily.replica(name) for name in "abc"]
    for _ in range(3):
        for replica in replicas:
            replica.look()
        daily.world.clock.advance(DAY)
    assert len(daily.warehouse.asked) == 3
    assert daily.state() is State.ARMED


def test_a_replica_that_died_while_asking_is_replaced(daily: Daily) -> None:
    """Its claim ends with its lease."""

    def died() -> None:
        raise Crash

    daily.warehouse.meanwhile = died
    unrevoked = daily.replica("a", once("revoke", Fault.CRASH_BEFORE))
    with pytest.raises(Crash):
        unrevoked.look()
    daily.warehouse.meanwhile = lambda: None
    daily.replica("b").look()
    assert len(daily.warehouse.asked) == 1
    daily.world.clock.advance(3600.0)
    daily.replica("b").look()
    assert len(daily.warehouse.asked) == 2


def test_a_breach_pins_once_with_one_incident_and_one_page(daily: Daily) -> None:
    daily.warehouse.verdict = Verdict.BREACH
    for name in "abab":
        daily.replica(name).look()
    assert daily.state() is State.PINNED
    (item,) = daily.world.server.list(keys.incidents("copilot")).items
    incident = incident_from_document(item.value, rollout="copilot")
    assert (incident.automatic, incident.rules, incident.reason) == (True, ("slow.csat",), "csat breach")
    (kept,) = incident.findings
    assert (kept.rule, kept.canary, kept.control, kept.limit) == ("slow.csat", 61.0, 65.0, 62.0)
    (told,) = daily.outbox()
    assert b'"kind": "PINNED"' in told
    daily.world.clock.advance(DAY)
    daily.replica().look()
    assert (len(daily.warehouse.asked), len(daily.outbox())) == (2, 1)


def test_a_breach_found_while_tripped_pins_as_well(daily: Daily) -> None:
    """Else the next arm would give users a canary that is known to be worse."""
    daily.world.person.trip(automatic())
    daily.warehouse.verdict = Verdict.BREACH
    daily.replica().look()
    assert daily.state() is State.PINNED


def test_a_re_arm_while_the_warehouse_is_asked_wins(daily: Daily) -> None:
    """The verdict was about another generation; the next look judges the new one."""

    def re_armed() -> None:
        daily.world.person.trip(automatic())
        daily.world.person.rearm("copilot", reason="fixed", percent=1.0, stage="ramp_1", page=page)

    daily.warehouse.verdict = Verdict.BREACH
    daily.warehouse.meanwhile = re_armed
    daily.replica().look()
    assert daily.state() is State.ARMED
    daily.warehouse.meanwhile = lambda: None
    daily.replica().look()
    assert (daily.state(), len(daily.warehouse.asked)) == (State.PINNED, 2)


def test_a_verdict_pins_no_other_generation_that_is_tripped(daily: Daily) -> None:
    """Re-armed and tripped again while the warehouse is asked: the verdict was about the generation before."""

    def re_armed_and_tripped() -> None:
        daily.world.person.trip(automatic())
        daily.world.person.rearm("copilot", reason="fixed", percent=1.0, stage="ramp_1", page=page)
        daily.world.person.trip(automatic(generation=2))

    daily.warehouse.verdict = Verdict.BREACH
    daily.warehouse.meanwhile = re_armed_and_tripped
    daily.replica().look()
    assert daily.state() is State.TRIPPED
    assert daily.world.server.get(keys.slow_standing("copilot")) is None


def test_a_pin_lifted_while_the_warehouse_is_asked_stays_lifted(daily: Daily) -> None:
    """A person has looked at what the verdict rests on."""

    def pinned_and_lifted() -> None:
        daily.world.person.pin(automatic())
        daily.world.person.unpin("copilot", reason="looked", page=_lifted)

    daily.warehouse.verdict = Verdict.BREACH
    daily.warehouse.meanwhile = pinned_and_lifted
    daily.replica().look()
    assert daily.state() is State.TRIPPED


def test_a_new_life_is_not_pinned_for_what_was_settled(daily: Daily) -> None:
    """The incidents of earlier lives keep their users, so what is known of before the unpin must stay settled, too."""
    daily.warehouse.verdict = Verdict.BREACH
    daily.replica().look()
    daily.world.clock.advance(3600.0)
    lifted = daily.world.person.unpin("copilot", reason="looked", page=_lifted)
    assert lifted.unpinned_at is not None
    for _ in range(2):
        daily.world.person.end("copilot")
        daily.world.arm()
    daily.warehouse.verdict = Verdict.HEALTHY
    daily.replica().look()
    assert len(daily.warehouse.asked[-1].waves) == 1
    assert daily.warehouse.asked[-1].judged_from == pytest.approx(lifted.unpinned_at, abs=0.001)


def test_a_stage_that_is_changed_meanwhile_does_not_stop_a_pin(daily: Daily) -> None:
    daily.warehouse.verdict = Verdict.BREACH
    daily.warehouse.meanwhile = lambda: daily.world.person.set_stage("copilot", percent=25.0, stage="ramp_25")
    daily.replica().look()
    assert daily.state() is State.PINNED


def test_a_breach_is_not_lost_to_a_completion(daily: Daily) -> None:
    """The warehouse was asked about the armed canary: its users go back, and one page says why."""

    def completed() -> None:
        flag = daily.world.person.required("copilot").flag
        done = complete(flag, rollout="copilot", reason="", now=daily.world.clock.wall(), by="ann", actor=Actor.PERSON)
        MemoryStore(daily.world.server, "ann").commit((), (Put(keys.flag("copilot"), flag_document(done)),))

    daily.warehouse.verdict = Verdict.BREACH
    daily.warehouse.meanwhile = completed
    daily.replica().look()
    assert daily.state() is State.TRIPPED
    assert len(daily.outbox()) == 1
    daily.warehouse.meanwhile = lambda: None
    daily.world.clock.advance(DAY)
    daily.replica().look()
    assert daily.state() is State.PINNED


def test_what_was_known_before_an_unpin_is_not_judged_again(daily: Daily) -> None:
    daily.warehouse.verdict = Verdict.BREACH
    daily.replica().look()
    daily.world.clock.advance(3600.0)
    lifted = daily.world.person.unpin("copilot", reason="looked", page=_lifted)
    assert lifted.unpinned_at is not None
    daily.warehouse.verdict = Verdict.HEALTHY
    daily.world.clock.advance(DAY)
    daily.replica().look()
    assert daily.warehouse.asked[0].judged_from == 0.0
    assert daily.warehouse.asked[-1].judged_from == pytest.approx(lifted.unpinned_at, abs=0.001)


def test_a_dry_run_pins_nothing_and_says_so_once(daily: Daily) -> None:
    daily.rollout = replace(daily.rollout, mode=Mode.DRY_RUN)
    daily.warehouse.verdict = Verdict.BREACH
    for _ in range(3):
        daily.replica().look()
        daily.world.clock.advance(DAY)
    assert daily.state() is State.ARMED
    (told,) = daily.outbox()
    assert b"would pin (dry run)" in told


def test_two_days_without_a_verdict_are_paged_once_a_day(daily: Daily) -> None:
    daily.warehouse.verdict = Verdict.UNKNOWN
    replica, pages = daily.replica(), []
    for _ in range(4 * 24):
        replica.look()
        pages.append(len(daily.outbox()))
        daily.world.clock.advance(RETRY_AFTER)
    assert (pages[39], pages[41]) == (0, 1)  # hours after 14:22, and a day is evaluated at 6:00
    assert daily.state() is State.ARMED
    assert pages[-1] == 3
    assert all(b'"kind": "SLOW_UNKNOWN"' in told for told in daily.outbox())


def test_a_package_that_is_missing_is_unknown(daily: Daily) -> None:
    def missing() -> None:
        raise BadSettings(["install killswitch[warehouse]"])

    daily.warehouse.meanwhile = missing
    daily.replica().look()
    item = daily.world.server.get(keys.slow_standing("copilot"))
    assert item is not None
    (signal,) = from_document(item.value, rollout="copilot").signals
    assert (signal.verdict, "killswitch[warehouse]" in signal.sentence) == (Verdict.UNKNOWN, True)
    assert daily.state() is State.ARMED


def two_rollouts(daily: Daily, name: str, asked: list[str], meanwhile: Callable[[str], object]) -> SlowSignals:
    """A replica that looks at copilot and then at zebra; ``meanwhile`` is called as it asks about one of them."""
    both = {"copilot": daily.rollout, "zebra": replace(daily.rollout, name="zebra")}

    def evaluate(settings: SlowSettings, history: ExposureHistory, now: float) -> Sequence[SlowFinding]:
        asked.append(history.rollout)
        meanwhile(history.rollout)
        return daily.warehouse.evaluate(settings, history, now)

    store = MemoryStore(daily.world.server, name)
    return SlowSignals(
        store, daily.world.switch(name), rollouts=lambda: both, evaluate=evaluate, controller_id=name, version="1",
        wall=daily.world.clock.wall,
    )  # fmt: skip


def arm_zebra(daily: Daily) -> None:
    daily.world.person.arm("zebra", control="old", canary="new", percent=5.0, stage="ramp_5", salt="")


def test_one_rollout_that_breaks_costs_no_other_its_look(daily: Daily) -> None:
    """In the order of names, so the later ones would never be judged, and their pins be missed."""

    def breaks(rollout: str) -> None:
        if rollout == "copilot":
            raise RuntimeError("a bug")

    arm_zebra(daily)
    asked: list[str] = []
    two_rollouts(daily, "a", asked, breaks).look()
    assert asked == ["copilot", "zebra"]


def test_a_day_is_paid_for_once_however_long_one_rollout_takes(daily: Daily) -> None:
    """While one replica asks about the first rollout, another asks about the second: a scan may cost money."""
    arm_zebra(daily)
    asked: list[str] = []
    other = two_rollouts(daily, "b", asked, lambda _: None)
    two_rollouts(daily, "a", asked, lambda rollout: other.look() if rollout == "copilot" else None).look()
    assert sorted(asked) == ["copilot", "zebra"]


def test_a_rollout_is_judged_as_it_is_when_its_turn_comes(daily: Daily) -> None:
    """Raised while the rollout before it was asked about; a history without that raise is another split of users."""

    def raised(rollout: str) -> None:
        if rollout == "copilot":
            daily.world.clock.advance(1200.0)
            daily.world.person.set_stage("zebra", percent=25.0, stage="ramp_25")

    arm_zebra(daily)
    two_rollouts(daily, "a", [], raised).look()
    assert [len(history.waves) for history in daily.warehouse.asked] == [1, 2]


def test_an_answer_that_cannot_be_kept_is_paid_for_seldom(daily: Daily) -> None:
    """A role without the right to write it, for example: the next look of 30 s later would ask again, for ever."""

    def refused(call: Call) -> Fault | None:
        kept = call.name == "commit" and keys.SLOW_STANDINGS in str(call.subject)
        return Fault.FAIL_BEFORE if kept else None

    replica = daily.replica("a", refused)
    for _ in range(8 * 120):
        replica.look()
        daily.world.clock.advance(30.0)
    assert 8 <= len(daily.warehouse.asked) <= 13
    daily.replica("b").look()
    daily.world.clock.advance(DAY)
    before = len(daily.warehouse.asked)
    replica.look()
    assert len(daily.warehouse.asked) == before + 1


def test_two_versions_of_a_rule_file_do_not_ask_in_turn(daily: Daily) -> None:
    """A replica whose folder of rules is old has a signal less, or another one."""
    other = replace(signal_of(), name="refunds")
    for signals in ((signal_of(), other), (other,)):
        newer, older = daily.replica("a"), daily.replica("b")
        newer_rollout = replace(daily.rollout, slow=replace(SETTINGS, signals=signals))
        newer._rollouts = lambda rollout=newer_rollout: {"copilot": rollout}  # type: ignore[misc]
        before = len(daily.warehouse.asked)
        for _ in range(120):
            newer.look()
            older.look()
            daily.world.clock.advance(30.0)
        assert len(daily.warehouse.asked) - before <= 11


def test_a_store_that_fails_leaves_the_job_for_the_next_look(daily: Daily) -> None:
    daily.warehouse.verdict = Verdict.BREACH
    daily.replica("a", once("list", Fault.FAIL_BEFORE)).look()
    daily.replica("a", once("commit", Fault.FAIL_BEFORE)).look()
    assert daily.state() is State.ARMED
    daily.world.clock.advance(3600.0)
    daily.replica().look()
    assert daily.state() is State.PINNED


def test_a_rollout_without_a_flag_is_not_asked_about(daily: Daily) -> None:
    daily.world.person.end("copilot")
    daily.replica().look()
    assert daily.warehouse.asked == []
