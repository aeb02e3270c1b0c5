"""Pairs of one user are not independent: the report says which part of them one user made, and GO waits for others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.doubles.pair_records import pair, write_lines
from tests.integration.shadow.test_shadow_report import RULES, document, report

# all but the refusals, so that few pairs prove a canary
_OFF = (
    *("similarity", "equivalent", "facts", "tool_calls", "language", "errors", "openings", "latency_p95", "format"),
)


@pytest.mark.parametrize(
    ("of_one", "limit", "verdict"),
    [(390, {}, "NOT_YET"), (390, {"one_user": "70%"}, "GO"), (390, {"one_user": False}, "GO"), (300, {}, "GO")],
)
def test_pairs_of_mostly_one_user_are_no_go(
    tmp_path: Path, of_one: int, limit: dict[str, object], verdict: str
) -> None:
    """Half of the pairs is not more than half. Noise pairs, and pairs that were refused for money, do not count."""
    rules = tmp_path / "rules.yaml"
    criteria = {**dict.fromkeys(_OFF, False), "refusals": "20pp", **limit}
    rules.write_text(RULES + f"shadow: {json.dumps({'criteria': criteria})}\n")
    pairs = [pair(number, user="busy" if number < of_one else f"u{number}") for number in range(600)]
    noise = [pair(1_000 + number, kind="noise", user="busy") for number in range(200)]
    unpaid = [pair(2_000 + number, user="busy", other_outcome="budget") for number in range(20)]
    write_lines(tmp_path, [*pairs, *noise, *unpaid])
    decided = document(tmp_path, "--rules", str(rules), "--html", str(tmp_path / "page.html"))["decided"]
    assert decided["verdict"] == verdict
    users = decided["users"]
    assert (users["busiest"], users["known"], users["pairs"], users["share"]) == (of_one, 600, 600, of_one / 600)
    said = f"the busiest made {of_one} of 600 pairs ({of_one / 600:.1%})"
    held_up = "one user made 390 of 600 pairs (65.0%), over 50% (`one_user`); pairs of one user are not independent"
    page = (tmp_path / "page.html").read_text()
    text = " ".join(report(tmp_path, "--rules", str(rules))[1].split())
    for shown_as in (decided["sentence"], page, text):
        assert (held_up in shown_as) == (verdict == "NOT_YET")
    for shown_as in (users["sentence"], page, text):
        assert said in shown_as


def test_a_user_nobody_recorded_is_not_known_and_stops_no_go(tmp_path: Path) -> None:
    """Of pairs without a hash it is not known whose they are. The share is of all pairs, known or not."""
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        RULES + f"shadow: {json.dumps({'criteria': {**dict.fromkeys(_OFF, False), 'refusals': '20pp'}})}\n"
    )
    write_lines(tmp_path, [pair(number, user="") for number in range(600)])
    decided = document(tmp_path, "--rules", str(rules))["decided"]
    assert decided["verdict"] == "GO"
    assert decided["users"]["share"] is None
    assert "not known: no user hash is recorded" in report(tmp_path, "--rules", str(rules))[1]
    write_lines(tmp_path, [pair(number, user="busy" if number < 60 else "") for number in range(600)])
    decided = document(tmp_path, "--rules", str(rules))["decided"]
    assert decided["verdict"] == "GO"
    assert decided["users"]["sentence"] == "the busiest made 60 of 600 pairs (10.0%); not known of 540"
