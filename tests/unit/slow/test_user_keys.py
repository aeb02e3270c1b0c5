"""Users as numbers: the same places on the split as the router's, here and in DuckDB's SQL."""

from __future__ import annotations

import json
import uuid
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.flags.bucketing import UNROUTABLE, bucket, routing_bytes
from killswitch.slow.duckdb_source import _salted
from killswitch.slow.user_days import duckdb_module
from killswitch.slow.user_keys import SQL_ID, SQL_PLACE, places_and_ids

VECTORS = [
    (one["salt"], bytes.fromhex(one["key_hex"]) if "key_hex" in one else one["key"], one["bucket"])
    for one in json.loads((Path(__file__).parents[2] / "vectors" / "routing.json").read_text())["vectors"]
]
KEYS = st.one_of(st.text(min_size=1), st.binary(min_size=1), st.integers(), st.uuids())


@pytest.mark.parametrize("number", range(len(VECTORS)))
def test_every_published_vector_gets_its_place(number: int) -> None:
    salt, key, place = VECTORS[number]
    data = routing_bytes(key) or b""
    ((places,), _) = places_and_ids([data], [salt])
    assert places[0] / 100 == place
    (found,) = (
        duckdb_module()
        .execute(
            f"SELECT {SQL_PLACE.format(digest='d')} FROM (SELECT sha256({_salted(salt)} || $key) AS d)", {"key": data}
        )
        .fetchone()
    )
    assert found / 100 == place


@given(st.text(max_size=8), KEYS)
def test_any_key_has_the_routers_place(salt: str, key: object) -> None:
    data = routing_bytes(key)
    assert data is not None
    ((places,), _) = places_and_ids([data], [salt])
    joined = isinstance(key, str) and salt and "\ud800" <= salt[-1] <= "\udfff"  # half a pair at the end of a salt
    assert joined or places[0] / 100 == bucket(salt, key)


@pytest.mark.parametrize("nobody", [None, "", b"", True, False, 1.5, [], object(), 10**5000], ids=type)
def test_what_is_no_user_has_no_bytes(nobody: object) -> None:
    assert routing_bytes(nobody) is None
    if nobody not in ("", b""):
        assert bucket("s", nobody) == UNROUTABLE


def test_an_id_is_64_bits_of_the_first_salts_hash() -> None:
    keys = [b"anna", str(uuid.UUID(int=7)).encode(), b"x" * 10_000]
    (places, ids) = places_and_ids(keys, ["a", "b"])
    assert len(places) == 2
    assert [int(one) for one in ids] == [int(sha256(b"a" + key).hexdigest()[16:32], 16) for key in keys]
    digest = sha256(b"aanna").hexdigest()
    (found,) = (
        duckdb_module().execute(f"SELECT {SQL_ID.format(digest='d')} FROM (SELECT $d AS d)", {"d": digest}).fetchone()
    )
    assert found == int(ids[0])
