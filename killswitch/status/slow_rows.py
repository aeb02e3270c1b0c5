"""Slow signals in words, for the table in a terminal and for the status page, from the JSON of the status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from killswitch.model import Verdict
from killswitch.wording import reasons_in_words

COLUMNS = ("slow signal", "verdict", "canary", "control", "worse by", "limit", "age")
NUMBERS = COLUMNS[2:]


def slow_cells(signal: Mapping[str, Any]) -> tuple[str, ...]:
    """In the order of `COLUMNS`. ``worse by``: by how much the canary is worse; ``age``: since it was evaluated."""
    words = signal["words"]
    numbers = (str(words[name]) for name in ("canary", "control", "worse", "limit", "age"))
    return (str(signal["signal"]), Verdict(signal["verdict"]).value, *numbers)


def slow_sentence(signal: Mapping[str, Any]) -> str:
    """What the row of a slow signal does not say: why it has no verdict, or what a breach rests on."""
    if signal["verdict"] == Verdict.HEALTHY:
        return ""
    return reasons_in_words(str(signal["sentence"])).removeprefix(f"{signal['signal']} ")
