"""How far measures of similarity agree with people."""

from __future__ import annotations

from killswitch.shadow.agreement import LabelledPair, agreement_of, labelled_pairs
from killswitch.shadow.similarity import CharacterGrams


def test_the_labelled_set_has_both_kinds_areas_and_languages() -> None:
    pairs = labelled_pairs()
    assert len(pairs) >= 60
    assert 20 <= sum(pair.same for pair in pairs) <= len(pairs) - 20
    assert {pair.area for pair in pairs} == {"support", "legal", "code"}
    assert {pair.language for pair in pairs} >= {"en", "de", "fr", "es", "it", "ja", "zh"}
    assert len({(pair.one, pair.other) for pair in pairs}) == len(pairs)


def test_no_threshold_of_grams_alone_comes_near_people() -> None:
    best = max(agreement_of(CharacterGrams(threshold)).alone for threshold in (0.2, 0.35, 0.5, 0.7, 0.85, 0.95))
    assert best < 0.65 * len(labelled_pairs())


def test_grams_with_the_fact_diff_agree_with_people() -> None:
    """More than half of the pairs were never looked at while the diff was written: these figures may only improve."""
    found = agreement_of(CharacterGrams())
    assert found.with_facts >= 125 / 143 * found.pairs
    assert found.missed <= 10
    assert found.false_alarms <= 8


def test_the_sentence_names_measure_threshold_and_figures() -> None:
    pairs = [LabelledPair("support", "en", "", "It costs $5.", "It costs $50.", same=False)]
    said = agreement_of(CharacterGrams(0.5), pairs).sentence()
    assert said == (
        "cosine of character 3-5-grams, from 0.5: agrees with people on 0 of 1 pairs alone, on 1 with the fact diff "
        "(0 differences missed, 0 false alarms)"
    )
