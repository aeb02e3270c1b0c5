"""What protects nothing is told once: a blind rule, an unwatched rollout, a flag nobody understands."""

from __future__ import annotations

import pytest

from killswitch.controller.unprotected import BLIND_TICKS, UNWATCHED_TICKS, InARow
from killswitch.model import PageSettings, Reason, Unreadable, Want
from killswitch.pages.page import PageKind
from killswitch.rules.loading import Rules
from killswitch.stores import Put, keys
from tests.doubles.fleet import START, Fleet
from tests.doubles.scripted_source import ERRORS, REFUSALS, Traffic, rollout

pytestmark = pytest.mark.simulation

GOOD = Traffic(since=START)
NOT_SEEN = [
    reason
    for reason in Reason
    if reason.name.startswith("SOURCE_")
    or reason.name
    in {"SATURATED", "GAP", "GARBAGE", "STALE", "NO_DATA", "PARTIAL_ANSWER", "SEVERAL_SERIES", "NUMERIC", "BEHIND"}
]


def fleet_of(*names: str, percent: float = 5.0) -> Fleet:
    fleet = Fleet(GOOD, rollout())
    for name in names:
        fleet.replica(name)
    fleet.arm("copilot", percent)
    fleet.run(3)
    return fleet


def spoil(fleet: Fleet, *rules: str, reason: Reason = Reason.NO_DATA) -> None:
    def gone(want: Want, _tick: float) -> Unreadable | None:
        return Unreadable(reason, "gone") if want.rule in rules else None

    for one in fleet.replicas:
        one.source.spoil = gone


@pytest.mark.parametrize("reason", NOT_SEEN)
def test_one_blind_rule_of_several_is_paged_once_a_generation(reason: Reason) -> None:
    """One blind rule among healthy ones is paged once in each generation."""
    fleet = fleet_of("a", "b")
    spoil(fleet, ERRORS.name, reason=reason)
    fleet.run(BLIND_TICKS - 1)
    assert fleet.pages() == []
    fleet.run(1)
    pages = fleet.pages(PageKind.RULE_BLIND)
    assert [page.rows[0].rule for page in pages] == [ERRORS.name]
    assert pages[0].headline == (
        "copilot: rule error_rate has had no verdict for 2m30s, so it protects no one. The other rules are still judged"
    )
    fleet.run(100)
    assert fleet.pages() == pages
    assert not fleet.tripped()


def test_each_blind_rule_has_a_page_of_its_own() -> None:
    fleet = fleet_of("a")
    spoil(fleet, ERRORS.name, REFUSALS.name)
    fleet.run(BLIND_TICKS)
    assert {page.rows[0].rule for page in fleet.pages(PageKind.RULE_BLIND)} == {ERRORS.name, REFUSALS.name}
    assert len({page.id for page in fleet.pages()}) == 2


def test_a_rule_with_a_verdict_now_and_then_is_not_called_blind() -> None:
    fleet = fleet_of("a")
    for _ in range(5):
        spoil(fleet, ERRORS.name)
        fleet.run(BLIND_TICKS - 1)
        spoil(fleet)
        fleet.run(1)
    assert fleet.pages() == []


def test_a_rollout_blind_as_a_whole_does_not_hide_a_blind_rule() -> None:
    """A rollout that goes blind as a whole does not hide the rule that was blind before."""
    fleet = fleet_of("a")
    for _ in range(BLIND_TICKS):
        spoil(fleet, ERRORS.name)
        fleet.run(1)
        fleet.replicas[0].source.down = True
        fleet.run(1)
        fleet.replicas[0].source.down = False
    assert [page.kind for page in fleet.pages()] == [PageKind.RULE_BLIND]


def test_a_canary_of_no_percent_has_no_data_and_that_is_expected() -> None:
    fleet = fleet_of("a", percent=0.0)
    spoil(fleet, ERRORS.name)
    fleet.run(60)
    assert fleet.pages() == []


def test_an_armed_rollout_whose_rule_file_is_gone_is_paged_once() -> None:
    fleet = Fleet(GOOD, rollout("copilot", page=PageSettings(slack="#copilot")), rollout("other"))
    for name in "ab":
        fleet.replica(name)
    fleet.arm("copilot")
    fleet.run(10)
    for one in fleet.replicas:
        one.rules = Rules({"other": fleet.rollouts["other"]}, "digest-2")
    fleet.run(UNWATCHED_TICKS - 1)
    assert fleet.pages() == []
    fleet.run(60)
    pages = fleet.pages()
    assert [(page.kind, page.rollout) for page in pages] == [(PageKind.UNWATCHED, "copilot")]
    assert "`killswitch end copilot`" in " ".join(pages[0].next_steps)
    assert pages[0].slack == "#copilot"  # where its last rule file said


def test_an_unwatched_rollout_is_paged_to_any_channel_of_a_file() -> None:
    """The first file by name had none, and an armed rollout without rules was told to standard output alone."""
    named = rollout("z", page=PageSettings(slack="#oncall"))
    fleet = Fleet(GOOD, rollout("copilot"), rollout("a"), named)
    fleet.replica("a", rules=Rules({"a": fleet.rollouts["a"], "z": named}, "digest-0"))
    fleet.arm("copilot")
    fleet.run(10)
    assert [(page.rollout, page.slack) for page in fleet.pages(PageKind.UNWATCHED)] == [("copilot", "#oncall")]


def test_a_rollout_that_another_replica_has_rules_for_is_watched() -> None:
    """Rule files reach replicas one after another."""
    fleet = Fleet(GOOD, rollout("copilot"), rollout("other"))
    fleet.replica("a")
    fleet.replica("b", rules=Rules({"other": fleet.rollouts["other"]}, "digest-0"))
    fleet.arm("copilot")
    fleet.run(30)
    assert fleet.pages() == []


@pytest.mark.parametrize(("name", "paged"), [("copilot", True), ("unknown", False)])
def test_a_flag_nobody_understands_is_shown_and_paged_once(name: str, *, paged: bool) -> None:
    """A flag that cannot be read is shown as such. If it has rules, it is paged once."""
    fleet = fleet_of("a", "b")
    fleet.server.commit("x", (), (Put(keys.flag(name), b"{"),))
    fleet.run(30)
    expected = [(PageKind.FLAG_UNREADABLE, name)] if paged else []
    assert [(page.kind, page.rollout) for page in fleet.pages()] == expected
    for sentence in fleet.sentences(name):
        assert sentence.startswith("[flag unreadable]: ")
        assert "arm it" not in sentence
        assert f"`killswitch end {name}`" in sentence


def test_an_unreadable_flag_written_again_later_is_paged_again() -> None:
    """The same unreadable flag, written again later, is paged again."""
    fleet = fleet_of("a")
    for _ in range(2):
        fleet.server.commit("x", (), (Put(keys.flag("copilot"), b"{"),))
        fleet.run(3)
        fleet.person.end("copilot")
        fleet.run(3)
    assert len(fleet.pages(PageKind.FLAG_UNREADABLE)) == 2


def test_an_unknown_keeps_its_count_and_a_miss_restarts_it() -> None:
    """What is unknown keeps its count. What does not hold starts to count again from one."""
    row: InARow[str] = InARow()
    assert row.look("ab") == {"a": 1, "b": 1}
    assert row.look("", unknown=lambda key: key == "a") == {}
    assert row.look("ab") == {"a": 2, "b": 1}
