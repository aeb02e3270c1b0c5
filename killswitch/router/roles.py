"""`Roles`: what a service asks for the pinned model of a role.

::

    from killswitch.router import Roles

    roles = Roles("etcd://etcd:2379")
    roles.wait_ready(10.0)  # at start-up

    model = roles.model_for("review_triage")
    answer = client.chat.completions.create(model=model, messages=[…])
    roles.answered("review_triage", model, answer.model)

`Roles.model_for` reads one immutable object: no I/O, no lock, under a microsecond. Background threads follow the store
and replace that object when a role changes. `docs/roles.md` is the guide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from killswitch.errors import BadSettings
from killswitch.roles.role import Slot, check_model, check_role_name
from killswitch.router.background import REREAD_EVERY
from killswitch.router.observers import ObserverOf
from killswitch.router.pinned.answered import Mismatches, MismatchSeries
from killswitch.router.pinned.following import RolesFollower
from killswitch.router.pinned.memory import MAX_ROLES, PinnedModels, RolesPolicy, RolesState
from killswitch.router.pinned.role_errors import (
    EmptySlot,
    RoleNotFound,
    RoleProblem,
    RolesNotRead,
    RolesStale,
    RoleUnreadable,
)
from killswitch.router.readiness import has_read_within
from killswitch.stores.access import Access
from killswitch.stores.reader import LeaseWriter
from killswitch.stores.reader_opening import open_reader
from killswitch.wording import duration_in_words, plain

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

A_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class RolesHealth:
    """What is followed, and how well. ``problems`` by role: a damaged document, whose last good pins serve on.

    ``read_age``: seconds since the last read that succeeded was sent, None before the first. ``error``: what last went
    wrong, None while all is well. ``counts``: how often each `Happening` happened. ``roles``: how many are followed.
    """

    state: RolesState
    sentence: str
    roles: int
    problems: Mapping[str, str]
    read_age: float | None
    watching: bool
    following: bool
    process_id: str
    store: str
    error: str | None
    counts: Mapping[str, int]

    @property
    def stale(self) -> bool:
        """Whether the store's newest pins are not known."""
        return self.state is not RolesState.FOLLOWED

    @property
    def ok(self) -> bool:
        return self.following and not self.stale and not self.problems


