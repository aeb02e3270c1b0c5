"""The daily job of roles' models: what is due, what is kept, and what is paged once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from killswitch.errors import Unavailable
from killswitch.gate.daily_probes import DailyProbes
from killswitch.gate.model_lists import ListedModel
from killswitch.gate.probing import ProbeRound, ProbeTask
from killswitch.pages.outbox_entry import from_document as entry_of
from killswitch.pages.page import Page
from killswitch.registry.role_health import retirements_of
from killswitch.roles.absence import Absence
from killswitch.roles.config import RoleConfig, RoleEndpoint
from killswitch.roles.health import Lifecycle, Probe
from killswitch.stores import Delete, Store, keys
from killswitch.timestamps import DAY, HOUR, to_iso
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import MemoryServer, MemoryStore
from tests.doubles.roles import put_roles, role

ENDPOINT = RoleEndpoint("openai", "http://127.0.0.1:1/v1")
PROD, NEXT, OLD = "prod-2026-01-01", "next-2026-06-01", "old-2025-01-01"


class Provider:
    """Answers for each model, or fails as ``failures`` says; None: the round ends before that model."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.failures: dict[str, Probe | None] = {}
        self.listed: dict[str, ListedModel] | None = None
        self.asked: list[list[str]] = []

    def __call__(self, tasks: Sequence[ProbeTask]) -> ProbeRound:
        self.asked.append([task.model for task in tasks])
        now = self.clock.wall()
        found = ProbeRound()
        for task in tasks:
            probe = self.failures.get(task.model, Probe(now))
            if probe is not None:
                found.probes[task.place] = replace(probe, at=now)
            if self.listed is not None:
                found.lists[task.endpoint] = (now, self.listed)
        return found


class World:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.server = MemoryServer(self.clock)
        self.store: Store = MemoryStore(self.server)
        self.provider = Provider(self.clock)
        self.configs = {"review_triage": RoleConfig("review_triage", ENDPOINT)}
        put_roles(self.store, role(prod=PROD, candidate=NEXT, previous=OLD))
        self.probes = self.replica("a")

    def replica(self, by: str) -> DailyProbes:
        return DailyProbes(
            MemoryStore(self.server), configs=lambda: self.configs, probing=self.provider, by=by, wall=self.clock.wall
        )

    def look(self, after: float = DAY) -> list[Page]:
        """The pages of one look, ``after`` seconds later."""
        self.clock.advance(after)
        self.probes.look()
        items = self.store.list(keys.OUTBOX).items
        self.store.commit((), [Delete(item.key) for item in items])
        return [entry_of(item.value, page=item.key.removeprefix(keys.OUTBOX)).page for item in items]

    def retired(self, model: str) -> str | None:
        return retirements_of(self.store, "review_triage").retired(model, self.clock.wall())


@pytest.fixture
def world() -> World:
    return World()


def test_models_are_asked_once_a_day_however_many_looks(world: World) -> None:
    assert world.look() == []
    for _ in range(23):
        world.look(HOUR)
    assert world.provider.asked == [[PROD, NEXT, OLD]]
    world.look(HOUR)
    assert len(world.provider.asked) == 2


def test_a_model_that_is_gone_is_paged_once_and_refused(world: World) -> None:
    world.provider.failures[PROD] = Probe(0.0, "404: no such model", Absence.CLEAR)
    (page,) = world.look()
    assert (page.kind, page.severity, page.rollout) == ("MODEL_GONE", "critical", "role:review_triage")
    assert page.headline == f"role review_triage: prod {PROD} is gone"
    assert any(f"To go back to {OLD} at once" in step for step in page.next_steps)
    assert world.look() == []
    assert "does not exist for our key" in str(world.retired(PROD))
    assert world.retired(OLD) is None


def test_a_model_that_answers_again_may_be_paged_again(world: World) -> None:
    gone = Probe(0.0, "404: no such model", Absence.CLEAR)
    world.provider.failures[NEXT] = gone
    assert [page.severity for page in world.look()] == ["warning"]
    world.provider.failures.clear()
    assert world.look() == []
    assert world.retired(NEXT) is None
    world.provider.failures[NEXT] = gone
    assert len(world.look()) == 1


def test_a_bare_404_counts_on_the_second_day(world: World) -> None:
    world.provider.failures[OLD] = Probe(0.0, "404", Absence.UNCLEAR)
    assert world.look() == []
    assert world.look(HOUR) == []
    (page,) = world.look(DAY)
    assert page.kind == "MODEL_GONE"
    assert "Do not rely on a rollback" in " ".join(page.next_steps)


def test_a_provider_that_is_down_is_asked_hourly_and_is_unknown(world: World) -> None:
    world.provider.failures[PROD] = Probe(0.0, "503: overloaded")
    pages = [page for _ in range(80) for page in world.look(HOUR)]
    assert len(world.provider.asked) == 80
    assert [page.kind for page in pages] == ["MODEL_UNKNOWN"]
    assert "has not answered a probe for 3 days: 503: overloaded" in pages[0].why
    assert world.retired(PROD) is None


