"""What two texts state, and the lies that a cosine passes."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from killswitch.shadow.facts import MOST_CHARACTERS, differences, facts_of
from tests.doubles.two_answers import DENIED, REFUND

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=300)


def between(one: str, other: str) -> tuple[str, ...]:
    """The differences, which are the same in either order."""
    found = differences(facts_of(one), facts_of(other))
    assert found == differences(facts_of(other), facts_of(one))
    return found


@pytest.mark.parametrize(
    ("lie", "kinds"),
    [
        (DENIED, ("negation",)),
        (REFUND.replace("five", "fifty"), ("number",)),
        (REFUND.replace("five business days", "five weeks"), ("number",)),
        (REFUND.replace("$25.00", "$52.00"), ("money",)),
        (REFUND.replace("$25.00", "€25.00"), ("money",)),
        (REFUND.replace("3 May", "8 May"), ("date",)),
        (
            "Ihre Rückerstattung von 25 $ wurde am 3. Mai 2026 veranlasst und ist nach fünf Tagen auf dem Konto.",
            ("language",),
        ),
        ("I'm sorry, but I can't help with that.", ("date", "money", "negation", "number")),
        (REFUND[:60], ("number",)),
    ],
)
def test_a_lie_that_a_cosine_passes_differs_in_facts(lie: str, kinds: tuple[str, ...]) -> None:
    assert between(REFUND, lie) == kinds


@pytest.mark.parametrize(
    "paraphrase",
    [
        REFUND,
        "We issued a refund of $25 on May 3rd, 2026, and it should reach your account within 5 business days.",
        "A refund of USD 25.00 was issued on 2026-05-03. Up to five days are needed until it reaches your account.",
        "Good news! On 2026/05/03 your refund of 25 dollars was issued. Expect it in 5 days.",
    ],
)
def test_a_faithful_paraphrase_has_the_same_facts(paraphrase: str) -> None:
    assert between(REFUND, paraphrase) == ()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("It holds 1,000 items", "It holds 1 000 items"),
        ("It holds 1,000 items", "It holds 1000 items"),
        ("It holds 5k items", "It holds 5,000 items"),
        ("in three million cases", "in 3,000,000 cases"),
        ("two hundred and five", "205"),
        ("twenty-one days", "21 days"),
        ("up 5 %", "up five percent"),
        ("open at 2:30 pm", "open at 14:30"),
        ("on 03/05/2026", "on 3/5/2026"),
        ("on 25/12/2026", "on December 25, 2026"),
        ("on 3 May", "on May 3, 2026"),
        ("See https://www.example.com/a/.", "See [this](http://example.com/a)."),
        ("in version 2.3.1", "in v2.3.1"),
        ("We do not charge fees", "We don't charge fees"),
        ("We do not charge fees", "No fees are charged"),
        ("1. Open it\n2. Close it", "- Open it\n- Close it"),
        ("Das kostet 1.000,50 Euro und ist nicht teuer für das", "Das kostet 1000.5 € und ist nicht teuer für das"),
        ("料金は5,000円です。", "料金は¥5000です。"),
        ("期限は五日です。", "期限は5日です。"),
        ("Innerhalb von vierzehn Tagen ist das und die Ware da", "Innerhalb von 14 Tagen ist das und die Ware da"),
        ("a fee[1] applies\n\n[1]: terms", "a fee applies"),
    ],
)
def test_one_fact_in_two_spellings_is_no_difference(one: str, other: str) -> None:
    assert between(one, other) == ()


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        ("five days", "fifty days", "number"),
        ("3.5 GB", "3.5 MB", "number"),
        ("minus: -5", "minus: 5", "number"),
        ("ten apples", "no apples", "negation"),
        ("on 03/05/2026", "on 05/03/2026", "date"),
        ("on Monday", "on Tuesday", "date"),
        ("at 9 am", "at 9 pm", "date"),
        ("in June", "in July", "date"),
        ("costs $5", "costs $50", "money"),
        ("up 5%", "up 50%", "percent"),
        ("see example.com/a", "see example.com/b", "url"),
        ("write to a@example.com", "write to b@example.com", "identifier"),
        ("order ORD-10482", "order ORD-10428", "identifier"),
        ("call get_user(id)", "call get_users(id)", "identifier"),
        ("id 3f2504e0-4f89-11d3-9a0c-0305e82c3301", "id 3f2504e0-4f89-11d3-9a0c-0305e82c3302", "identifier"),
        ("in version 2.3.1", "in version 2.1.3", "identifier"),
        ("we meet in Boston", "we meet in Dallas", "name"),
        ("with notice", "without notice", "negation"),
        ("Refunds are issued, fees are not returned", "Refunds are not issued, fees are returned", "negation"),
        ("期限は五日です。", "期限は五十日です。", "number"),
        ("返品できます。", "返品できません。", "negation"),
        ("Der Vertrag verlängert sich", "Der Vertrag verlängert sich nicht", "negation"),
        ("La tarjeta es válida para la compra", "La tarjeta no es válida para la compra", "negation"),
        ("返金は5営業日以内です。", "Your refund arrives within 5 business days.", "language"),
    ],
)
def test_another_fact_is_a_difference_of_its_kind(one: str, other: str, kind: str) -> None:
    assert kind in between(one, other)


def test_a_polite_phrase_is_no_negation() -> None:
    assert between("Your order has shipped.", "No problem, don't worry: your order has shipped.") == ()


def test_a_name_that_is_left_out_is_no_difference() -> None:
    assert between("Our team in Boston answers.", "Our team answers.") == ()


@given(ANY_TEXT)
@example("\ud83d")
@example("\x00\xff1.\u0661")
@example("²³½⅓①")
@settings(max_examples=150, deadline=None)
def test_any_text_has_facts_and_none_against_itself(text: str) -> None:
    assert between(text, text) == ()


@given(ANY_TEXT, ANY_TEXT)
@settings(max_examples=100, deadline=None)
def test_any_two_texts_differ_the_same_in_both_orders(one: str, other: str) -> None:
    between(one, other)


@pytest.mark.parametrize("part", ["a", "1", "1,", "1 ", "a1", "a@", "a.", "five ", "[", "/", "http://", "_", "'", "\n"])
def test_ten_megabytes_are_read_in_part_and_marked(part: str) -> None:
    """Also where each character could begin a match: no pattern starts from the beginning at each."""
    facts = facts_of(part * (10_000_000 // len(part)))
    assert facts.cut
    assert not facts_of(part * (MOST_CHARACTERS // len(part))).cut
