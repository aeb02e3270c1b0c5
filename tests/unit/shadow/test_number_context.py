"""What numbers are about: who gets which, for which period, in which unit, and in which words."""

from __future__ import annotations

import pytest

from tests.unit.shadow.fact_differences import between


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Send 5 to Alice and 10 to Bob.", "Send 10 to Alice and 5 to Bob."),
        ("Alice gets $5, Bob gets $10.", "Alice gets $10, Bob gets $5."),
        ("Pay 3 apples, 4 pears and 5 plums.", "Pay 4 apples, 5 pears and 3 plums."),
        ("Members save 10 %, guests save 5 %.", "Members save 5 %, guests save 10 %."),
    ],
)
def test_numbers_that_change_places_are_a_difference(one: str, other: str) -> None:
    assert "number" in between(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Alice gets 5 and Bob gets 10.", "Bob gets 10 and Alice gets 5."),
        ("Send 5 to Alice and 10 to Bob.", "Alice gets 5, and Bob 10."),
        ("Size: 5 GB. Price: $10. Time: 3 days.", "Price: $10. Time: 3 days. Size: 5 GB."),
        ("We charge 5 % within 10 days.", "Within 10 days, we charge 5 %."),
        ("You get 10 dollars in 5 days.", "In 5 days you get 10 dollars."),
    ],
)
def test_the_same_numbers_in_another_order_are_the_same(one: str, other: str) -> None:
    assert between(one, other) == ()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Rent is £1,200 a month.", "Rent is £1,200 a week."),
        ("The fee is 50 dollars per seat.", "The fee is 50 dollars per year."),
        ("It costs $5/month.", "It costs $5/year."),
        ("You pay $5 monthly.", "You pay $5 yearly."),
        ("It costs $5 a month.", "It costs $5, paid annually."),
    ],
)
def test_another_period_is_a_difference(one: str, other: str) -> None:
    assert between(one, other) == ("number",)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("It takes 24 hours.", "It takes one day."),
        ("It takes two weeks.", "It takes 14 days."),
        ("It lasts 90 minutes.", "It lasts 1.5 hours."),
        ("It runs for 12 months.", "It runs for 1 year."),
        ("It weighs 1 kg.", "It weighs 1000 g."),
        ("There are 1.5k users.", "There are 1,500 users."),
        ("It is 10-20 %.", "It is 10 % to 20 %."),
        ("It costs $5-$10.", "It costs between $5 and $10."),
        ("It costs $5 a month.", "It costs $5 per month, billed monthly."),
        ("It costs $5 a month.", "It costs $5."),
        ("It costs $5 a month.", "It costs $5/month."),
    ],
)
def test_one_amount_in_two_units_is_the_same(one: str, other: str) -> None:
    assert between(one, other) == ()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("It takes 24 hours.", "It takes two days."),
        ("It takes 24 hours.", "It takes 24 days."),
        ("It takes 14 days.", "It takes two months."),
        ("It is 10-20 %.", "It is 10 % to 30 %."),
        ("It costs $5-$10.", "It costs $5-$20."),
    ],
)
def test_another_amount_in_another_unit_is_a_difference(one: str, other: str) -> None:
    assert between(one, other)


@pytest.mark.parametrize(
    ("sentence", "words", "digits", "lie"),
    [
        ("Die Frist beträgt {}.", "einundzwanzig Tage", "21 Tage", "einunddreißig Tage"),
        ("Der Betrag ist {}.", "zweihundertfünfzig Euro", "250 Euro", "dreihundertfünfzig Euro"),
        ("Die Frist ist {} für Sie.", "ein Tag", "1 Tag", "zwei Tage"),
        ("El plazo es de {}.", "doscientos días", "200 días", "trescientos días"),
        ("El plazo es de {} para usted.", "treinta y un días", "31 días", "treinta y dos días"),
        ("Le délai est de {}.", "vingt et un jours", "21 jours", "vingt-quatre jours"),
        ("Il rimborso è di {}.", "ventuno giorni", "21 giorni", "trentuno giorni"),
        ("O prazo é de {} para você.", "duzentos dias", "200 dias", "trezentos dias"),
        ("De prijs is {}.", "vijf euro", "5 euro", "vijftig euro"),
        ("De termijn is {}.", "eenentwintig dagen", "21 dagen", "tweeëntwintig dagen"),
        ("Fristen är {} för dig och mig.", "fem dagar", "5 dagar", "femtio dagar"),
        ("Termin to jest {}.", "pięć dni", "5 dni", "pięćdziesiąt dni"),
        ("Срок возврата это {}.", "тридцать дней", "30 дней", "сорок дней"),
        ("退货期限是{}。", "三十天", "30天", "六十天"),
        ("환불 기간은 {}입니다.", "삼십 일", "30 일", "육십 일"),
    ],
)
def test_numbers_in_words_are_read_in_each_language(sentence: str, words: str, digits: str, lie: str) -> None:
    assert between(sentence.format(words), sentence.format(digits)) == ()
    assert between(sentence.format(words), sentence.format(lie))
