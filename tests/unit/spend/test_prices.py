"""Prices: exact, valid from a date, unknown where no one has said them; and what is refused of a file, all at once."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.errors import BadSettings
from killswitch.spend.prices import MILLION, Price, PriceList
from killswitch.timestamps import DAY, from_iso
from killswitch.token_usage import Usage

NEW_YEAR = from_iso("2026-01-01T00:00:00Z")
ENTRY = {"model": "gpt-5", "valid_from": "2026-01-01", "input": 1.25, "output": 10}


def of(tmp_path: Path, *entries: dict[str, object]) -> PriceList:
    file = tmp_path / "prices.json"
    file.write_text(json.dumps({"prices": entries}))
    return PriceList.from_file(file)


def problems_of(file: Path, text: str) -> tuple[str, ...]:
    file.write_text(text)
    with pytest.raises(BadSettings) as refused:
        PriceList.from_file(file)
    return refused.value.problems


def test_a_price_is_whole_micro_dollars(tmp_path: Path) -> None:
    price = of(tmp_path, {**ENTRY, "cached_input": 0.125, "cache_write": 1.5625, "reasoning": "12.5"}).price(
        "gpt-5", NEW_YEAR
    )
    assert price is not None
    assert (price.input, price.cached_input, price.cache_write) == (1_250_000, 125_000, 1_562_500)
    assert (price.output, price.reasoning) == (10_000_000, 12_500_000)


def test_what_is_not_stated_costs_as_input_or_output(tmp_path: Path) -> None:
    """Cached and written input cost as input, reasoning as output: never less than what is stated."""
    price = of(tmp_path, ENTRY).price("gpt-5", NEW_YEAR)
    assert price is not None
    assert price.cached_input == price.cache_write == price.input
    assert price.reasoning == price.output


def test_yaml_says_the_same_as_json(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text("prices:\n- {model: gpt-5, valid_from: 2026-01-01, input: 1.25, output: 1e1}\n")
    assert PriceList.from_file(file).price("gpt-5", NEW_YEAR) == of(tmp_path, ENTRY).price("gpt-5", NEW_YEAR)


def test_a_price_of_tomorrow_is_not_valid_today(tmp_path: Path) -> None:
    prices = of(tmp_path, ENTRY, {**ENTRY, "valid_from": "2026-06-01T09:00:00+02:00", "input": 2})
    change = from_iso("2026-06-01T07:00:00Z")

    def input_at(at: float) -> int | None:
        price = prices.price("gpt-5", at)
        return None if price is None else price.input

    assert input_at(NEW_YEAR - 0.001) is None
    assert input_at(change - 0.001) == 1_250_000
    assert input_at(change) == input_at(change + 400 * DAY) == 2_000_000


def test_an_unknown_model_has_no_price(tmp_path: Path) -> None:
    assert of(tmp_path, ENTRY).price("gpt-5-mini", NEW_YEAR) is None


def test_a_free_model_is_stated_as_free(tmp_path: Path) -> None:
    price = of(tmp_path, {**ENTRY, "input": 0, "output": 0}).price("gpt-5", NEW_YEAR)
    assert price is not None
    assert price.at_most(1_000, 1_000) == 0


def test_a_price_that_looks_like_a_typo_is_asked_about(tmp_path: Path) -> None:
    """It is a warning alone: prices do fall to a tenth."""
    later = {**ENTRY, "valid_from": "2026-06-01"}
    slipped = of(tmp_path, ENTRY, {**later, "input": 12.5, "output": 12.5})
    fix = "; fix: compare it with the provider's price list"
    assert slipped.odd == tuple(
        f"price of gpt-5 from 2026-06-01: {kind} goes from $1.25 to $12.50{fix}"
        for kind in ("input", "cached_input", "cache_write")
    )
    (swapped,) = of(tmp_path, {**ENTRY, "input": 10, "output": 1.25}).odd
    assert "input costs more than output" in swapped
    assert of(tmp_path, ENTRY, {**later, "input": 0.5, "output": 40}).odd == ()
    assert of(tmp_path, {**ENTRY, "output": 0}, {**later, "input": 0}).odd == (), "what costs nothing may begin to cost"


def test_all_problems_are_named_at_once(tmp_path: Path) -> None:
    """Each problem names its entry and what to write instead."""
    text = """{"prices": [
      {"model": "a", "valid_from": "2026-01-01", "input": -1, "output": "ten", "ouput": 3},
      {"model": "b", "valid_from": "tomorrow", "input": 10001, "output": 0.0000025},
      {"model": "c", "valid_from": "2026-01-01", "input": true},
      {"model": " ", "valid_from": 20260101, "input": 1.23456789, "output": NaN},
      7,
      {"model": "d", "valid_from": "2026-01-01", "input": 1, "output": 2},
      {"model": "d", "valid_from": "2026-01-01T00:00:00Z", "input": 1, "output": 2}
    ]}"""
    problems = problems_of(tmp_path / "prices.json", text)
    expected = [
        "entry 1 (a): there is no key `ouput`; fix: remove it, or write one of model,",
        "entry 1 (a): `input` is negative (-1); fix: write 0 or more",
        "entry 1 (a): `output` is 'ten', no number; fix: write dollars per million tokens, such as 2.50",
        "entry 2 (b): `valid_from` is no time; fix: write a date in UTC",
        "entry 2 (b): `input` is 10001 dollars per million tokens, over 10,000; fix: if it is micro-dollars,",
        "entry 2 (b): `output` is 0.0000025 dollars per million tokens, under 0.001; fix: if it is per token,",
        "entry 3 (c): `input` is True, no number",
        "entry 3 (c): `output` is missing; fix: write dollars per million tokens",
        "entry 4: `model` is no name; fix: write the one that requests are sent with",
        "entry 4: `valid_from` is no time",
        "entry 4: `input` is 1.23456789; fix: write at most six digits after the point",
        "entry 4: `output` is 'NaN', no number",
        "entry 5: no object; fix: write one with model",
        "entry 7 (d): a second price from 2026-01-01; fix: keep one of the two",
    ]
    missing = [one for one in expected if not any(one in problem for problem in problems)]
    assert not missing, "\n".join(problems)
    assert len(problems) == len(expected)
    assert all(str(tmp_path / "prices.json") in problem for problem in problems)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("prices.json", "prices:\n- {}", "not JSON"),
        ("prices.json", "[1]", "no object; fix: write one with prices"),
        ("prices.json", "{}", "`prices` is no list"),
        ("prices.json", '{"prices": []}', "`prices` is no list"),
        ("prices.json", '{"prices": [{"model": "a", "model": "b"}]}', "`model` is given twice"),
        ("prices.json", "9" * 2_000_000, "over 1000000"),
        ("prices.yaml", "prices: [", "not YAML"),
        ("prices.yaml", "prices: &a\n- *a\n", "aliases"),
        ("prices.yaml", "", "no object; fix: write one with prices"),
        ("prices.yaml", "prices:\n- {model: a, input: 1, input: 2}", "`input` is given twice"),
        (
            "prices.yaml",
            "prices:\n- {model: a, valid_from: 2026-01-01, input: .inf, output: 0x10}",
            "`input` is '.inf', no number",
        ),
    ],
)
def test_a_file_that_is_no_price_list_is_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    assert any(said in problem for problem in problems_of(tmp_path / name, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match=r"none\.json: cannot be read"):
        PriceList.from_file(tmp_path / "none.json")


rates = st.integers(0, 10_000 * MILLION)
prices = st.builds(Price, st.just("m"), st.just(0.0), rates, rates, rates, rates, rates)
tokens = st.integers(0, 2_000_000)
usages = st.builds(Usage, tokens, tokens, tokens, tokens, tokens)


@given(prices, usages)
def test_a_cost_is_exact_and_rounded_up(price: Price, usage: Usage) -> None:
    kinds = ("input", "cached_input", "cache_write", "output", "reasoning")
    exact = sum((Decimal(getattr(price, kind)) * getattr(usage, kind) for kind in kinds), Decimal(0)) / MILLION
    assert exact <= price.cost(usage) < exact + 1


@given(prices, usages)
def test_no_answer_within_its_bounds_costs_more_than_reserved(price: Price, usage: Usage) -> None:
    """However the tokens are divided into cached, written, and reasoning."""
    read = usage.input + usage.cached_input + usage.cache_write
    assert price.cost(usage) <= price.at_most(read, usage.output + usage.reasoning)


@given(st.decimals(min_value="0.001", max_value="10000", places=6))
def test_no_price_passes_through_a_float(tmp_path_factory: pytest.TempPathFactory, dollars: Decimal) -> None:
    file = tmp_path_factory.getbasetemp() / "exact.json"
    file.write_text(f'{{"prices": [{{"model": "m", "valid_from": "2026-01-01", "input": {dollars:f}, "output": 1}}]}}')
    price = PriceList.from_file(file).price("m", NEW_YEAR)
    assert price is not None
    assert price.input == dollars * MILLION
