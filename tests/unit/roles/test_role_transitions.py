"""The law of roles: what each change leads to, and what no order of changes can."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from killswitch.errors import BadDocument, IllegalTransition
from killswitch.roles.role import Role, RoleChange
from killswitch.roles.transitions import (
    ImportKind,
    RoleSlots,
    create,
    import_kind,
    imported,
    promote,
    roll_back,
    set_candidate,
)

MODELS = st.sampled_from(["m1", "m2", "m3", "m4"])
SLOT = st.none() | MODELS
NAME = "triage"


class AnyOrderOfChanges(RuleBasedStateMachine):
    """Whatever people do, in whatever order; a promotion here has the evidence that it needs."""

    def __init__(self) -> None:
        super().__init__()
        self.role: Role | None = None
        self.history: list[Role] = []
        self.now = 0.0

    def tick(self) -> float:
        self.now += 1.0
        return self.now

    def done(self, role: Role) -> None:
        """A change that the law allows: it counts one, and says whose it is."""
        before = self.role
        assert role.number == (0 if before is None else before.number) + 1
        assert (role.updated_at, role.updated_by) == (self.now, "ann")
        self.history.append(role)
        self.role = role

    def was_prod(self, model: str) -> bool:
        return any(one.prod == model for one in self.history)

    def may_be_rolled_back_to(self, model: str) -> bool:
        """It was prod here, or is ``previous`` of a role that a file brought from another store."""
        return self.was_prod(model) or any(one.previous == model for one in self.history)

    @rule(model=MODELS)
    def create(self, model: str) -> None:
        before = self.role
        try:
            role = create(before, name=NAME, prod=model, now=self.tick(), by="ann")
        except IllegalTransition:
            assert before is not None
            assert before.prod is not None
            return
        assert before is None or before.prod is None
        self.done(role)

    @rule(model=SLOT)
    def set_candidate(self, model: str | None) -> None:
        before = self.role
        try:
            role = set_candidate(before, name=NAME, model=model, now=self.tick(), by="ann")
        except IllegalTransition:
            assert model == (None if before is None else before.candidate) or (before and before.prod == model)
            return
        assert role.candidate == model
        assert before is None or (role.prod, role.previous) == (before.prod, before.previous)
        self.done(role)

    @rule()
    def promote(self) -> None:
        before = self.role
        if before is None:
            return
        try:
            role = promote(before, now=self.tick(), by="ann")
        except IllegalTransition:
            assert before.candidate is None
            return
        assert (role.prod, role.candidate, role.previous) == (before.candidate, None, before.prod)
        self.done(role)

    @rule(to=SLOT)
    def roll_back(self, to: str | None) -> None:
        before = self.role
        if before is None:
            return
        try:
            role = roll_back(before, to=to, was_prod=self.was_prod, now=self.tick(), by="ann")
        except IllegalTransition:
            target = to or before.previous
            assert target is None or target == before.prod or not self.was_prod(target)
            return
        assert role.prod == (to or before.previous)
        assert role.prod is not None
        assert self.may_be_rolled_back_to(role.prod)
        assert role.previous is None
        self.done(role)

    @rule(prod=SLOT, candidate=SLOT, previous=SLOT)
    def import_(self, prod: str | None, candidate: str | None, previous: str | None) -> None:
        before, slots = self.role, RoleSlots(prod, candidate, previous)
        try:
            kind = import_kind(before, NAME, slots, was_prod=self.was_prod)
        except IllegalTransition:
            return
        if kind is ImportKind.SAME:
            return
        role = imported(before, NAME, slots, kind, now=self.tick(), by="ann")
        if before is not None and before.prod is not None and prod != before.prod:
            assert prod is not None
            # another prod is a promotion, which asks for evidence, or was prod before
            assert kind is ImportKind.PROMOTION or self.may_be_rolled_back_to(prod)
            # after a rollback the model that was left is not in reach of a second one
            assert kind is ImportKind.PROMOTION or role.previous != before.prod
        self.done(role)

    @invariant()
    def no_model_is_in_two_slots_that_exclude_each_other(self) -> None:
        if self.role is not None and self.role.prod is not None:
            assert self.role.prod not in (self.role.candidate, self.role.previous)

    @invariant()
    def users_keep_a_model(self) -> None:
        """Once there was a prod, there is one."""
        if self.role is not None and any(one.prod for one in self.history):
            assert self.role.prod is not None

    @invariant()
    def the_origin_is_that_of_the_prod(self) -> None:
        if self.role is None or self.role.prod is None:
            return
        assert self.role.origin is not None
        since = next(one for one in self.history if one.updated_at == self.role.origin.at)
        assert since.prod == self.role.prod
        assert all(one.prod == self.role.prod for one in self.history if one.updated_at >= since.updated_at)


TestAnyOrderOfChanges = AnyOrderOfChanges.TestCase


def test_a_rollback_to_the_candidate_empties_its_slot() -> None:
    role = Role(NAME, "m2", "m1", "m1", 3, RoleChange.CANDIDATE_SET, 1.0, "ann")
    after = roll_back(role, to=None, was_prod=lambda _: True, now=2.0, by="ann")
    assert (after.prod, after.candidate, after.previous) == ("m1", None, None)


def test_the_first_prod_keeps_another_candidate() -> None:
    role = set_candidate(None, name=NAME, model="m2", now=1.0, by="ann")
    assert create(role, name=NAME, prod="m1", now=2.0, by="ann").candidate == "m2"
    assert create(role, name=NAME, prod="m2", now=2.0, by="ann").candidate is None


@pytest.mark.parametrize("model", ["", " m", "m\n", "m" * 201, "\x1b[2J"])
def test_what_is_no_model_is_refused(model: str) -> None:
    with pytest.raises(BadDocument, match="is no model's id"):
        set_candidate(None, name=NAME, model=model, now=1.0, by="ann")
    with pytest.raises(BadDocument, match="is no model's id"):
        create(None, name=NAME, prod=model, now=1.0, by="ann")


@pytest.mark.parametrize("name", ["", "A", "a/b", "a" * 64, "-a", "a\n"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(BadDocument, match="is no name of a role"):
        create(None, name=name, prod="m", now=1.0, by="ann")