def test_retirement_is_warned_of_30_7_and_1_days_ahead(world: World, tmp_path: Path) -> None:
    at = world.clock.wall() + 40 * DAY + HOUR / 2
    file = tmp_path / "retirements.yaml"
    file.write_text(f"retirements:\n  - {{model: {PROD}, retires: '{to_iso(at)}', instead: newer}}\n")
    world.configs = {"review_triage": replace(world.configs["review_triage"], retirements=file)}
    said = [(day, page.kind.value, page.severity) for day in range(1, 45) for page in world.look()]
    assert said == [
        (11, "MODEL_RETIRING", "warning"), (34, "MODEL_RETIRING", "warning"), (40, "MODEL_RETIRING", "critical"),
    ]  # fmt: skip


def test_a_date_that_is_past_makes_a_silent_model_gone(world: World, tmp_path: Path) -> None:
    file = tmp_path / "retirements.yaml"
    file.write_text(f"retirements:\n  - {{model: {OLD}, retires: '{to_iso(world.clock.wall() + HOUR)}'}}\n")
    world.configs = {"review_triage": replace(world.configs["review_triage"], retirements=file)}
    world.provider.failures[OLD] = Probe(0.0, "timed out")
    assert [page.kind for page in world.look()] == ["MODEL_GONE"]


def test_what_the_list_says_is_a_sign_and_no_proof(world: World) -> None:
    live = ListedModel(Lifecycle.LISTED, None)
    world.provider.listed = {PROD: live, NEXT: live, OLD: live}
    assert world.look() == []
    world.provider.listed = {PROD: live, NEXT: ListedModel(Lifecycle.DEPRECATED, world.clock.wall() + 20 * DAY)}
    pages = world.look()
    assert [(page.kind.value, page.headline.split()[2]) for page in pages] == [
        ("MODEL_RETIRING", "candidate"), ("MODEL_RETIRING", "previous"),
    ]  # fmt: skip
    assert "was listed before, and is not now" in pages[1].why
    assert world.retired(OLD) is None
    assert world.look() == []


def test_two_replicas_ask_once(world: World) -> None:
    other = world.replica("b")
    first = world.provider

    def while_asked(tasks: Sequence[ProbeTask]) -> ProbeRound:
        other.look()
        return first(tasks)

    world.probes = DailyProbes(
        world.store, configs=lambda: world.configs, probing=while_asked, by="a", wall=world.clock.wall
    )
    first.failures[PROD] = Probe(0.0, "no such model", Absence.CLEAR)
    assert len(world.look()) == 1
    assert len(first.asked) == 1


def test_a_model_in_many_roles_is_asked_once_in_few_commits(world: World) -> None:
    names = [f"role{number}" for number in range(1000)]
    world.configs = {name: RoleConfig(name, ENDPOINT) for name in names}
    for start in range(0, 1000, 100):
        put_roles(world.store, *(role(name, PROD) for name in names[start : start + 100]))
    before = world.server.revision
    assert world.look() == []
    assert world.provider.asked == [[PROD]]
    assert len(world.store.list(keys.ROLE_HEALTH).items) == 1000
    assert world.server.revision - before <= 20


def test_a_round_that_ends_early_leaves_the_rest_as_it_was(world: World) -> None:
    world.configs["other"] = RoleConfig("other", ENDPOINT)
    put_roles(world.store, role("other", "another"))
    world.provider.failures["another"] = None
    world.look()
    assert [item.key for item in world.store.list(keys.ROLE_HEALTH).items] == [keys.role_health("review_triage")]
    world.look(60)
    assert world.provider.asked[-1] == ["another"]


def test_a_rollback_to_a_model_that_is_gone_is_said_of_prod(world: World) -> None:
    world.provider.failures[OLD] = Probe(0.0, "no such model", Absence.CLEAR)
    assert [page.severity for page in world.look()] == ["warning"]
    put_roles(world.store, role(prod=OLD, number=2))
    (page,) = world.look()
    assert page.headline == f"role review_triage: prod {OLD} is gone"


def test_a_damaged_document_costs_nothing_but_itself(world: World) -> None:
    put_roles(world.store, raw={"broken": b"{"})
    world.configs["broken"] = RoleConfig("broken", ENDPOINT)
    world.look()
    assert world.provider.asked == [[PROD, NEXT, OLD]]


def test_a_role_that_says_so_is_not_probed(world: World) -> None:
    world.configs = {"review_triage": RoleConfig("review_triage", ENDPOINT, probe=False)}
    world.look()
    assert world.provider.asked == []


def test_a_store_that_is_away_is_only_logged(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise Unavailable("no quorum")

    monkeypatch.setattr(MemoryStore, "list", away)
    world.probes.look()
    assert world.provider.asked == []


def test_the_page_of_a_model_with_slashes_has_one_key(world: World) -> None:
    model = "openrouter/openai/gpt-4o"
    put_roles(world.store, role(prod=model))
    world.provider.failures[model] = Probe(0.0, "no such model", Absence.CLEAR)
    (page,) = world.look()
    assert "/" not in page.id
    assert model in page.headline


def test_a_clock_that_was_ahead_ends_no_daily_probes(world: World) -> None:
    world.clock.jump_wall(3650 * DAY)
    world.look()
    world.clock.jump_wall(-3650 * DAY)
    world.provider.failures[PROD] = Probe(0.0, "404: no such model", Absence.CLEAR)
    (page,) = world.look()
    assert page.kind == "MODEL_GONE"
    assert world.look() == []
