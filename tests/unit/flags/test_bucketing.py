"""The sticky hash: the published vectors, every percent, and keys of any kind."""

from __future__ import annotations

import hashlib
import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.flags.bucketing import UNROUTABLE, bucket

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "routing.json").read_text())


def formula(data: bytes) -> float:
    return (int(hashlib.sha256(data).hexdigest()[:8], 16) % 10000) / 100


@pytest.mark.parametrize("number", range(len(VECTORS["vectors"])))
def test_every_published_vector_gets_its_bucket(number: int) -> None:
    vector = VECTORS["vectors"][number]
    key = bytes.fromhex(vector["key_hex"]) if "key_hex" in vector else vector["key"]
    assert bucket(vector["salt"], key) == vector["bucket"]


def test_the_published_vectors_cover_empty_emoji_and_long_keys() -> None:
    """The published vectors cover the empty key, emoji and ten kilobytes."""
    keys = [vector.get("key", "") for vector in VECTORS["vectors"]]
    assert "" in keys
    assert "😀" in keys
    assert max(len(key.encode("utf-8", "surrogatepass")) for key in keys) >= 10_000
    assert len({vector["salt"] for vector in VECTORS["vectors"]}) >= 5


@pytest.mark.parametrize("decision", VECTORS["decisions"], ids=lambda decision: str(decision["percent"]))
def test_every_published_decision_is_bucket_below_percent(decision: dict[str, Any]) -> None:
    """Every published decision follows from "bucket below percent"."""
    assert (bucket(decision["salt"], decision["key"]) < decision["percent"]) is decision["canary"]


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_a_bucket_is_the_formula_over_utf_8(salt: str, key: str) -> None:
    assert bucket(salt, key) == formula((salt + key).encode())


@given(st.text(), st.text())
def test_a_bucket_is_a_hundredth_from_0_to_99_99_for_any_text(salt: str, key: str) -> None:
    """A bucket is a hundredth from 0 to 99.99 for any text, also with surrogates."""
    place = bucket(salt, key)
    assert 0.0 <= place <= 99.99
    assert place == round(place, 2)


def test_a_lone_surrogate_counts_as_the_replacement_character() -> None:
    """A lone surrogate counts as the replacement character, and a split pair as its character."""
    assert bucket("", "a\ud800b") == bucket("", "a\ufffdb")
    assert bucket("", "\ud83d\ude00") == bucket("", "😀")
    assert bucket("\ud83d", "\ude00") == bucket("", "😀")


def test_bytes_integers_and_uuids_are_keys_by_their_plain_text() -> None:
    assert bucket("s", b"user-1") == bucket("s", bytearray(b"user-1")) == bucket("s", memoryview(b"user-1"))
    assert bucket("s", b"user-1") == bucket("s", "user-1")
    assert bucket("s", -42) == bucket("s", "-42")
    name = uuid.UUID("6F9619FF-8B86-D011-B42D-00CF4FC964FF")
    assert bucket("s", name) == bucket("s", "6f9619ff-8b86-d011-b42d-00cf4fc964ff")


class Hostile:
    """An object whose every operator raises or lies."""

    def __radd__(self, other: object) -> object:
        return self

    def encode(self) -> object:
        return object()

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    def __hash__(self) -> int:
        raise RuntimeError

    def __str__(self) -> str:
        raise RuntimeError


class HostileText(str):
    __slots__ = ()

    def encode(self, *_: object, **__: object) -> bytes:
        raise MemoryError

    def __radd__(self, other: str) -> str:
        raise RuntimeError


HOSTILE = [
    *(None, True, False, 1.5, float("nan"), object(), Hostile(), [], {}, (), set(), "x".encode, 10**5000, ...),
    *(type, Exception("x"), range(3), 1j),
]


@pytest.mark.parametrize("key", HOSTILE, ids=lambda key: type(key).__name__)
def test_an_invalid_routing_key_is_below_no_percent(key: object) -> None:
    """A value that is no routing key is below no percent, and never raises."""
    assert bucket("salt", key) == UNROUTABLE


def test_a_released_memoryview_or_a_hostile_text_does_not_raise() -> None:
    """A released memoryview, or a text whose methods raise, does not raise."""
    view = memoryview(b"x")
    view.release()
    assert bucket("", view) == UNROUTABLE
    assert bucket("", HostileText("user-1")) == bucket("", "user-1")


def test_a_key_of_ten_megabytes_is_hashed_whole() -> None:
    key = "k" * 10_000_000
    assert bucket("", key) == formula(key.encode())