class Roles:
    """The pinned models of all roles in one store; one object a process, shared by threads, tasks and forked children.

    ``store``: the URL of the flag store, as for `Router`. ``defaults``: models by role that slot prod has before the
    store was ever read; without them `model_for` raises until then. ``trusted_for``: seconds that the last pins serve
    while the store does not answer, None for ever. ``stale_grace``: seconds until that is said. ``deployments``: names
    that the service asks for by another name than the model's, such as deployments of Azure, and the model that is to
    answer. ``access``: how etcd lets us in, by default from the environment. ``report``: whether this process leaves a
    report of models that did not match, so that they are paged. ``registry``: where metrics go, None for nowhere.

    Returns at once, reached or not. Raises BadSettings or BadDocument for arguments that can never work.
    """

    __slots__ = ("_following", "_mismatches", "_trusted_for", "answered")

    def __init__(
        self,
        store: str,
        *,
        defaults: Mapping[str, str] | None = None,
        trusted_for: float | None = A_DAY,
        stale_grace: float = 60.0,
        deployments: Mapping[str, str] | None = None,
        access: Access | None = None,
        report: bool = True,
        registry: CollectorRegistry | Literal["default"] | None = "default",
        reread_every: float = REREAD_EVERY,
    ) -> None:
        given = {check_role_name(role): check_model(model) for role, model in (defaults or {}).items()}
        self._trusted_for = math.inf if trusted_for is None else float(trusted_for)
        if not stale_grace > 0 or not self._trusted_for >= stale_grace or not reread_every > 0:
            raise BadSettings(
                ["stale_grace and reread_every must be over 0 s, and trusted_for no less than stale_grace (None: ever)"]
            )
        reader = open_reader(store, access)
        observers, counters = _exporters(registry)
        self._mismatches = Mismatches(deployments=deployments, series=counters)
        # ``answered(role, pinned, answered)``: compare the model that an answer names with the pin that was asked.
        self.answered = self._mismatches.answered
        self._following = RolesFollower(
            reader,
            policy=RolesPolicy(stale_grace=stale_grace, trusted_for=self._trusted_for),
            defaults=given,
            mismatches=self._mismatches,
            reports=reader if report and isinstance(reader, LeaseWriter) else None,
            reread_every=reread_every,
            observers=observers,
        )
        self._following.start()

    def model_for(self, role: str, slot: str = "prod") -> str:
        """The model that is pinned in this slot of this role now. Never blocks; under a microsecond.

        Raises a `killswitch.router.pinned.role_errors.RoleProblem`: RoleNotFound, EmptySlot, RoleUnreadable,
        RolesNotRead before the first read, RolesStale once the store has been silent for ``trusted_for``.
        """
        try:
            return self._following.current.pins[slot][role]  # type: ignore[index]  # a slot's text is equal to it
        except (KeyError, TypeError):
            return self._first_ask(role, slot)

    def _first_ask(self, role: str, slot: str) -> str:
        """The service's first question for this slot, or one that has no answer."""
        seen = self._following.current
        if isinstance(slot, str) and slot in set(Slot) and isinstance(role, str):
            model = seen.model(Slot(slot), role)
            if model is not None:
                self._following.ask(Slot(slot), role)
                return model
        if seen.state in (RolesState.FOLLOWED, RolesState.STALE):
            raise self._why_not(seen, role, slot)
        raise self._not_trusted(seen, role)

    def _not_trusted(self, seen: PinnedModels, role: object) -> RoleProblem:
        if seen.state is RolesState.UNREAD:
            return RolesNotRead(role, self._following.where(), self._following.error)
        if seen.state is RolesState.CLOSED:
            return RolesStale(f"{seen.sentence}; make a new Roles(…)")
        silent, problem = duration_in_words(self._trusted_for), self._following.error
        return RolesStale(
            f"role {plain(str(role), 80)!r}: {self._following.where()} has not answered for {silent} ({problem});"
            " see to the store, or trust pins longer with Roles(…, trusted_for=…)"
        )

    def _why_not(self, seen: PinnedModels, role: object, slot: object) -> RoleProblem:
        if not isinstance(role, str) or role not in seen.roles:
            if isinstance(role, str) and role in seen.left_out:
                return RoleUnreadable(
                    str(role), f"the store has more than the {MAX_ROLES} roles that one process reads"
                )
            return RoleNotFound(role, seen.roles)
        if seen.roles[role].role is None:
            return RoleUnreadable(role, seen.problems[role])
        return EmptySlot(role, slot)

    def health(self) -> RolesHealth:
        """What is followed and why, the age of the last read, and problems."""
        following = self._following
        seen = following.current
        return RolesHealth(
            state=seen.state,
            sentence=seen.sentence,
            roles=len(seen.roles),
            problems=seen.problems,
            read_age=following.read_age,
            watching=following.watching,
            following=following.following,
            process_id=following.process_id,
            store=following.where(),
            error=following.error,
            counts=following.counts,
        )

    def wait_ready(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for the first read of the store; whether there was one; False once closed."""
        return self._following.wait_until_read(timeout)

    async def await_ready(self, timeout: float) -> bool:  # noqa: ASYNC109  # a timeout here is an answer, not an error
        """`wait_ready` for asyncio: other tasks run while it waits."""
        return await has_read_within(timeout, lambda: self._following.wait_until_read(0.0))

    def close(self) -> None:
        """End the background threads. From here on `model_for` raises."""
        self._following.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _exporters(
    registry: CollectorRegistry | Literal["default"] | None,
) -> tuple[tuple[ObserverOf[PinnedModels], ...], Callable[[str, str, str], MismatchSeries] | None]:
    if registry is None:
        return (), None
    # prometheus_client costs as much to import as all the rest; it is imported only if metrics are made
    from prometheus_client import REGISTRY  # noqa: PLC0415

    from killswitch.router.pinned.role_metrics import RoleInstruments, RoleMetrics  # noqa: PLC0415

    where = REGISTRY if registry == "default" else registry
    return (RoleMetrics(where),), RoleInstruments.of(where).mismatches.labels
