"""Hot-hot replicas through the faults of the metric store and the flag store: rows 1, 2, 3, 6, 7, 8, 9."""

from __future__ import annotations

from pathlib import Path

from tests.faults.fleet import started


def test_two_replicas_that_see_the_same_breach_flip_once_with_one_incident_and_one_page(tmp_path: Path) -> None:
    with started(tmp_path) as fleet:
        fleet.fail()
        flip = fleet.until_tripped()
        fleet.for_cycles(3)
        assert len(fleet.flips()) == len(fleet.incidents()) == 1
        assert flip["trip"]["rules"] == ["error_rate"]
        assert len(fleet.pages("tripped")) == 1
