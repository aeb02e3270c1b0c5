"""Slow signals as the status shows them: each signal of the rule file, and UNKNOWN with why where there is nothing."""

from __future__ import annotations

import json
from dataclasses import replace

from killswitch.model import Reason, Verdict
from killswitch.slow.shown import signals_shown
from killswitch.slow.standing import SignalStanding, SlowStanding, from_document, to_document
from killswitch.slow_settings import SlowSettings
from tests.doubles.warehouses import signal_of

MONDAY = 1_776_664_800.0  # 2026-04-20 06:00 UTC
SETTINGS = SlowSettings("duckdb:///x", "select", "user_id", "day", (signal_of(),))
CSAT = SignalStanding(
    signal_of().name, Verdict.BREACH, None, "csat 64.4 (canary) under control 69.8 - 3",
    canary=64.4, control=69.8, worse=5.4, limit=3.0,
)  # fmt: skip
FOUND = SlowStanding("copilot", 2, MONDAY, MONDAY + 60, (CSAT,))


def test_a_verdict_has_its_numbers_and_its_age() -> None:
    kept = from_document(to_document(FOUND), rollout="copilot")
    (one,) = (shown.document() for shown in signals_shown(SETTINGS, kept, 2, MONDAY + 3 * 3600))
    assert (one["verdict"], one["worse"], one["limit"], one["age_seconds"]) == ("BREACH", 5.4, 3.0, 10_800)
    assert one["words"] == {"canary": "64.40", "control": "69.80", "worse": "+5.40", "limit": "3", "age": "3h"}
    json.dumps(one, allow_nan=False)


def test_a_share_is_shown_in_percent() -> None:
    share = replace(CSAT, canary=0.031, control=0.012, worse=0.019, limit=0.01, as_share=True)
    (one,) = signals_shown(SETTINGS, replace(FOUND, signals=(share,)), 2, MONDAY)
    words = one.document()["words"]
    assert (words["canary"], words["worse"], words["limit"]) == ("3.10%", "+1.90 pp", "1 pp")


def test_what_was_found_of_another_generation_or_signal_is_unknown() -> None:
    others = (None, replace(FOUND, generation=1), replace(FOUND, signals=()))
    for found in others:
        (one,) = (shown.document() for shown in signals_shown(SETTINGS, found, 2, MONDAY))
        assert (one["verdict"], one["canary"], one["age_seconds"]) == ("UNKNOWN", None, None)
        assert one["sentence"] == "no evaluation of this generation yet; there is one a day"


def test_what_could_not_be_read_says_so() -> None:
    (one,) = signals_shown(SETTINGS, None, 2, MONDAY, "the newest evaluation could not be read: etcd is down")
    assert "etcd is down" in one.document()["sentence"]


def test_an_age_is_never_negative() -> None:
    unknown = replace(CSAT, verdict=Verdict.UNKNOWN, reason=Reason.STALE, worse=None)
    (one,) = signals_shown(SETTINGS, replace(FOUND, signals=(unknown,)), 2, MONDAY - 60)
    assert one.document()["age_seconds"] == 0
