"""A complete flag: its control is the new model, whatever a reader knows, and a trip still goes back."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from killswitch.errors import BadDocument
from killswitch.flags.document import from_document, to_document
from killswitch.flags.flag import AA, Flag, as_served, rearm
from killswitch.flags.pinning import stopped_in_words
from tests.unit.flags.changed_flags import NOW, armed, completed, tripped


def test_a_reader_that_knows_no_states_gives_everyone_the_new_model() -> None:
    document = json.loads(to_document(completed(armed(99.0, "full"))))
    assert (document["canary_percent"], document["control"], document["canary"]) == (0.0, "new", "new")
    assert document["completion"] == {
        "at": "2026-04-19T14:23:11Z", "by": "ann", "reason": "it is well",
        "control_before": "old", "percent_before": 99.0, "stage_before": "full",
    }  # fmt: skip


@pytest.mark.parametrize("flag", [completed(), completed(armed(5.0, AA, canary="old", canary_after_aa="new"))], ids=str)
def test_what_is_stored_comes_back(flag: Flag) -> None:
    assert from_document(to_document(flag), rollout="copilot") == flag
    assert flag.control == "new"


@pytest.mark.parametrize("wrong", [{"completion": None}, {"state": "armed"}, {"canary_percent": 100.0}], ids=str)
def test_what_contradicts_itself_is_refused(wrong: dict[str, object]) -> None:
    document = {**json.loads(to_document(completed())), **wrong}
    with pytest.raises(BadDocument):
        from_document(json.dumps(document).encode(), rollout="copilot")


def test_a_trip_gives_everyone_the_model_from_before() -> None:
    flag = tripped(completed(armed(99.0, "full")), at=NOW + 120)
    assert (flag.control, flag.canary, flag.canary_percent, flag.completion) == ("old", "new", 0.0, None)
    assert flag.trip is not None
    assert (flag.trip.percent_before, flag.trip.stage_before) == (100.0, "complete")
    assert from_document(to_document(flag), rollout="copilot") == flag
    again = rearm(flag, rollout="copilot", reason="fixed", now=NOW + 180, by="ann")
    assert (again.control, again.canary, again.canary_percent, again.generation) == ("old", "new", 1.0, 2)


def test_its_traffic_in_the_words_of_an_armed_flag() -> None:
    served = as_served(completed(armed(99.0, "full")))
    assert (served.armed, served.canary_percent, served.control, served.canary) == (True, 100.0, "old", "new")
    assert as_served(armed()) == armed()


def test_the_words_say_how_to_go_back() -> None:
    said = stopped_in_words(completed())
    assert said.startswith("completed by ann: it is well; everyone gets new, and nothing is compared")
    assert "killswitch trip copilot" in said
    assert "None" not in stopped_in_words(replace(completed(reason="")))
