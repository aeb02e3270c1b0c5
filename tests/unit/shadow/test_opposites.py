"""Opposite words in a long answer, whose cosine is 0.94 and more, and paraphrases that deny in another way."""

from __future__ import annotations

import pytest

from tests.unit.shadow.fact_differences import between

BEFORE = "Thank you for contacting us about your recent order. We checked the records and all of it looks fine. "


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Refunds are allowed.", "Refunds are forbidden."),
        ("Your return was approved.", "Your return was rejected."),
        ("Your return was accepted.", "Your return was declined."),
        ("The price increased by 10 %.", "The price decreased by 10 %."),
        ("Take the tablet before meals.", "Take the tablet after meals."),
        ("The service is available.", "The service is unavailable."),
        ("The code is valid.", "The code is invalid."),
        ("It is legal.", "It is illegal."),
        ("Tax is included.", "Tax is excluded."),
        ("Alerts are enabled.", "Alerts are disabled."),
        ("The shop is open.", "The shop is closed."),
        ("You must sign it.", "You may sign it."),
        ("It costs more.", "It costs less."),
        ("Press the left button.", "Press the right button."),
        ("You must be at least 18.", "You must be at most 18."),
        ("Stay above 5 degrees.", "Stay below 5 degrees."),
        ("Returns are rarely accepted.", "Returns are usually accepted."),
        ("You can buy it here.", "You can sell it here."),
        ("You owe us $40.", "We owe you $40."),
        ("It is not forbidden.", "It is forbidden."),
        ("Fees are not allowed, and gifts are allowed.", "Fees are not allowed, and gifts are not allowed."),
    ],
)
def test_opposites_in_a_long_answer_are_a_difference(one: str, other: str) -> None:
    assert between(BEFORE + one, BEFORE + other) == ("negation",)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Die Rückgabe ist für Sie erlaubt.", "Die Rückgabe ist für Sie verboten."),
        ("Der Antrag wurde genehmigt und ist da.", "Der Antrag wurde abgelehnt und ist da."),
        ("Das ist möglich und gültig.", "Das ist unmöglich und gültig."),
        ("Die Preise sind gestiegen.", "Die Preise sind gesunken."),
        ("Nehmen Sie die Tablette vor dem Essen.", "Nehmen Sie die Tablette nach dem Essen."),
        ("El reembolso está permitido para usted.", "El reembolso está prohibido para usted."),
        ("Tome la pastilla antes de las comidas.", "Tome la pastilla después de las comidas."),
        ("Le remboursement est autorisé pour vous.", "Le remboursement est interdit pour vous."),
        ("Prenez le comprimé avant les repas.", "Prenez le comprimé après les repas."),
        ("Zwrot jest możliwy i nie jest to problem.", "Zwrot jest niemożliwy i nie jest to problem."),
        ("返品は許可されています。", "返品は禁止されています。"),
        ("退货是允许的。", "退货是禁止的。"),
        ("环境是合法的。", "环境是非法的。"),
        ("반품은 허용됩니다.", "반품은 금지됩니다."),
    ],
)
def test_opposites_of_other_languages_are_a_difference(one: str, other: str) -> None:
    assert "negation" in between(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("It is not possible.", "It is impossible."),
        ("Refunds are not allowed.", "Refunds are forbidden."),
        ("Refunds aren't permitted.", "Refunds are prohibited."),
        ("The code is not valid.", "The code is invalid."),
        ("Das ist nicht möglich und für Sie da.", "Das ist unmöglich und für Sie da."),
        ("You will notice that.", "You cannot fail to notice that."),
        ("Pay before Friday, then we ship.", "We ship after you pay. Pay before Friday."),
        ("The code is invalid.", "The code is invalid: an invalid code."),
        ("Yes, it is right there.", "Yes, you find it there right away."),
        ("Choose the left or the right one.", "Choose the right or the left one."),
        ("It may take five days in May.", "In May, it may take five days."),
    ],
)
def test_one_statement_in_other_words_is_no_opposite(one: str, other: str) -> None:
    assert between(BEFORE + one, BEFORE + other) == ()
