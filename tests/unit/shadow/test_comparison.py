"""A raw pair becomes a record."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from killswitch.errors import Unavailable
from killswitch.router.shadow.raw_pair import Dropped, Outcome, RawPair, from_line, to_line
from killswitch.shadow.comparison import LONGEST_KEPT, Comparing, compare, hash_prompt, kept_text
from killswitch.shadow.facts import MOST_CHARACTERS
from killswitch.shadow.flat_record import dropped_row, lines_of, row_of
from killswitch.shadow.pairs import COLUMNS
from killswitch.shadow.record import PairRecord
from killswitch.shadow.similarity import CharacterGrams
from tests.doubles.two_answers import AT, DENIED, REFUND, answer, raw_pair

KEY = b"k" * 32
PLAIN = Comparing(CharacterGrams(), KEY)
KEEPING = replace(PLAIN, keep_texts=lambda pair: True)


def record_of(pair: RawPair, by: Comparing = PLAIN) -> PairRecord:
    (record,) = compare([pair], by)
    return record


def texts_in(record: PairRecord) -> tuple[str | None, ...]:
    return record.prompt_text, record.control_text, record.other_text


def test_a_record_says_how_the_answers_differ_and_by_which_measure() -> None:
    record = record_of(raw_pair(DENIED, user="u1", turn=2, prompt_class="refunds", concurrent=True))
    assert record.comparable
    assert not record.identical
    assert record.equivalent is False
    assert record.differences == ("negation",)
    assert record.similarity == pytest.approx(0.96, abs=0.02)
    assert record.similarity_by == "cosine of character 3-5-grams, from 0.35"
    assert (record.pair, record.user, record.turn, record.prompt_class) == ("request-1", "u1", 2, "refunds")
    assert (record.control.model, record.other.model) == ("model-old", "model-new")


def test_a_record_says_that_its_answer_was_used_again() -> None:
    assert record_of(replace(raw_pair(), reused=True)).reused
    assert not record_of(raw_pair()).reused


def test_the_same_answer_is_identical_and_equivalent() -> None:
    record = record_of(raw_pair())
    assert (record.identical, record.equivalent, record.similarity, record.differences) == (True, True, 1.0, ())


@pytest.mark.parametrize("outcome", ["error", "timeout", "budget", "cancelled"])
def test_a_failed_answer_is_not_comparable_and_never_a_difference(outcome: Outcome) -> None:
    """It stays in the denominator, with its reason."""
    record = record_of(raw_pair(answer("", outcome=outcome, error="boom")))
    assert (record.comparable, record.not_comparable) == (False, f"other_{outcome}")
    assert (record.similarity, record.equivalent, record.identical, record.differences) == (None, None, False, ())
    assert record.other.outcome == outcome
    assert record_of(raw_pair(control=answer("", outcome=outcome))).not_comparable == f"control_{outcome}"


def test_a_refusal_is_an_answer() -> None:
    record = record_of(raw_pair(answer("I can't help with that.", outcome="refused", refused=True)))
    assert record.comparable
    assert record.equivalent is False
    assert "refusal" in record.differences


def test_what_is_too_long_to_read_is_unknown() -> None:
    long = "We will send it. " * (MOST_CHARACTERS // 10)
    record = record_of(raw_pair(f"{long}!", f"{long}?"))
    assert (record.comparable, record.not_comparable) == (False, "too_long_to_read")
    assert (record.similarity, record.equivalent) == (None, None)


def test_texts_are_kept_only_of_pairs_that_differ_and_if_wanted() -> None:
    assert texts_in(record_of(raw_pair(DENIED))) == (None, None, None)
    assert texts_in(record_of(raw_pair(), KEEPING)) == (None, None, None)
    assert texts_in(record_of(raw_pair(answer("", outcome="timeout")), KEEPING)) == (None, None, None)
    assert texts_in(record_of(raw_pair(DENIED), KEEPING)) == ("Where is my refund?", REFUND, DENIED)


def test_kept_texts_are_redacted_and_cut_with_a_mark() -> None:
    record = record_of(raw_pair(f"Not so: ask ann@example.com. {'x' * 50_000}", asked="I am ann@example.com"), KEEPING)
    assert record.prompt_text == "I am [email]"
    assert record.other_text is not None
    assert record.other_text.startswith("Not so: ask [email].")
    assert record.other_text.endswith(" [… of 50029 characters]")
    assert len(record.other_text) < LONGEST_KEPT + 40
    assert "ann@" not in lines_of([row_of(record)]).decode()


def test_a_redaction_that_fails_costs_the_text_and_not_the_record() -> None:
    def broken(text: str) -> str:
        raise RuntimeError(text)

    record = record_of(raw_pair(DENIED), replace(KEEPING, redact=broken))
    assert texts_in(record) == (None, None, None)
    assert record.other.opening == ""
    assert record.equivalent is False
    assert kept_text("a", broken) is None


def test_no_record_has_a_word_of_the_answers_unless_texts_are_kept() -> None:
    """But for the opening, which is redacted and has no digits."""
    row = lines_of([row_of(record_of(raw_pair(f"Sure. {DENIED}", f"Sure. {REFUND}")))]).decode()
    assert "refund" not in row
    assert "Where" not in row


def test_prompts_are_hashed_with_the_key_whatever_the_model() -> None:
    one = hash_prompt(raw_pair(), KEY)
    assert one == hash_prompt(raw_pair(DENIED, id="request-2", request={"temperature": 0.5}), KEY)
    assert one != hash_prompt(raw_pair(asked="Where is my refund"), KEY)
    assert one != hash_prompt(raw_pair(), b"another key of 32 bytes, or more")
    assert len(one) == 32
    assert hash_prompt(raw_pair(), None) == ""
    assert hash_prompt(raw_pair(asked="\ud800"), KEY)


def test_a_class_of_the_service_is_kept_and_a_missing_one_is_found() -> None:
    by = replace(PLAIN, classify=lambda prompt: f"about {prompt}")
    assert record_of(raw_pair(prompt_class="refunds"), by).prompt_class == "refunds"
    assert record_of(raw_pair(asked="x"), by).prompt_class == "about x"


def test_a_schema_of_the_request_is_checked() -> None:
    asked = {"type": "json_schema", "json_schema": {"schema": {"type": "object", "required": ["a"]}}}
    record = record_of(raw_pair('{"b": 1}', '{"a": 1}', request={"response_format": asked}))
    assert (record.control.json, record.other.json) == ("valid", "invalid")
    assert record.equivalent is False


def test_a_failing_measure_makes_no_record() -> None:
    class Down:
        name = "down"
        threshold = 0.5

        def between(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
            raise Unavailable("no server")

    with pytest.raises(Unavailable):
        compare([raw_pair(DENIED)], Comparing(Down()))


@pytest.mark.parametrize(
    "text",
    ["", "\ud800", "\x00\x01", "🙂", "\u202e", "x" * 10_000_000, '{"a":' * 5000],
    ids=lambda text: repr(text[:9]),
)
def test_a_strange_answer_makes_a_record_that_can_be_stored(text: str) -> None:
    pair = from_line(to_line(raw_pair(text)))
    assert isinstance(pair, RawPair)
    for record in (record_of(pair, KEEPING), record_of(raw_pair(text, text), KEEPING)):
        row = json.loads(lines_of([row_of(record)]))
        assert list(row) == sorted(row, key=list(row).index)
        assert row.keys() == COLUMNS.keys()


def test_numbers_that_no_store_can_hold_are_unknown() -> None:
    record = record_of(raw_pair(answer(seconds=float("inf"), status=1 << 70), turn=1 << 80))
    row = row_of(record)
    assert (row["other_seconds"], row["other_status"], row["turn"]) == (None, None, None)


def test_drops_are_a_row_of_their_own() -> None:
    row = dropped_row(Dropped("support", AT, {"queue_full": 3, "disk": 1 << 70}))
    assert row == {"format": 1, "rollout": "support", "at": AT, "reasons": {"queue_full": 3}}
