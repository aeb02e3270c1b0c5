"""The lines of a flag's history say what was done, and can be read back whatever their texts are."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.errors import BadDocument
from killswitch.flags import flag as flags
from killswitch.flags import pinning
from killswitch.flags.change import (
    MAX_DOCUMENT_BYTES,
    Deed,
    FlagChange,
    FlagSummary,
    change_of,
    deed_of,
    from_document,
    summary_of,
    to_document,
)
from killswitch.flags.completion import complete
from killswitch.flags.flag import Flag
from killswitch.flags.shadow_share import ShadowShare
from killswitch.flags.transitions import Actor, State

AT = 1_790_000_000.0
NAME = "support-copilot"


def armed(stage: str = "ramp_5", percent: float = 5.0) -> Flag:
    return flags.arm(
        None, rollout=NAME, control="old", canary="new", percent=percent, stage=stage, now=AT, by="ann", salt="s"
    )


def staged(flag: Flag, stage: str, percent: float, shadow: ShadowShare | None = None) -> Flag:
    return flags.set_stage(
        flag, rollout=NAME, percent=percent, stage=stage, now=AT, by="ann", actor=Actor.PERSON, shadow=shadow
    )


def tripped(flag: Flag) -> Flag:
    return flags.trip(
        flag, rollout=NAME, reason="too slow", rules=("latency",), incident="x.1", now=AT, by="kill-1",
        actor=Actor.CONTROLLER,
    )  # fmt: skip


def pinned(flag: Flag) -> Flag:
    return pinning.pin(
        flag, rollout=NAME, reason="refunds", rules=(), incident="x.1", now=AT, by="ann", actor=Actor.PERSON
    )


def rearmed(flag: Flag) -> Flag:
    return flags.rearm(flag, rollout=NAME, reason="fixed", now=AT, by="ann")


CHANGES = [
    (None, armed(), Deed.ARM),
    (armed(), tripped(armed()), Deed.TRIP),
    (tripped(armed()), rearmed(tripped(armed())), Deed.REARM),
    (armed(), staged(armed(), "ramp_25", 25.0), Deed.RAISE),
    (armed(), staged(armed(), "ramp_1", 1.0), Deed.LOWER),
    (armed("aa", 50.0), staged(armed("aa", 50.0), "ramp_5", 5.0), Deed.RAISE),
    (armed("shadow", 0.0), staged(armed("shadow", 0.0), "shadow", 0.0, ShadowShare(20.0)), Deed.RAISE),
    (staged(armed("shadow", 0.0), "shadow", 0.0, ShadowShare(20.0)), armed("shadow", 0.0), Deed.LOWER),
    (armed(), pinned(armed()), Deed.PIN),
    (
        pinned(armed()),
        pinning.unpin(pinned(armed()), rollout=NAME, reason="well", now=AT, by="ann", actor=Actor.PERSON),
        Deed.UNPIN,
    ),
    (
        armed(),
        complete(armed(), rollout=NAME, reason="well", now=AT, by="ann", actor=Actor.PERSON),
        Deed.COMPLETE,
    ),
    (tripped(armed()), None, Deed.END),
    (armed(), armed(), None),
    (None, None, None),
]


class TestWhatWasDone:
    @pytest.mark.parametrize(("before", "after", "deed"), CHANGES)
    def test_two_flags_say_what_was_done(self, before: Flag | None, after: Flag | None, deed: Deed | None) -> None:
        assert deed_of(before, after) is deed

    @pytest.mark.parametrize(("before", "after", "deed"), CHANGES)
    def test_a_line_says_before_and_after(self, before: Flag | None, after: Flag | None, deed: Deed | None) -> None:
        change = change_of(NAME, before, after, at=AT, by="ann", origin="test")
        if deed is None:
            assert change is None
        else:
            assert change is not None
            assert (change.before, change.after) == (summary_of(before), summary_of(after))
            assert from_document(to_document(change), rollout=NAME) == change

    def test_a_trip_gives_the_reason_of_the_flag(self) -> None:
        change = change_of(NAME, armed(), tripped(armed()), at=AT, by="kill-1", origin="controller kill-1")
        assert change is not None
        assert change.reason == "too slow"

    def test_a_hold_has_a_line_though_the_flag_stays(self) -> None:
        change = change_of(NAME, armed(), armed(), at=AT, by="ann", origin="Slack", reason="lunch", deed=Deed.HOLD)
        assert change is not None
        assert (change.deed, change.before, change.reason) == (Deed.HOLD, change.after, "lunch")


class TestTheDocumentOfALine:
    @given(st.text(max_size=5000), st.text(max_size=500), st.text(max_size=500))
    def test_any_text_fits_and_is_read_back(self, reason: str, by: str, origin: str) -> None:
        summary = FlagSummary(State.ARMED, 2**53, "s" * 5000, 5.0, by or "x", origin or "y", reason)
        change = FlagChange(NAME, AT, Deed.TRIP, by, origin, reason, summary, summary)
        value = to_document(change)
        assert len(value) <= MAX_DOCUMENT_BYTES
        json.loads(value)

    @pytest.mark.parametrize(
        "damage",
        [
            {"deed": "explode"}, {"at": "soon"}, {"before": {"state": "melted"}}, {"format": 2}, {"rollout": "other"},
            {"by": 7}, {"after": []},
        ],
    )  # fmt: skip
    def test_a_damaged_line_is_refused_by_name(self, damage: dict[str, object]) -> None:
        change = change_of(NAME, None, armed(), at=AT, by="ann", origin="test")
        assert change is not None
        document = json.loads(to_document(change)) | damage
        with pytest.raises(BadDocument):
            from_document(json.dumps(document).encode(), rollout=NAME)

    def test_control_characters_do_not_reach_a_terminal(self) -> None:
        change = change_of(NAME, None, armed(), at=AT, by="a\x1b[31mnn", origin="t\nest")
        assert change is not None
        read = from_document(to_document(replace(change)), rollout=NAME)
        assert (read.by, read.origin) == ("a[31mnn", "t est")
