"""OFREP's documents: statuses, reasons, error codes and entity tags, for any request body."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.flags import flag
from killswitch.flags.bucketing import bucket
from killswitch.flags.completion import complete
from killswitch.flags.flag import Flag
from killswitch.flags.transitions import Actor
from killswitch.web import flagd, ofrep

NAME = "support-copilot"


def armed(percent: float = 50.0, stage: str = "custom") -> Flag:
    old, new = "model-old", "model-new"
    return flag.arm(
        None, rollout=NAME, control=old, canary=new, percent=percent, stage=stage, now=1e9, by="me", salt="s"
    )


def tripped() -> Flag:
    person = Actor.PERSON
    return flag.trip(armed(), rollout=NAME, reason="x", rules=(), incident="i", now=1e9, by="me", actor=person)


def body(user: object = "u", **context: Any) -> bytes:
    return json.dumps({"context": {"targetingKey": user, **context}}).encode()


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 9900))
def test_one_flag_is_split_by_the_sticky_hash(user: str, hundredths: int) -> None:
    percent = hundredths / 100
    answer = ofrep.evaluate({NAME: armed(percent)}, NAME, body(user))
    canary = bucket("s", user) < percent
    assert answer.status == 200
    assert answer.document == {
        "key": NAME,
        "value": "model-new" if canary else "model-old",
        "variant": "canary" if canary else "control",
        "reason": "SPLIT",
        "metadata": {"generation": 1, "state": "armed", "stage": "custom"},
    }


def test_a_complete_rollout_gives_everyone_the_new_model() -> None:
    """Also where the flags could not be read of late, and to a file of flagd's, which knows no states."""
    done = complete(armed(99.0), rollout=NAME, reason="", now=1e9, by="me", actor=Actor.PERSON)
    for stale in (False, True):
        answer = ofrep.evaluate({NAME: done}, NAME, body("u", cohort="canary"), stale=stale)
        assert answer.document is not None
        assert (answer.document["value"], answer.document["reason"]) == ("model-new", "STATIC")
        document = flagd.render({NAME: done}, stale=stale).document
        assert document is not None
        definition = document["flags"][NAME]
        assert definition["variants"] == {"control": "model-new"}
        assert (definition["state"], definition["defaultVariant"]) == ("ENABLED", "control")
        assert "targeting" not in definition


@pytest.mark.parametrize(
    ("held", "stale", "reason"),
    [(tripped(), False, "DISABLED"), (armed(99.0), True, "STALE"), (tripped(), True, "STALE")],
)
def test_nobody_reaches_a_canary_that_is_tripped_or_out_of_sight(held: Flag, stale: bool, reason: str) -> None:
    for number in range(200):
        answer = ofrep.evaluate({NAME: held}, NAME, body(f"u{number}", cohort="canary"), stale=stale)
        assert answer.document is not None
        assert (answer.document["value"], answer.document["reason"]) == ("model-old", reason)


def test_a_pin_wins_while_armed_and_not_in_the_shadow_stage() -> None:
    answer = ofrep.evaluate({NAME: armed(0.0)}, NAME, body(cohort="canary"))
    assert answer.document is not None
    assert (answer.document["value"], answer.document["reason"]) == ("model-new", "TARGETING_MATCH")
    answer = ofrep.evaluate({NAME: armed(0.0, "shadow")}, NAME, body(cohort="canary"))
    assert answer.document is not None
    assert answer.document["value"] == "model-old"


def test_a_shadowed_canary_is_named_in_no_answer() -> None:
    """In stage shadow all three endpoints know control only: the SDK alone asks the canary, unseen."""
    flags = {NAME: replace(armed(0.0, "shadow"), shadow_percent=100.0, shadow_classes={"billing": 100.0})}
    asked = body(cohort="canary")
    for answer in (ofrep.evaluate(flags, NAME, asked), ofrep.evaluate_all(flags, asked), flagd.render(flags)):
        assert "model-old" in answer.body.decode()
        assert "model-new" not in answer.body.decode()


def test_an_unknown_flag_is_404_and_names_the_known_ones() -> None:
    answer = ofrep.evaluate({NAME: armed()}, "nobody", body())
    assert answer.status == 404
    assert answer.document is not None
    assert answer.document["errorCode"] == "FLAG_NOT_FOUND"
    assert NAME in answer.document["errorDetails"]


BAD_BODIES = [
    (b"{", "PARSE_ERROR"),
    (b"\xff", "PARSE_ERROR"),
    (b"[" * 60_000, "PARSE_ERROR"),
    (b"[]", "INVALID_CONTEXT"),
    (b'{"context": 7}', "INVALID_CONTEXT"),
    (b" " * 70_000, "INVALID_CONTEXT"),
    (b"", "TARGETING_KEY_MISSING"),
    (b"{}", "TARGETING_KEY_MISSING"),
    (b'{"context": {"targetingKey": null}}', "TARGETING_KEY_MISSING"),
    (b'{"context": {"targetingKey": 7}}', "TARGETING_KEY_MISSING"),
]


@pytest.mark.parametrize(("bad", "code"), BAD_BODIES, ids=range(len(BAD_BODIES)))
def test_a_bad_body_is_400_with_its_error_code(bad: bytes, code: str) -> None:
    one = ofrep.evaluate({NAME: armed()}, NAME, bad)
    every = ofrep.evaluate_all({NAME: armed()}, bad)
    assert (one.status, every.status) == (400, 400)
    assert one.document is not None
    assert every.document is not None
    assert one.document["errorCode"] == every.document["errorCode"] == code
    assert one.document["key"] == NAME


@given(st.binary() | st.text().map(str.encode))
def test_no_body_makes_it_raise(garbage: bytes) -> None:
    assert ofrep.evaluate({NAME: armed()}, NAME, garbage).status in (200, 400)


def test_all_flags_have_an_entity_tag_and_304_while_unchanged() -> None:
    """All flags are answered with an entity tag, and with 304 while nothing changes."""
    flags = {NAME: armed()}
    first = ofrep.evaluate_all(flags, body())
    assert first.status == 200
    assert first.document is not None
    assert [evaluation["key"] for evaluation in first.document["flags"]] == [NAME]
    assert first.etag is not None
    for header in (first.etag, f"W/{first.etag}", f'"other", {first.etag}', "*"):
        again = ofrep.evaluate_all(flags, body(), if_none_match=header)
        assert (again.status, again.document, again.body, again.etag) == (304, None, b"", first.etag)
    assert ofrep.evaluate_all(flags, body(), if_none_match='"other"').status == 200
    assert ofrep.evaluate_all({NAME: tripped()}, body(), if_none_match=first.etag).status == 200


def test_the_entity_tag_differs_for_another_users_answer() -> None:
    """The entity tag is of the answer: the answer for another user has another tag."""
    flags = {NAME: armed(50.0)}
    users = {bucket("s", f"u{n}") < 50.0: f"u{n}" for n in range(50)}
    tags = {ofrep.evaluate_all(flags, body(user)).etag for user in users.values()}
    assert len(tags) == 2


def test_the_body_is_the_documents_json() -> None:
    answer = ofrep.evaluate({NAME: armed()}, NAME, body())
    assert json.loads(answer.body) == answer.document
