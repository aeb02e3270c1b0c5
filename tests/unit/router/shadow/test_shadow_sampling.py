"""Which requests are sampled: stable, growing with the percent, and apart from the cohorts of users."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.flags.bucketing import bucket
from killswitch.router.shadow.sampling import asks_control_again, digest_of, place, text_of_id

IDS = [f"request-{number}" for number in range(20_000)]


@given(st.text(), st.text(st.characters(exclude_categories=["Cs"])), st.floats(0, 100), st.floats(0, 100))
def test_growing_the_percent_keeps_the_sampled(salt: str, request_id: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    where = place(digest_of(salt.encode("utf-8", "replace").decode(), request_id))
    assert 0.0 <= where < 100.0
    assert not where < low or where < high


@pytest.mark.parametrize("percent", [1.0, 20.0, 50.0])
def test_the_share_is_the_percent(percent: float) -> None:
    sampled = sum(place(digest_of("shadow/s", one)) < percent for one in IDS)
    assert abs(sampled / len(IDS) - percent / 100) < 0.012


def test_the_noise_floor_is_a_fair_part_of_the_sampled() -> None:
    """A tenth of the sampled at any percent: the two choices are of different digits."""
    for percent in (2.0, 20.0):
        sampled = [digest for one in IDS if place(digest := digest_of("shadow/s", one)) < percent]
        share = sum(asks_control_again(digest, 0.1) for digest in sampled) / len(sampled)
        assert abs(share - 0.1) < 0.05
    assert not any(asks_control_again(digest_of("s", one), 0.0) for one in IDS[:100])
    assert all(asks_control_again(digest_of("s", one), 1.0) for one in IDS[:100])


def test_the_sample_is_not_the_users_of_the_canary() -> None:
    """Where the request id is the user's: those in the canary's buckets are not those whose requests are sampled."""
    in_canary = [one for one in IDS if bucket("s", one) < 20.0]
    both = sum(place(digest_of("shadow/s", one)) < 20.0 for one in in_canary)
    assert abs(both / len(in_canary) - 0.2) < 0.03


@pytest.mark.parametrize(
    ("request_id", "text"),
    [
        (17, "17"),
        (b"ab\xff", "ab\ufffd"),
        ("half \ud800", "half \ufffd"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (None, None),
        (True, None),
        (object(), None),
        (["a"], None),
    ],
)
def test_unusual_request_ids_are_taken_as_text(request_id: object, text: str | None) -> None:
    assert text_of_id(request_id) == text
