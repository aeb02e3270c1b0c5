"""Selectors: PromQL's grammar, nothing that could end a query, and only regular expressions RE2 accepts."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from killswitch.model import Matcher, Selector
from killswitch.rules.selectors import (
    SelectorError,
    check_regex,
    matcher_in_words,
    matchers_from_mapping,
    parse_matchers,
    parse_selector,
    selector_in_words,
)

labels = st.from_regex(r"[a-zA-Z][a-zA-Z0-9_]{0,20}", fullmatch=True).filter(lambda label: label != "le")
printable = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), max_size=60)
matchers = st.builds(Matcher, label=labels, operator=st.sampled_from(["=", "!="]), value=printable)


@given(st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,30}", fullmatch=True), st.lists(matchers, max_size=5).map(tuple))
@settings(deadline=None)
def test_a_selector_reads_back_as_it_was_written(metric: str, own: tuple[Matcher, ...]) -> None:
    assert parse_selector(selector_in_words(Selector(metric, own))) == (metric, own)


@given(
    st.text(max_size=200) | st.from_regex(r"""[a-z]{1,3}\{([a-z]{1,2}(=|=~|!=)"[^"]{0,9}",?){0,3}\}?""", fullmatch=True)
)
@settings(deadline=None)
def test_any_text_is_a_selector_or_refused_in_one_line_with_a_fix(text: str) -> None:
    refusal: SelectorError | None = None
    try:
        metric, found = parse_selector(text)
    except SelectorError as error:
        refusal = error
    else:
        assert metric is None or re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", metric)
        assert all(matcher.value.isprintable() for matcher in found)
    assert refusal is None or (refusal.fix and str(refusal).isprintable())


def test_matchers_are_read_with_all_operators_and_quotes() -> None:
    assert parse_matchers("""{a="1", b!='2',c=~"x|y" , d!~"z\\\\."}""") == (
        Matcher("a", "=", "1"),
        Matcher("b", "!=", "2"),
        Matcher("c", "=~", "x|y"),
        Matcher("d", "!~", "z\\."),
    )


def test_a_value_with_quotes_stays_a_value() -> None:
    hostile = 'x"} or vector(1) or up{a="'
    (matcher,) = matchers_from_mapping({"service": hostile})
    assert matcher.value == hostile
    assert matcher_in_words(matcher) == 'service="x\\"} or vector(1) or up{a=\\""'


def test_a_list_of_values_means_any_of_them() -> None:
    (matcher,) = matchers_from_mapping({"model": ["gpt-4.1", "a b"]})
    assert matcher.operator == "=~"
    check_regex(matcher.value)
    assert re.fullmatch(matcher.value, "gpt-4.1")
    assert re.fullmatch(matcher.value, "a b")
    assert not re.fullmatch(matcher.value, "gpt-4x1")


# a value that begins like a matcher is refused
values = printable.filter(lambda value: bool(value) and not value.startswith(("=~", "!~", "!=")))


@given(st.lists(values, min_size=1, max_size=5))
@settings(deadline=None)
def test_a_list_of_any_printable_values_matches_exactly_those(values: list[str]) -> None:
    (matcher,) = matchers_from_mapping({"model": values})
    assert all(re.fullmatch(matcher.value, value) for value in values)
    assert not re.fullmatch(matcher.value, "".join(values) + "#")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sum(x)",
        "x[5m]",
        "x offset 5m",
        "x{a=1}",
        'x{a="b"',
        'x{a="b"}}',
        'x{a="b"} or up',
        'x{a="b" b="c"}',
        'x{"a"="b"}',
        'x{__name__="y"}',
        'x{le="0.5"}',
        'x{a="\\q"}',
        'x{a="b\\n"}',
        "x;y",
        "x#",
        "x" * 300,
        "x{" + ",".join(f'a{i}="b"' for i in range(40)) + "}",
        'x{a="' + "b" * 600 + '"}',
    ],
)
def test_what_is_no_plain_selector_is_refused(text: str) -> None:
    with pytest.raises(SelectorError):
        parse_selector(text)


@pytest.mark.parametrize(
    ("values", "fix"),
    [
        ({"bad-name": "x"}, "use letters, digits and _, beginning with a letter or _"),
        ({"country": False}, 'put the value in quotes: country: "…"'),
        ({"a": 0}, 'put the value in quotes: a: "…"'),
        ({"\x1f": 0}, "use letters, digits and _, beginning with a letter or _"),
        ({"a": 7}, 'put the value in quotes: a: "…"'),
        ({"a": "=~x"}, """write the matcher in PromQL, in quotes: 'a=~"…"'"""),
        ({"a": []}, "name at least one value"),
        ({"a": "x\x00"}, "use at most 512 printable characters on one line"),
        ({"a": "x\ny"}, "use at most 512 printable characters on one line"),
    ],
)
def test_a_mapping_of_matchers_is_refused_with_a_fix(values: dict[str, object], fix: str) -> None:
    with pytest.raises(SelectorError) as refused:
        matchers_from_mapping(values)
    assert refused.value.fix.strip() == fix


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "ok|success",
        "5..",
        "gpt-4(-mini)?",
        "[a-z0-9_-]+",
        "(?i)ok",
        "a{2,3}b{10}",
        r"v1\.2",
        "^a$",
        "x.*?y",
        "(a|)b",
        r"\d+",
    ],
)
def test_a_plain_regular_expression_is_accepted(pattern: str) -> None:
    check_regex(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "(?=a)",
        "(?<!a)b",
        r"(a)\1",
        "(?P<n>a)",
        "a(?i)b",
        "a**",
        "a*+",
        "*a",
        "(a",
        "a)",
        "[a",
        "a{1001}",
        "(a{100}){100}",
        "a{3,2}",
        "a{",
        r"\Z",
        r"\u0041",
        r"\é",
        "(" * 30 + ")" * 30,
        "[z-a]",
        "a\\",
        "[[:foo:]]",
    ],
)
def test_a_regular_expression_re2_might_refuse_is_refused(pattern: str) -> None:
    with pytest.raises(SelectorError) as refused:
        check_regex(pattern)
    assert str(refused.value).isprintable()
