"""The pairs of slots that a rule file may compare."""

from __future__ import annotations

import itertools

import pytest

from killswitch.errors import BadDocument
from killswitch.roles.pairs import PAIRS, PairKind, role_pair
from killswitch.roles.role import Role, RoleChange, Slot

ROLE = Role("support", "prod-model", "next-model", "old-model", 3, RoleChange.PROMOTED, 0.0, "ann")


def test_two_models_are_no_pair_of_slots() -> None:
    assert role_pair("model-old", "model-new") is None


@pytest.mark.parametrize(("slots", "kind"), list(PAIRS.items()))
def test_a_pair_names_the_models_of_its_slots(slots: tuple[Slot, Slot], kind: PairKind) -> None:
    pair = role_pair(f"role:support.{slots[0]}", f"role:support.{slots[1]}")
    assert pair is not None
    assert (pair.role, pair.kind) == ("support", kind)
    assert pair.models(ROLE) == (ROLE.model(slots[0]), ROLE.model(slots[1]))
    assert (str(pair.control), str(pair.canary)) == (f"role:support.{slots[0]}", f"role:support.{slots[1]}")


@pytest.mark.parametrize("slots", [two for two in itertools.product(Slot, Slot) if two not in PAIRS])
def test_any_other_two_slots_are_refused(slots: tuple[Slot, Slot]) -> None:
    with pytest.raises(BadDocument, match=r"no pair of slots to compare; write `control: role:a.prod`"):
        role_pair(f"role:a.{slots[0]}", f"role:a.{slots[1]}")


@pytest.mark.parametrize(
    ("control", "canary", "said"),
    [
        ("model-old", "role:a.candidate", "one of control and canary is a model"),
        ("role:a.prod", "model-new", "one of control and canary is a model"),
        ("role:a.prod", "role:b.candidate", "slots of two roles, a and b"),
        ("role:a.prod", "role:a.staging", "names no slot of a role"),
        ("role:A b.prod", "role:a.candidate", "is no name of a role"),
    ],
)
def test_mixed_forms_are_refused_with_what_to_write(control: str, canary: str, said: str) -> None:
    with pytest.raises(BadDocument, match=said):
        role_pair(control, canary)
