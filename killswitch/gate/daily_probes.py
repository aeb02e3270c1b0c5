"""The daily job of roles: ask each pinned model for a token, read providers' lists, keep what was found, and page.

One replica does it: the one that has a claim under a lease. A model that several roles pin is asked once. What was
found is kept in the store for each role, so that commands and all replicas agree.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from killswitch.errors import BadDocument, BadRules, KillswitchError
from killswitch.gate.model_lists import ListedModel
from killswitch.gate.probing import ProbeRound, ProbeTask, pinned, tasks_of
from killswitch.pages import model_events
from killswitch.pages.outbox_entry import into_outbox
from killswitch.pages.page import Page
from killswitch.registry.role_health import retirements
from killswitch.roles.config import RoleConfig
from killswitch.roles.document import from_document as role_from_document
from killswitch.roles.health import Lifecycle, ModelHealth, RoleHealth, from_document, to_document
from killswitch.roles.retirement import RetirementDate, Retirements
from killswitch.roles.role import Role, Slot
from killswitch.rules.retirement_files import load_retirements
from killswitch.stores import Committed, Compare, Item, Put, Store, keys
from killswitch.stores.limits import Part, portions
from killswitch.wording import plain

log = logging.getLogger(__name__)
CLAIMED_FOR: Final = 1800.0  # seconds; a round is ended before

# Asks these. What it could not reach is not in the round.
Probing = Callable[[Sequence[ProbeTask]], ProbeRound]


@dataclass(frozen=True, slots=True)
class RoleFindings:
    """What is known of a role's models after a look."""

    role: Role
    health: RoleHealth
    known: Retirements


@dataclass(frozen=True, slots=True)
class _Seen:
    """A role as the store has it, with its health and the revision of that (0: none yet)."""

    role: Role
    config: RoleConfig
    health: RoleHealth | None
    revision: int

    def due(self, now: float) -> float | None:
        """Seconds that it is overdue; None if it is not due."""
        slots = pinned(self.role)
        if not slots:
            return None
        if self.health is None or self.health.ahead_of(now) or not self.health.models.keys() >= set(slots.values()):
            return now
        late = now - self.health.retry_at(slots)
        return late if late >= 0.0 else None


class DailyProbes:
    """What one replica, or a person's command, does about roles' models. ``configs``: the role files in force."""

    def __init__(
        self,
        store: Store,
        *,
        configs: Callable[[], Mapping[str, RoleConfig]],
        probing: Probing,
        by: str,
        wall: Callable[[], float],
        public_url: str | None = None,
    ) -> None:
        self._store = store
        self._configs = configs
        self._probing = probing
        self._by = by
        self._wall = wall
        self._public_url = public_url

    def look(self) -> None:
        """Probe what is due. Errors are logged: the next look tries again."""
        configs = {name: config for name, config in self._configs().items() if config.probe}
        if not configs:
            return
        try:
            if self._due(configs):
                self._claimed_round(configs)
        except KillswitchError as error:
            log.warning("roles' models are not probed: %s", error)

    def probe_now(self, names: Iterable[str]) -> list[RoleFindings]:
        """Probe these roles, due or not. Raises what the store raises."""
        configs = self._configs()
        seen = self._seen({name: configs[name] for name in names})
        return self._round([one for one in seen if pinned(one.role)])

    # --- a round --------------------------------------------------------------------------------

    def _due(self, configs: Mapping[str, RoleConfig]) -> list[_Seen]:
        """Those that are due, the longest overdue first: a round may end before the last."""
        now = self._wall()
        late = [(late, one) for one in self._seen(configs) if (late := one.due(now)) is not None]
        return [one for _, one in sorted(late, key=lambda entry: (-entry[0], entry[1].role.name))]

    def _claimed_round(self, configs: Mapping[str, RoleConfig]) -> None:
        lease = self._store.grant(CLAIMED_FOR)
        try:
            key = keys.claim("role-probes")
            outcome = self._store.commit((Compare(key, 0),), (Put(key, self._by.encode(), lease),))
            if isinstance(outcome, Committed):
                self._round(self._due(configs))  # read again: another replica may have finished since
        finally:
            self._store.revoke(lease)

    def _round(self, seen: Sequence[_Seen]) -> list[RoleFindings]:
        tasks = tasks_of([one.role for one in seen], {one.role.name: one.config for one in seen})
        found = self._probing(tasks)
        for problem in found.problems:
            log.warning("%s", problem)
        now = self._wall()
        told = [self._judged(one, found, now) for one in seen if _reached(one, found)]
        parts = [
            Part(
                findings,
                (Compare(keys.role_health(one.role.name), one.revision),),
                (
                    Put(keys.role_health(one.role.name), to_document(findings.health)),
                    *(into_outbox(page, at=now) for page in pages),
                ),
            )
            for one, findings, pages in told
        ]
        for portion in portions(parts):
            self._write(portion)
        return [findings for _, findings, _ in told]

    def _write(self, portion: Sequence[Part[RoleFindings]]) -> None:
        """Those whose health has changed since then are left to the next look: a page must not be sent twice."""
        compares = [compare for part in portion for compare in part.compares]
        outcome = self._store.commit(compares, [write for part in portion for write in part.writes])
        if not isinstance(outcome, Committed) and len(portion) > 1:
            for part in portion:
                self._write([part])

    def _judged(self, one: _Seen, found: ProbeRound, now: float) -> tuple[_Seen, RoleFindings, list[Page]]:
        slots = pinned(one.role)
        before = one.health.models if one.health is not None else {}
        dates = {date.model: date for date in _dates(one.config)}
        models = {}
        for model in dict.fromkeys(slots.values()):
            seen = _after(before.get(model, ModelHealth(model)), ProbeTask(one.config, model), found)
            models[model] = replace(seen, dated_at=dates[model].at if model in dates else None)
        known = retirements(models.values(), dates.values())
        due = list(_due_pages(one, slots, known, now, public_url=self._public_url))
        told = one.health.told if one.health is not None else ()
        pages = [page for key, page in due if key not in told]
        for page in pages:
            log.warning("%s: %s", page.headline, page.why)
        health = RoleHealth(one.role.name, now, models, _still(told, due))
        return one, RoleFindings(one.role, health, known), pages

    def _seen(self, configs: Mapping[str, RoleConfig]) -> list[_Seen]:
        roles = {item.key.removeprefix(keys.ROLES): item for item in self._store.list(keys.ROLES).items}
        healths = {item.key.removeprefix(keys.ROLE_HEALTH): item for item in self._store.list(keys.ROLE_HEALTH).items}
        found = []
        for name in sorted(configs.keys() & roles.keys()):
            try:
                role = role_from_document(roles[name].value, name=name)
            except BadDocument as error:
                log.warning("%s; its models are not probed", error)
                continue
            item = healths.get(name)
            revision = 0 if item is None else item.mod_revision
            found.append(_Seen(role, configs[name], _understood(item, name), revision))
        return found


