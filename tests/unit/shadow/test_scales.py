"""How many, whether one must, which one, and when: read with the word that they are about."""

from __future__ import annotations

import pytest

from tests.unit.shadow.fact_differences import between


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        ("All of the seats include help.", "Some of the seats include help.", "number"),
        ("Most orders arrive in time.", "Few orders arrive in time.", "number"),
        ("Either key opens it.", "Both keys open it.", ""),
        ("You need to upload a photo.", "You can upload a photo.", "negation"),
        ("You have to upload a photo.", "You may upload a photo.", "negation"),
        ("It applies from the second item on.", "It applies from the third item on.", "number"),
        ("We moved last year.", "We move next year.", "date"),
        ("It is due today.", "It is due tomorrow.", "date"),
        ("Alle Plätze sind für Sie frei.", "Einige Plätze sind für Sie frei.", "number"),
    ],
)
def test_another_step_of_a_scale_is_a_difference(one: str, other: str, kind: str) -> None:
    found = between(one, other)
    assert kind in found if kind else not found


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Every order has a number.", "All orders have a number."),
        ("Any order has a number.", "Each order has a number."),
        ("You must sign the form.", "You have to sign the form."),
        ("All seats are new, some rows are old.", "Some rows are old, all seats are new."),
        ("Wait one second.", "Wait 1 second."),
        ("Orders arrive on time.", "All orders arrive on time."),
        ("How can I help you today? It comes tomorrow.", "It comes tomorrow."),
    ],
)
def test_the_same_step_in_other_words_is_no_difference(one: str, other: str) -> None:
    assert between(one, other) == ()
