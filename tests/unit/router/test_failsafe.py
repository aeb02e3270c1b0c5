"""The fail-safe in virtual time: every sentence of what routers obey."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from killswitch.flags.document import to_document as flag_document
from killswitch.router import failsafe
from killswitch.router.failsafe import LinearizableRead, Memory, RouterState, StalePolicy
from killswitch.stores import Item, keys
from tests.doubles.flags import ROLLOUT, armed, tripped
from tests.unit.router.read_states import NEW, POLICY, at, change, item


def read(
    memory: Memory,
    found: Item | None,
    *,
    at: float = 0.0,
    revision: int | None = None,
    controllers: int | None = 1,
    known: int | None = None,
) -> Memory:
    if revision is None:
        revision = max(memory.revision, found.mod_revision if found is not None else 1)
    return failsafe.after_read(
        memory,
        LinearizableRead(at, memory.revision if known is None else known, found, revision, controllers),
    )


def test_before_the_store_was_read_everyone_goes_to_control() -> None:
    snapshot = at(NEW, 0.0)
    assert (snapshot.standing, snapshot.canary_percent) == (RouterState.UNREAD, 0.0)
    assert snapshot.canary_route is snapshot.control_route
    assert snapshot.control_route == ("control", "model-old", "DEFAULT", 0, 0)


def test_an_armed_flag_is_obeyed() -> None:
    snapshot = at(read(NEW, item(armed(), 7)), 0.0)
    assert (snapshot.standing, snapshot.canary_percent) == (RouterState.ARMED, 50.0)
    assert snapshot.canary_route == ("canary", "model-new", "SPLIT", 1, 7)
    assert snapshot.control_route == ("control", "model-old", "SPLIT", 1, 7)


def test_in_stage_aa_the_control_model_serves_the_canary_cohort() -> None:
    snapshot = at(read(NEW, item(armed(stage="aa"), 7)), 0.0)
    assert snapshot.canary_percent == 50.0
    assert snapshot.canary_route[:2] == ("canary", "model-old")


def test_in_a_shadow_stage_the_canary_serves_nobody() -> None:
    """In a shadow stage the canary serves nobody, whatever the percent says."""
    snapshot = at(read(NEW, item(armed(stage="shadow", percent=5.0), 7)), 0.0)
    assert (snapshot.standing, snapshot.canary_percent) == (RouterState.ARMED, 0.0)
    assert snapshot.canary_route is snapshot.control_route


def test_at_zero_percent_the_canary_stays_within_reach_of_testers() -> None:
    snapshot = at(read(NEW, item(armed(percent=0.0, stage="custom"), 7)), 0.0)
    assert snapshot.canary_percent == 0.0
    assert snapshot.canary_route.model == "model-new"


def test_a_tripped_flag_is_obeyed_for_ever() -> None:
    """A tripped flag is obeyed for ever, even when the router is cut off and no controller lives."""
    snapshot = at(read(NEW, item(tripped(), 8), controllers=0), 1e9)
    assert snapshot.standing is RouterState.TRIPPED
    assert snapshot.control_route.reason == "DISABLED"


def test_an_armed_flag_is_dropped_after_the_grace_and_the_jitter() -> None:
    memory = read(NEW, item(armed(), 7), at=100.0)
    assert at(memory, 124.9).standing is RouterState.ARMED
    assert at(memory, 125.0).standing is RouterState.HELD
    assert at(memory, 174.9).canary_percent == 50.0
    dropped = at(memory, 175.0)
    assert (dropped.standing, dropped.canary_percent) == (RouterState.CUT_OFF, 0.0)
    assert dropped.control_route.reason == "STALE"


def test_routers_drop_an_armed_flag_spread_over_the_jitter() -> None:
    memory = read(NEW, item(armed(), 7), at=0.0)
    dropped_at = [failsafe._limits(memory, StalePolicy(spread=n / 10))[0] for n in range(11)]
    assert dropped_at == [60.0 + 3.0 * n for n in range(11)]


def test_a_watched_change_does_not_prove_a_readable_store() -> None:
    memory = change(read(NEW, item(armed(), 7), at=0.0), item(armed(percent=9.0), 8), 8)
    assert at(memory, 1.0).canary_percent == 9.0
    assert at(memory, 75.0).standing is RouterState.CUT_OFF


def test_a_slow_read_does_not_take_back_a_later_ones_proof() -> None:
    """Two threads read; the one that asked first may hear last."""
    memory = read(read(NEW, item(armed(), 7), at=10.0), item(armed(), 7), at=4.0)
    assert memory.fresh_at == 10.0


def test_a_cut_off_router_that_reads_again_obeys_again() -> None:
    memory = read(read(NEW, item(armed(), 7), at=0.0), item(armed(), 7), at=500.0)
    assert at(memory, 501.0).standing is RouterState.ARMED


def test_without_a_controller_an_armed_flag_drops_in_5_minutes() -> None:
    memory = read(NEW, item(armed(), 7), at=0.0, controllers=2)
    for moment in range(10, 320, 10):
        memory = read(memory, item(armed(), 7), at=float(moment), controllers=0)
    assert at(memory, 314.9).standing is RouterState.ARMED
    assert at(memory, 315.0).standing is RouterState.UNWATCHED
    memory = read(memory, item(armed(), 7), at=330.0, controllers=1)
    assert at(memory, 331.0).standing is RouterState.ARMED


def test_without_any_controller_time_counts_from_the_first_read() -> None:
    """A router that never saw a controller counts the five minutes from its first read."""
    memory = read(NEW, item(armed(), 7), at=50.0, controllers=0)
    memory = read(memory, item(armed(), 7), at=340.0, controllers=0)
    assert at(memory, 364.9).standing is RouterState.ARMED
    assert at(memory, 365.0).standing is RouterState.UNWATCHED


def test_when_unwatched_may_be_hold() -> None:
    policy = replace(POLICY, control_after=failsafe.control_after_of("hold"))
    memory = read(NEW, item(armed(), 7), at=1e6, controllers=0)
    assert at(replace(memory, watched_at=0.0), 1e6, policy).standing is RouterState.ARMED


def test_a_store_without_controllers_is_not_judged_by_them() -> None:
    memory = read(NEW, item(armed(), 7), at=1e6, controllers=None)
    assert memory.watched_at is None
    assert at(memory, 1e6).standing is RouterState.ARMED


def test_a_missing_or_deleted_flag_means_control() -> None:
    assert at(read(NEW, None, revision=3), 0.0).standing is RouterState.NO_FLAG
    memory = read(NEW, item(armed(), 7))
    for deleted in (change(memory, None, 9), read(memory, None, revision=9)):
        snapshot = at(deleted, 0.0)
        assert (snapshot.standing, snapshot.canary_percent, snapshot.revision) == (RouterState.NO_FLAG, 0.0, 9)
        assert snapshot.control_route == ("control", "model-old", "DEFAULT", 0, 9)


def test_a_tripped_generation_is_never_obeyed_as_armed() -> None:
    memory = read(NEW, item(tripped(7), 100), revision=100)
    restored = read(memory, item(armed(7), 40), revision=41)  # a backup: revisions went back
    overtaking = read(memory, item(armed(7), 4000), revision=4001)  # the same, and busy since
    watched = change(memory, item(armed(6), 101), 101)
    for later in (restored, overtaking, watched):
        snapshot = at(later, 0.0)
        assert (snapshot.standing, snapshot.canary_percent) == (RouterState.OUTDATED, 0.0)
        assert snapshot.canary_route is snapshot.control_route
        assert snapshot.control_route.reason == "DISABLED"
    assert at(read(restored, item(armed(8), 42), revision=42), 0.0).standing is RouterState.ARMED


def test_a_trip_is_remembered_across_deletion_and_corruption() -> None:
    memory = change(read(NEW, item(tripped(7), 10)), None, 11)
    memory = change(memory, Item(keys.flag(ROLLOUT), b"{", 12), 12)
    assert at(change(memory, item(armed(7), 13), 13), 0.0).standing is RouterState.OUTDATED


def test_a_restored_store_is_believed_without_a_tripped_life() -> None:
    """A restored store is believed, unless its flag is of a generation that has tripped."""
    memory = read(NEW, item(armed(percent=25.0), 100), revision=100)
    assert at(read(memory, item(armed(percent=1.0), 40), revision=41), 0.0).canary_percent == 1.0


def test_an_overtaken_read_changes_nothing_but_proves_life() -> None:
    """A read that a watched change has overtaken changes no flag. It proves that the store can be read."""
    memory = read(NEW, item(armed(), 7), revision=7, at=0.0)
    later = change(memory, item(tripped(), 9), 9)
    overtaken = read(later, item(armed(), 7), revision=8, known=7, at=10.0)
    assert at(overtaken, 10.0).standing is RouterState.TRIPPED
    assert (overtaken.revision, overtaken.fresh_at) == (9, 10.0)


def test_a_late_read_does_not_undo_a_change_that_overtook_it() -> None:
    """Its revision is no lower than the one known then, so it is late and no sign of a store that was set back."""
    later = change(read(NEW, item(armed(percent=1.0), 7), revision=7), item(armed(percent=25.0), 9), 9)
    assert at(read(later, item(armed(percent=1.0), 7), revision=7, known=7), 0.0).canary_percent == 25.0


def test_a_trip_in_an_overtaken_read_is_still_remembered() -> None:
    memory = change(read(NEW, item(armed(1), 7), revision=7), item(armed(2), 9), 9)
    overtaken = read(memory, item(tripped(1), 8), revision=8, known=7)
    assert (overtaken.tripped_generation, at(overtaken, 0.0).standing) == (1, RouterState.ARMED)


def test_a_trip_in_a_change_that_arrives_late_is_still_remembered() -> None:
    memory = read(NEW, item(armed(2), 9), revision=12)
    late = change(memory, item(tripped(1), 8), 8)
    assert (late.tripped_generation, at(late, 0.0).standing) == (1, RouterState.ARMED)
    assert at(read(late, item(armed(1), 13), revision=13), 0.0).standing is RouterState.OUTDATED


def test_without_a_flag_the_last_known_control_model_serves() -> None:
    """A deleted flag sends everyone to the model that was control, and not to the one named at the start."""
    other = replace(tripped(7), control="model-older")
    snapshot = at(change(read(NEW, item(other, 10)), None, 11), 0.0)
    assert snapshot.control_route == ("control", "model-older", "DEFAULT", 7, 11)
    assert snapshot.generation == 7


def test_a_snapshot_has_the_flags_salt() -> None:
    assert at(read(NEW, item(replace(armed(), salt="s1"), 7)), 0.0).salt == "s1"
    assert at(NEW, 0.0).salt == ""


def test_a_corrupt_document_that_is_deleted_is_a_change() -> None:
    memory = read(NEW, Item(keys.flag(ROLLOUT), b"{", 8), revision=8)
    gone = read(memory, None, revision=9)
    assert at(gone, 0.0).revision == 9
    assert at(gone, 0.0).standing is RouterState.NO_FLAG


def test_after_a_deletion_a_late_older_change_restores_nothing() -> None:
    gone = change(read(NEW, item(armed(), 7), revision=7), None, 9)
    assert at(change(gone, item(armed(), 8), 8), 0.0).standing is RouterState.NO_FLAG


def test_a_deleted_flag_has_the_revision_of_its_deletion() -> None:
    """A flag that never was has no revision. A deleted flag has the revision of its deletion."""
    assert read(NEW, None, revision=9).changed_at == 0
    assert change(read(NEW, None, revision=9), None, 12).changed_at == 12
    assert change(change(read(NEW, item(armed(), 7)), None, 12), None, 14).changed_at == 14


def sentence_at(memory: Memory, now: float) -> str:
    snapshot = at(memory, now)
    return failsafe.sentence(memory, POLICY, snapshot.standing)


def test_a_control_model_that_is_not_known_has_no_name() -> None:
    said = sentence_at(Memory(ROLLOUT), 0.0)
    assert said == f"{ROLLOUT}: the store has not been read yet: everyone to control, whose model no flag has named yet"


def test_each_standing_has_its_sentence() -> None:
    control = ": everyone to control 'model-old'"
    watched = read(NEW, item(armed(percent=5.0), 7))
    split = "5 % to canary 'model-new', the others to control 'model-old'"
    was_tripped = read(read(NEW, item(tripped(1), 8)), item(armed(1), 9))
    unwatched = read(watched, item(armed(percent=5.0), 7), controllers=0, at=320.0)
    assert [
        sentence_at(watched, 0.0),
        sentence_at(watched, POLICY.doubt_after),
        sentence_at(watched, 80.0),
        sentence_at(unwatched, 320.0),
        sentence_at(NEW, 0.0),
        sentence_at(read(NEW, None), 0.0),
        sentence_at(read(NEW, item(tripped(), 8)), 0.0),
        sentence_at(was_tripped, 0.0),
        sentence_at(failsafe.after_garbage(watched, "not JSON"), 0.0),
        sentence_at(read(NEW, Item(keys.flag(ROLLOUT), b"[]", 8)), 0.0),
        sentence_at(failsafe.after_close(watched, "closed"), 0.0),
    ] == [
        f"{ROLLOUT}: armed, generation 1, stage 'custom': {split}",
        f"{ROLLOUT}: armed, generation 1, stage 'custom': {split}; the store does not answer",
        f"{ROLLOUT}: armed when last read, and the store has not answered for over 60 s{control}",
        f"{ROLLOUT}: no controller has been alive for over 300 s{control}",
        f"{ROLLOUT}: the store has not been read yet{control}",
        f"{ROLLOUT}: no flag when the store was last read (`killswitch arm` makes one){control}",
        f"{ROLLOUT}: tripped, generation 1{control}",
        (
            f"{ROLLOUT}: the stored flag is armed in generation 1, but generation 1 was tripped or completed "
            f"(a restored backup?); a person has to arm a later generation{control}"
        ),
        f"{ROLLOUT}: cannot be understood: not JSON{control}",
        f"{ROLLOUT}: cannot be understood: flag of {ROLLOUT}: not a JSON object{control}",
        f"{ROLLOUT}: not followed: closed{control}",
    ]


def test_what_is_due_now_is_not_announced_again() -> None:
    """The clock thread would turn round and round."""
    memory = read(NEW, item(armed(), 7), at=0.0)
    assert failsafe.next_change(memory, POLICY, POLICY.doubt_after) == 75.0


def test_an_old_change_that_arrives_late_changes_nothing() -> None:
    memory = read(NEW, item(armed(percent=1.0), 9), revision=12)
    assert change(memory, item(armed(percent=25.0), 8), 8) == memory
    assert change(memory, None, 8) == memory


DOCUMENT = json.loads(flag_document(armed()))


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b"[" * 20_000,
        flag_document(armed())[:-20],
        json.dumps({**DOCUMENT, "format": 2}).encode(),
        json.dumps({**DOCUMENT, "rollout": "another"}).encode(),
        json.dumps({**DOCUMENT, "canary_percent": -1}).encode(),
        json.dumps({**DOCUMENT, "canary_percent": 101}).encode(),
        json.dumps({**DOCUMENT, "canary_percent": float("nan")}).encode(),
        json.dumps({**DOCUMENT, "canary_percent": "5"}).encode(),
        json.dumps({**DOCUMENT, "canary_percent": True}).encode(),
        json.dumps({**DOCUMENT, "generation": 0}).encode(),
        json.dumps({**DOCUMENT, "state": "ready"}).encode(),
        json.dumps({**DOCUMENT, "salt": "\ud800"}).encode(),
        json.dumps({**DOCUMENT, "canary": "\udfff"}).encode(),
        json.dumps({**DOCUMENT, "salt": "x" * 100_000}).encode(),
    ],
)
def test_an_unreadable_document_means_control_and_a_sentence(value: bytes) -> None:
    memory = read(NEW, item(armed(), 7))
    for later in (
        read(memory, Item(keys.flag(ROLLOUT), value, 8), revision=8),
        change(memory, Item(keys.flag(ROLLOUT), value, 8), 8),
    ):
        snapshot = at(later, 0.0)
        assert (snapshot.standing, snapshot.canary_percent) == (RouterState.CORRUPT, 0.0)
        assert snapshot.control_route == ("control", "model-old", "ERROR", 0, 8)
        assert "cannot be understood" in snapshot.sentence
        assert len(snapshot.sentence) < 600


def test_a_store_with_garbage_means_control_until_it_is_readable() -> None:
    memory = failsafe.after_garbage(read(NEW, item(armed(), 7)), "the answer is not JSON")
    assert at(memory, 0.0).standing is RouterState.CORRUPT
    assert failsafe.after_garbage(memory, "other babble") == memory
    assert at(read(memory, item(armed(), 7), at=1.0), 1.0).standing is RouterState.ARMED


def test_a_tripped_flag_stays_tripped_on_garbage_of_the_store() -> None:
    assert at(failsafe.after_garbage(read(NEW, item(tripped(), 7)), "x"), 0.0).standing is RouterState.TRIPPED


def test_when_nobody_follows_any_more_everyone_goes_to_control() -> None:
    snapshot = at(failsafe.after_close(read(NEW, item(armed(), 7)), "closed"), 0.0)
    assert (snapshot.standing, snapshot.canary_percent) == (RouterState.CLOSED, 0.0)


def test_a_snapshot_cannot_be_changed() -> None:
    snapshot = at(NEW, 0.0)
    with pytest.raises(AttributeError):
        snapshot.canary_percent = 100.0  # type: ignore[misc]
