"""`page: {slack_allow: […]}`: who may press buttons in Slack."""

from __future__ import annotations

import pytest

from killswitch.errors import BadRules
from killswitch.rules.loading import load_text

HEAD = "rollout: r\ncontrol: a\ncanary: b\n"


def allowed(text: str) -> tuple[str, ...]:
    (rollout,) = load_text(f"{HEAD}page: {{slack_allow: {text}}}\n".encode(), name="f.yaml").rollouts
    return rollout.page.slack_allow


def test_people_and_groups_are_named_by_id() -> None:
    assert allowed("[U012AB3CD, S012AB3CD, W0123456789]") == ("U012AB3CD", "S012AB3CD", "W0123456789")


def test_one_id_needs_no_list_and_none_is_kept_twice() -> None:
    assert allowed("U012AB3CD") == ("U012AB3CD",)
    assert allowed("[U012AB3CD, U012AB3CD]") == ("U012AB3CD",)


def test_an_empty_list_and_no_key_allow_no_one() -> None:
    (bare,) = load_text(HEAD.encode(), name="f.yaml").rollouts
    assert bare.page.slack_allow == ()
    assert allowed("[]") == ()


@pytest.mark.parametrize(
    "text", ['"@ann"', '"<@U012AB3CD>"', '"*"', "C012AB3CD", "[everyone]", '""', "u012ab3cd", "12", "[[U012AB3CD]]"]
)
def test_anything_else_is_refused_with_the_form(text: str) -> None:
    """A name, a channel or a star would allow no one, or people whom no one has named."""
    with pytest.raises(BadRules, match=r"slack_allow|Slack"):
        allowed(text)


def test_more_than_ten_groups_are_refused() -> None:
    with pytest.raises(BadRules, match="Slack is asked for each of them"):
        allowed("[" + ", ".join(f"S{number:08d}" for number in range(11)) + "]")


def test_more_than_fifty_are_refused() -> None:
    with pytest.raises(BadRules, match="user group is one id"):
        allowed("[" + ", ".join(f"U{number:08d}" for number in range(51)) + "]")
