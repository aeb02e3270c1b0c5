"""Amounts without a number are the same as those with one."""

from __future__ import annotations

import pytest

from killswitch.shadow.facts import facts_of
from tests.unit.shadow.fact_differences import between


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Half of the fee is returned.", "50% of the fee is returned."),
        ("Two thirds of the users stayed.", "67 % of the users stayed."),
        ("Die Hälfte der Kosten ist für Sie und die Firma.", "50 % der Kosten ist für Sie und die Firma."),
        ("It takes an hour and a half.", "It takes 90 minutes."),
        ("It takes half an hour.", "It takes 30 minutes."),
        ("You can return it within a month.", "You can return it within one month."),
        ("It ends in a week.", "It ends in 7 days."),
        ("Press it twice.", "Press it two times."),
        ("We open at 7 in the morning.", "We open at 7 am."),
        ("It leaves at a quarter to nine.", "It leaves at 8:45."),
        ("It is on Mon, 5 Jan at noon.", "It is on Monday, January 5 at 12:00."),
        ("It arrives between 3 and 5 June.", "It arrives June 3-5."),
        ("A stamp costs 95 cents.", "A stamp costs $0.95."),
        ("Both doors are locked.", "The two doors are locked."),
        ("The fee is non-refundable.", "The fee is not refundable."),
        ("The transfer is free.", "There is no fee for the transfer."),
        ("Call Dr. Weber.", "Please call Dr Weber."),
    ],
)
def test_one_amount_in_words_and_in_numbers_is_the_same(one: str, other: str) -> None:
    assert between(one, other) == ()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Half of the fee is returned.", "A third of the fee is returned."),
        ("It ends in a week.", "It ends in 8 days."),
        ("Press it twice.", "Press it three times."),
        ("It leaves at half past nine.", "It leaves at a quarter past nine."),
        ("It arrives June 3-5.", "It arrives June 3-6."),
        ("A stamp costs 95 cents.", "A stamp costs $0.59."),
        ("A stamp costs 95 cents.", "A stamp costs $95."),
        ("Your balance is -$35.", "Your balance is $35."),
        ("It measures 20 square metres.", "It measures 20 square feet."),
        ("Both doors are locked.", "Three doors are locked."),
        ("Call Dr. Ortega today.", "Call Dr. Ortiz today."),
    ],
)
def test_another_amount_is_a_difference(one: str, other: str) -> None:
    assert between(one, other)


def test_a_period_and_twice_as_many_are_no_amount() -> None:
    assert facts_of("It costs $5 a month.").quantities.numbers == {}
    assert facts_of("It is twice as large.").quantities.numbers == {}
