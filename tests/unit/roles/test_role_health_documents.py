"""The stored document of a role's health."""

import json

import pytest

from killswitch.errors import BadDocument
from killswitch.roles.absence import Absence
from killswitch.roles.health import Lifecycle, ModelHealth, Probe, RoleHealth, from_document, to_document
from killswitch.roles.role import Slot
from killswitch.timestamps import DAY, HOUR

AT = 1_800_000_000.0
LIVES = ModelHealth("a").after(Probe(AT)).after_list(AT, Lifecycle.DEPRECATED, AT + DAY)
BUSY = ModelHealth("b").after(Probe(AT, "429"))
GONE = ModelHealth("c").after(Probe(AT, "no such model", Absence.CLEAR))
HEALTH = RoleHealth("triage", AT, {one.model: one for one in (LIVES, BUSY, GONE)}, ("MODEL_GONE/c/0",))


def test_what_is_written_is_read_back() -> None:
    assert from_document(to_document(HEALTH), role="triage") == HEALTH


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "format 2"),
        ({"role": "other"}, "the document is of 'other'"),
        ({"models": [{"model": "a", "absence": "MAYBE"}]}, "absence 'MAYBE' is none of CLEAR, UNCLEAR"),
        ({"models": [{"model": "a", "lifecycle": "OLD"}]}, "lifecycle 'OLD' is none of"),
        ({"models": [{"model": "a\nb"}]}, "no model's id"),
        ({"looked_at": "yesterday"}, "not an ISO 8601 time"),
    ],
)
def test_a_damaged_document_is_refused(change: dict[str, object], said: str) -> None:
    document = {**json.loads(to_document(HEALTH)), **change}
    with pytest.raises(BadDocument, match=said):
        from_document(json.dumps(document).encode(), role="triage")


@pytest.mark.parametrize(("models", "after"), [(["a"], DAY), (["a", "b"], HOUR), (["c"], DAY), (["new"], DAY)])
def test_only_a_probe_that_said_nothing_is_repeated_soon(models: list[str], after: float) -> None:
    slots = dict(zip(Slot, models, strict=False))
    assert HEALTH.retry_at(slots) == AT + after
