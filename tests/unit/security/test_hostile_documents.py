"""Documents written by somebody who may write one key: refused by name, and nobody else's rollout is hurt."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.errors import BadDocument
from killswitch.flags import incident
from killswitch.flags.document import from_document as flag_from_document
from killswitch.flags.document import to_document as flag_document
from killswitch.fleet import heartbeat, stored_outages
from killswitch.pages import outbox_entry
from killswitch.router.presence import Report, to_document
from killswitch.stores import Item, Put, keys
from killswitch.timestamps import from_iso, to_iso
from killswitch.trips.router_progress import routers_followed
from killswitch.trips.switch import Switch
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import MemoryServer, MemoryStore

DEEP = b"[" * 100_000
HUGE = b'{"format": 1, "pad": "' + b"x" * 3_000_000 + b'"}'
HOSTILE = [
    DEEP,
    HUGE,
    b"",
    b"\xff\xfe",
    b"null",
    b"[]",
    b'"text"',
    b"1e999",
    b'{"format": NaN}',
    b"{" * 50,
    b"9" * 5000,
]
READERS: list[Callable[[bytes], object]] = [
    lambda value: flag_from_document(value, rollout="copilot"),
    lambda value: incident.from_document(value, rollout="copilot"),
    lambda value: outbox_entry.from_document(value, page="copilot.1"),
    heartbeat.from_document,
    stored_outages.from_document,
]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: repr(value[:12]))
def test_a_hostile_document_is_a_bad_document_and_nothing_else(reader: Callable[[bytes], object], value: bytes) -> None:
    with pytest.raises(BadDocument) as caught:
        reader(value)
    assert len(str(caught.value)) < 1000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("2026-01-01T00:00:00Z"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
GOOD = {
    "format": 1, "id": "a", "version": "1", "at": "2026-01-01T00:00:00Z", "tick": "2026-01-01T00:00:00Z",
    "rules_digest": "d", "judged": ["copilot"], "last_good": {"copilot": "2026-01-01T00:00:00Z"},
    "outages": [{
        "id": "blind.1", "since": "2026-01-01T00:00:00Z", "opened": "2026-01-01T00:00:00Z", "ended": None,
        "reopened": 0, "untold_since": None, "slack": None, "mention": None, "family": "",
        "rollouts": {"copilot": ["2026-01-01T00:00:00Z", None]},
    }],
}  # fmt: skip


@given(
    st.sampled_from(sorted(GOOD)), json_values, st.sampled_from([heartbeat.from_document, stored_outages.from_document])
)
def test_a_field_of_any_kind_is_read_or_refused(field: str, value: object, reader: Callable[[bytes], object]) -> None:
    document = json.dumps({**GOOD, field: value}).encode()
    try:
        reader(document)
    except BadDocument:
        return


def test_an_unreadable_heartbeat_is_no_sight_and_hides_no_other() -> None:
    """A heartbeat that cannot be read is no sight, and hides no other replica's sight."""
    good = json.dumps(GOOD).encode()
    items = [Item(f"{keys.CONTROLLERS}{n}", value, n + 1) for n, value in enumerate([*HOSTILE, good])]
    assert list(heartbeat.alive(items)) == [f"{keys.CONTROLLERS}{len(HOSTILE)}"]


def test_routers_that_report_nonsense_have_not_followed() -> None:
    server = MemoryServer(VirtualClock())
    store = MemoryStore(server)
    nonsense = [b'{"revision": Infinity}', b'{"revision": 1e400}', b'{"revision": "x"}', b'{"revision": []}', *HOSTILE]
    good = Report("good", "copilot", revision=7, generation=1, standing="armed", canary_percent=5.0, at=1.0)
    store.commit((), (Put(keys.router("copilot", "good"), to_document(good)),))
    for number, value in enumerate(nonsense):
        server.commit("a stranger", (), (Put(keys.router("copilot", str(number)), value),))
    assert routers_followed(store, "copilot", 7) == {"followed": 1, "known": len(nonsense) + 1}


@pytest.mark.parametrize(
    "text",
    ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.9999Z", "0001-01-01T00:00:00Z"],
)
def test_a_time_that_could_not_be_written_again_is_refused(text: str) -> None:
    with pytest.raises(BadDocument, match="out of range"):
        from_iso(text)


@given(st.datetimes(timezones=st.timezones()))
def test_every_time_that_is_read_can_be_written(moment: object) -> None:
    try:
        seconds = from_iso(moment.isoformat())  # type: ignore[attr-defined]
    except BadDocument:
        return
    assert abs(from_iso(to_iso(seconds)) - seconds) < 0.002  # milliseconds, by truncation of a float


def test_one_corrupt_flag_hides_no_other() -> None:
    server = MemoryServer(VirtualClock())
    switch = Switch(MemoryStore(server), wall=lambda: 1e9, by="me", origin="test")
    switch.arm("search", control="old", canary="new", percent=5, stage="ramp_5", salt="")
    names = [f"bad-{number}" for number in range(len(HOSTILE))]
    for name, value in zip(names, HOSTILE, strict=True):
        server.commit("x", (), (Put(keys.flag(name), value),))  # as by another client: ours limits what it sends
    good, bad = switch.everything()
    assert list(good) == ["search"]
    assert sorted(bad) == sorted(names)
    assert all(len(problem) < 1000 for problem in bad.values())


@pytest.mark.parametrize("tail", ["9" * 5000, "9" * 30, "x", "1.2.3", "-1", "²"])
def test_a_non_numeric_incident_key_does_not_set_the_generation(tail: str) -> None:
    """An incident key that is no number does not set the generation."""
    store = MemoryStore(MemoryServer(VirtualClock()))
    store.commit((), (Put(keys.incidents("search") + tail, b"{}"),))
    switch = Switch(store, wall=lambda: 1e9, by="me", origin="test")
    armed = switch.arm("search", control="old", canary="new", percent=5, stage="ramp_5", salt="")
    assert armed.generation in (1, 2)


def test_a_generation_no_counter_reaches_is_refused() -> None:
    store = MemoryStore(MemoryServer(VirtualClock()))
    switch = Switch(store, wall=lambda: 1e9, by="me", origin="test")
    armed = switch.arm("search", control="old", canary="new", percent=5, stage="ramp_5", salt="")
    document = json.loads(flag_document(armed))
    with pytest.raises(BadDocument, match="generation"):
        flag_from_document(json.dumps({**document, "generation": 10**400}).encode(), rollout="search")
