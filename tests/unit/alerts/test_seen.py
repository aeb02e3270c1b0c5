"""The memory of alerts: bounded, of each fingerprint the newest beginning, and never less than was done."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.alerts.seen import MAX_BYTES, MAX_SEEN, Did, Seen, SeenAlert, from_document, to_document, with_seen
from killswitch.errors import BadDocument

AT = 1_776_608_531.0


def test_it_is_read_as_it_was_written() -> None:
    seen: Seen = {"f1": SeenAlert(AT, 7, Did.HELD), "f2": SeenAlert(AT + 1.5, 0, Did.NOTHING)}
    assert from_document(to_document(seen, rollout="r"), rollout="r") == seen


def test_the_newest_are_kept_and_the_document_is_small() -> None:
    seen: Seen = {}
    for number in range(MAX_SEEN + 100):
        seen = with_seen(seen, f"{number:064x}", SeenAlert(AT + number, 2**53, Did.TRIPPED), now=AT + 1e6)
    assert len(seen) == MAX_SEEN
    assert f"{MAX_SEEN + 99:064x}" in seen
    assert f"{0:064x}" not in seen
    assert len(to_document(seen, rollout="r" * 63)) < MAX_BYTES


@pytest.mark.parametrize(
    ("known", "new", "kept"),
    [
        (SeenAlert(AT, 1, Did.HELD), SeenAlert(AT, 1, Did.TRIPPED), SeenAlert(AT, 1, Did.TRIPPED)),
        (SeenAlert(AT, 1, Did.HELD), SeenAlert(AT - 5, 1, Did.TRIPPED), SeenAlert(AT, 1, Did.TRIPPED)),
        (SeenAlert(AT, 1, Did.TRIPPED), SeenAlert(AT, 1, Did.NOTHING), SeenAlert(AT, 1, Did.TRIPPED)),
        (SeenAlert(AT, 1, Did.NOTHING), SeenAlert(AT, 2, Did.NOTHING), SeenAlert(AT, 1, Did.NOTHING)),
        (SeenAlert(AT, 1, Did.TRIPPED), SeenAlert(AT + 5, 2, Did.NOTHING), SeenAlert(AT + 5, 2, Did.NOTHING)),
    ],
)
def test_of_a_fingerprint_the_newest_beginning_is_kept(known: SeenAlert, new: SeenAlert, kept: SeenAlert) -> None:
    assert with_seen({"f": known}, "f", new, now=AT + 60.0) == {"f": kept}


def test_a_beginning_of_a_clock_that_was_ahead_gives_way() -> None:
    ahead, new = SeenAlert(AT + 86400.0, 1, Did.TRIPPED), SeenAlert(AT, 1, Did.HELD)
    assert with_seen({"f": ahead}, "f", new, now=AT + 5.0) == {"f": new}


@given(st.lists(st.builds(SeenAlert, st.integers(0, 9).map(float), st.integers(1, 3), st.sampled_from(Did))))
def test_a_beginning_once_seen_is_never_forgotten(alerts: list[SeenAlert]) -> None:
    seen: Seen = {}
    for one in alerts:
        seen = with_seen(seen, "f", one, now=10.0)
        assert seen["f"].covers(one.starts_at, now=10.0)


@pytest.mark.parametrize(
    "value", [b"", b"{}", to_document({}, rollout="other"), b'{"format":1,"rollout":"r","alerts":7}']
)
def test_a_document_that_is_none_is_refused(value: bytes) -> None:
    with pytest.raises(BadDocument):
        from_document(value, rollout="r")
