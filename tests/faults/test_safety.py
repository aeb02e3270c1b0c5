"""The checks of safety are checked: each sees what it says that it sees. No server is needed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from killswitch.stores import Committed, Compare, Delete, Lost, Put
from killswitch.trips.request import TripRequest
from killswitch.trips.stored_flags import StoredFlag
from killswitch.trips.switch import Switch
from tests.doubles.fleet import START, Fleet
from tests.doubles.scripted_source import Traffic, canary_from, rollout
from tests.faults.safety import unsaid, violations


def breaching_fleet() -> Fleet:
    fleet = Fleet(Traffic(rate=canary_from(START + 600, error_rate=0.3), since=START - 4000), rollout())
    fleet.replica("a")
    fleet.arm()
    return fleet


def test_a_flip_in_time_breaks_nothing() -> None:
    fleet = breaching_fleet()
    fleet.run(60, until=fleet.tripped)
    assert fleet.tripped()
    assert violations(fleet.server.history) == []


@pytest.mark.parametrize("asleep", [14.0, 61.0, 3600.0])
def test_safety_2_sees_a_late_commit(monkeypatch: pytest.MonkeyPatch, asleep: float) -> None:
    """A switch without its session's comparison sleeps between building its transaction and sending it."""
    fleet = breaching_fleet()
    real = Switch._commit_trip

    class Late:
        def __init__(self, store: object) -> None:
            self._store = store

        def commit(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> Committed | Lost:
            fleet.clock.advance(asleep)
            return self._store.commit(compares, writes)  # type: ignore[attr-defined, no-any-return]

    def without_session(
        self: Switch, request: TripRequest, stored: StoredFlag, incident: str, key: str, _guards: Sequence[Compare]
    ) -> object:
        late = Switch(Late(self._store), wall=self._wall, by=self._by, origin="test")  # type: ignore[arg-type]
        return real(late, request, stored, incident, key, ())

    monkeypatch.setattr(Switch, "_commit_trip", without_session)
    fleet.run(60, until=fleet.tripped)
    assert fleet.tripped()
    late = [one for one in violations(fleet.server.history) if one.startswith("safety 2")]
    assert bool(late) == (asleep > fleet.timing.session_ttl)


def entry(incident: str, reference: str, standing: str = "delivered") -> dict[str, object]:
    return {"page": {"id": incident}, "deliveries": {"slack": {"standing": standing, "reference": reference}}}


def test_a_digest_speaks_for_its_own_pages_alone() -> None:
    """One digest early in a run hid every page that was lost after it."""
    digest, one = ("#c/1", "2 pages at once: 2 TRIPPED"), ("#c/2", "incident r.3")
    made = ["r.1", "r.2", "r.3", "r.4"]
    outbox = [entry("r.1", "#c/1"), entry("r.2", "#c/1"), entry("r.3", "#c/2"), entry("r.4", "#c/9")]
    assert unsaid(made, outbox, [digest, one]) == ["r.4"]
    assert unsaid(["r.5"], outbox, [digest, one]) == ["r.5"]  # never in the outbox
    crowded = [*outbox, entry("r.6", "#c/1")]
    assert unsaid(["r.1"], crowded, [digest, one]) == ["r.1"]  # more are said to be in it than it says it holds


def test_a_page_with_lost_answers_needs_a_matching_message() -> None:
    """A page whose answers were lost counts as sent only if some message may have been this page."""
    outbox = [entry("r.1", "", "uncertain")]
    assert unsaid(["r.1"], outbox, [("#c/1", "incident r.2")]) == ["r.1"]
    assert unsaid(["r.1"], outbox, [("#c/1", "9 pages at once")]) == []
    assert unsaid(["r.1"], outbox, [("#c/1", "incident r.1")]) == []
