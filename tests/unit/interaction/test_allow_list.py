"""Who may press: only the people and groups that the rule file names; what is unknown is a refusal."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from killswitch.interaction.allow_list import Profile, groups_to_ask, not_a_person_here, not_allowed, outsider
from killswitch.interaction.payloads import Caller
from tests.doubles.slack_payloads import ANN, BOB, TEAM

OWN = frozenset({TEAM, "E0DOUBLE1"})
GROUP, OTHER_GROUP = "S0GROUP01", "S0GROUP02"
PROFILE = Profile(ANN, "Ann Lee", frozenset({TEAM}))


def test_without_a_list_no_one_may_press() -> None:
    assert "no one may press" in (not_allowed("r", (), ANN, {}) or "")


def test_a_named_person_may_press_and_no_group_is_asked() -> None:
    assert not_allowed("r", (ANN, GROUP), ANN, {}) is None
    assert groups_to_ask((ANN, GROUP), ANN) == ()


def test_a_member_of_a_named_group_may_press() -> None:
    assert groups_to_ask((BOB, GROUP), ANN) == (GROUP,)
    assert not_allowed("r", (GROUP,), ANN, {GROUP: frozenset({ANN})}) is None


def test_anyone_else_may_not_and_is_told_what_to_do() -> None:
    said = not_allowed("r", (BOB, GROUP), ANN, {GROUP: frozenset({BOB})}) or ""
    assert said.startswith("you may not press buttons of r; add your id")
    assert "slack_allow: […]" in said


def test_a_group_that_slack_does_not_tell_is_a_refusal() -> None:
    assert "UNKNOWN" in (not_allowed("r", (GROUP,), ANN, {GROUP: None}) or "")
    assert "UNKNOWN" in (not_allowed("r", (GROUP,), ANN, {}) or "")


def test_one_known_group_is_enough() -> None:
    groups = {GROUP: None, OTHER_GROUP: frozenset({ANN})}
    assert not_allowed("r", (GROUP, OTHER_GROUP), ANN, groups) is None


def test_people_of_other_workspaces_may_not() -> None:
    assert outsider(Caller(ANN, TEAM, TEAM), OWN) is None
    assert outsider(Caller(ANN, "E0DOUBLE1", TEAM), OWN) is None
    assert "another workspace" in (outsider(Caller(ANN, TEAM, "T0FOREIGN"), OWN) or "")
    assert "another organisation" in (outsider(Caller(ANN, "T0FOREIGN", TEAM), OWN) or "")


def test_strangers_bots_and_deleted_accounts_may_not() -> None:
    assert not_a_person_here(PROFILE, OWN) is None
    for other in (
        replace(PROFILE, stranger=True),
        replace(PROFILE, bot=True),
        replace(PROFILE, deleted=True),
        replace(PROFILE, homes=frozenset({"T0FOREIGN"})),
        replace(PROFILE, homes=frozenset()),
    ):
        assert not_a_person_here(other, OWN) is not None


def test_a_name_is_one_line_with_the_id() -> None:
    assert PROFILE.signature == f"Ann Lee ({ANN})"
    hostile = replace(PROFILE, name="<!channel>\nroot" + "x" * 500).signature
    assert "\n" not in hostile
    assert hostile.endswith(f"({ANN})")
    assert len(hostile) < 200
    assert replace(PROFILE, name="").signature == f"someone ({ANN})"


IDS = st.sampled_from([ANN, BOB, GROUP, OTHER_GROUP])


@given(
    st.lists(IDS, max_size=4),
    st.dictionaries(
        st.sampled_from([GROUP, OTHER_GROUP]), st.none() | st.frozensets(st.sampled_from([ANN, BOB])), max_size=2
    ),
)
def test_only_names_and_known_memberships_allow(allow: list[str], groups: dict[str, frozenset[str] | None]) -> None:
    may = not_allowed("r", allow, ANN, groups) is None
    assert may == (ANN in allow or any(group in allow and ANN in (groups.get(group) or ()) for group in groups))