def _understood(item: Item | None, name: str) -> RoleHealth | None:
    if item is None:
        return None
    try:
        return from_document(item.value, role=name)
    except BadDocument as error:
        log.warning("%s; its models are probed again", error)
        return None


def _reached(one: _Seen, found: ProbeRound) -> bool:
    """Whether the round has come to every model of the role."""
    return all(ProbeTask(one.config, model).place in found.probes for model in pinned(one.role).values())


def _after(health: ModelHealth, task: ProbeTask, found: ProbeRound) -> ModelHealth:
    listed = found.lists.get(task.endpoint)
    if listed is not None:
        at, models = listed
        entry: ListedModel | None = models.get(task.model.removeprefix("models/"))
        health = health.after_list(at, entry.lifecycle if entry else None, entry.retires_at if entry else None)
    return health.after(found.probes[task.place])


def _dates(config: RoleConfig) -> Sequence[RetirementDate]:
    """The dates of the role's file. What is wrong with the file costs its dates, not the probes; `check` says it."""
    if config.retirements is None:
        return ()
    try:
        return load_retirements(config.retirements)
    except BadRules as error:
        log.warning("role %s: its file of retirement dates is not read: %s", config.name, error)
        return ()


def _due_pages(
    one: _Seen, slots: Mapping[Slot, str], known: Retirements, now: float, *, public_url: str | None
) -> Iterable[tuple[str, Page]]:
    """What is to be said now, each with the key under which it is said once."""
    settings = replace(one.config.page, public_url=public_url)
    for model in dict.fromkeys(slots.values()):
        in_slots = [slot for slot, named in slots.items() if named == model]
        subject = f"{model}/{'+'.join(in_slots)}"  # a rollback may make a model that is gone prod: that is said again
        health, retired, ahead = known.health(model), known.retired(model, now), known.ahead(model, now)
        if retired is not None:
            page = model_events.model_gone(one.role, model, in_slots, retired, at=now, settings=settings)
            yield f"MODEL_GONE/{subject}", page
            continue
        if ahead is not None:
            page = model_events.model_retiring(
                one.role, model, in_slots, ahead.sentence, at=now, settings=settings, urgent=ahead.days <= 1
            )
            yield f"MODEL_RETIRING/{subject}/{ahead.date.at:.0f}/{ahead.days}", page
        if ahead is None and health.lifecycle in (Lifecycle.GONE, Lifecycle.DEPRECATED):
            said = "is deprecated" if health.lifecycle is Lifecycle.DEPRECATED else "was listed before, and is not now"
            why = f"{plain(model, 80)} {said}, the list of its provider says; no date is known"
            page = model_events.model_retiring(one.role, model, in_slots, why, at=now, settings=settings)
            yield f"MODEL_RETIRING/{subject}/{health.lifecycle}", page
        unknown = health.unknown(now)
        if unknown is not None:
            page = model_events.model_unknown(one.role, model, in_slots, unknown, at=now, settings=settings)
            yield f"MODEL_UNKNOWN/{subject}", page


def _still(told: Sequence[str], due: Sequence[tuple[str, Page]]) -> tuple[str, ...]:
    """What has been said of what still holds. A model that answers again and then not is said again.

    Warnings of a retirement are kept while any of its steps is due: a step is passed, and not forgotten.
    """
    now = [key for key, _ in due]
    retiring = {key.rpartition("/")[0] for key in now if key.startswith("MODEL_RETIRING/")}
    kept = [key for key in told if key in now or key.rpartition("/")[0] in retiring]
    return tuple(dict.fromkeys([*kept, *now]))
