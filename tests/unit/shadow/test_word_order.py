"""Words that changed places: a lie of the same words, and lists in another order, which say the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.shadow.word_order import exchanged
from tests.unit.shadow.fact_differences import between


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The train goes from Berlin to Lisbon.", "The train goes from Lisbon to Berlin."),
        ("The tenant pays the landlord.", "The landlord pays the tenant."),
        ("The buyer pays the freight and the seller the tax.", "The seller pays the freight and the buyer the tax."),
        ("Tenants pay rent. Landlords pay tax.", "Landlords pay rent. Tenants pay tax."),
        ("Save the file, then close the window.", "Close the window, then save the file."),
        ("Der Mieter zahlt, und der Vermieter prüft.", "Der Vermieter zahlt, und der Mieter prüft."),
        ("Migrate from v2.0.1 to v2.1.0.", "Migrate from v2.1.0 to v2.0.1."),
        ("Free for members and $5 for guests.", "Free for guests and $5 for members."),
    ],
)
def test_two_words_that_changed_places_are_a_difference(one: str, other: str) -> None:
    before = "Thank you for your question, we have looked at it. "
    assert "order" in between(before + one, before + other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Bring a passport, a photo and the form.", "Bring the form, a photo and a passport."),
        ("We ship to France and Spain.", "We ship to Spain and France."),
        ("Anna and Marek approved it.", "Marek and Anna approved it."),
        ("We offer chat help, phone help and mail help.", "We offer phone help, chat help and mail help."),
        ("Plan A costs $5 and plan B costs $9.", "Plan B costs $9 and plan A costs $5."),
        ("If the light blinks, restart the router.", "Restart the router if the light blinks."),
        ("On Friday the shop closes at 6 pm.", "At 6 pm the shop closes on Friday."),
        ("Your refund arrives within 3 days.", "Within 3 days your refund arrives."),
        ("First sentence here. Second sentence there.", "Second sentence there. First sentence here."),
        ("The team approved the budget.", "The budget was approved by the team."),
        ("- Letters: $5\n- Parcels: $9", "- Parcels: $9\n- Letters: $5"),
    ],
)
def test_the_same_in_another_order_is_no_difference(one: str, other: str) -> None:
    assert between(one, other) == ()


@given(st.lists(st.sampled_from(["a", "pays", "b", ",", "and", "to", ". ", "\n"]), max_size=40))
def test_no_text_is_exchanged_with_itself(parts: list[str]) -> None:
    text = " ".join(parts)
    assert not exchanged(text, text)


def test_a_sentence_without_end_is_compared_in_bounded_time() -> None:
    """Only sentences of up to 80 words are; the rest of the comparison is one pass."""
    one = " ".join(f"w{number}" for number in range(15_000))
    other = " ".join(f"w{number}" for number in reversed(range(15_000)))
    assert not exchanged(one, other)
