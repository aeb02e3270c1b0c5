"""One-token probes of pinned models, and their providers' lists: each model once, however many roles pin it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from killswitch.errors import KillswitchError
from killswitch.gate.answers import Answer
from killswitch.gate.model_lists import ListedModel, has_list, listed_models
from killswitch.gate.role_model import RoleModel
from killswitch.roles.config import RoleConfig, RoleEndpoint
from killswitch.roles.health import Probe
from killswitch.roles.role import Role, Slot
from killswitch.router.shadow.ledger import SpendLedger
from killswitch.spend import Cap, Ledger, Period, PriceList
from killswitch.stores import Store

AT_ONCE: Final = 8
TIMEOUT: Final = 30.0  # seconds of one call; a role file may say less
MICROS_A_DAY: Final = 100_000  # the cap of a role's probes where its file states none: ten cents
_LEDGER_WAIT: Final = 10.0


@dataclass(frozen=True, slots=True)
class ProbeTask:
    """One model at one address. ``config``: of a role that pins it there; its scope pays."""

    config: RoleConfig
    model: str

    @property
    def endpoint(self) -> RoleEndpoint:
        """Where it is asked; parameters are no part of a probe."""
        return replace(self.config.endpoint_of(self.model), parameters={})

    @property
    def place(self) -> tuple[RoleEndpoint, str]:
        """What tells two tasks apart."""
        return self.endpoint, self.model


@dataclass(slots=True)
class ProbeRound:
    """What a round has found. A task without a probe was not reached, and nothing is known of it."""

    probes: dict[tuple[RoleEndpoint, str], Probe] = field(default_factory=dict)
    lists: dict[RoleEndpoint, tuple[float, dict[str, ListedModel]]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def pinned(role: Role) -> dict[Slot, str]:
    """The models in the role's slots."""
    return {slot: model for slot in Slot if (model := role.model(slot)) is not None}


def tasks_of(roles: Sequence[Role], configs: Mapping[str, RoleConfig]) -> list[ProbeTask]:
    """A task for each model and address that these roles pin, in the roles' order."""
    found: dict[tuple[RoleEndpoint, str], ProbeTask] = {}
    for role in roles:
        for model in pinned(role).values():
            task = ProbeTask(configs[role.name], model)
            found.setdefault(task.place, task)
    return list(found.values())


# one finding: a probe of a place, a list of an address, or a problem to say
Finding = tuple[str, object, object]


def findings(
    tasks: Sequence[ProbeTask], open_store: Callable[[], Store], *, wall: Callable[[], float] = time.time
) -> Iterator[Finding]:
    """Probe and list, at most `AT_ONCE` calls together; each finding as soon as it is there."""
    endpoints = list(dict.fromkeys(task.endpoint for task in tasks if has_list(task.endpoint)))
    with contextlib.ExitStack() as stack:
        ledgers = _Ledgers(tasks, open_store, stack)
        pool = stack.enter_context(ThreadPoolExecutor(AT_ONCE, thread_name_prefix="probe"))
        work = [pool.submit(_listed, endpoint, wall) for endpoint in endpoints]
        work += [pool.submit(_probed, task, ledgers, wall) for task in tasks]
        for done in as_completed(work):
            yield done.result()


def gathered(found: Iterator[Finding] | Sequence[Finding]) -> ProbeRound:
    """The findings as one round."""
    result = ProbeRound()
    for kind, key, value in found:
        if kind == "probe":
            result.probes[key] = value  # type: ignore[index, assignment]  # by the kind
        elif kind == "list":
            result.lists[key] = value  # type: ignore[index, assignment]  # by the kind
        else:
            result.problems.append(str(value))
    return result


def _listed(endpoint: RoleEndpoint, wall: Callable[[], float]) -> Finding:
    at = wall()
    try:
        return "list", endpoint, (at, listed_models(endpoint, timeout=TIMEOUT))
    except KillswitchError as error:
        return "problem", endpoint, str(error)


def _probed(task: ProbeTask, ledgers: _Ledgers, wall: Callable[[], float]) -> Finding:
    at = wall()
    try:
        prices, ledger = ledgers.of(task, at)
        config = replace(task.config, timeout=min(task.config.timeout, TIMEOUT))
        model = RoleModel(
            task.model, config, prices=prices, ledger=ledger, pause=threading.Event().wait, wall=wall, attempts=1
        )
        try:
            return "probe", task.place, _as_probe(model.probe(), at)
        finally:
            model.close()
    except KillswitchError as error:  # no key, no SDK, no file of prices: it says nothing of the model
        return "probe", task.place, Probe(at, f"it could not be asked: {error}")
    except Exception as error:  # noqa: BLE001  a bug in one client must not cost the others their probe
        return "probe", task.place, Probe(at, f"it could not be asked: {type(error).__name__}")


def _as_probe(answer: Answer, at: float) -> Probe:
    return Probe(at, answer.failure, answer.absence, answer.answered_by, answer.cost)


class _Ledgers:
    """The spend ledgers of a round: one for each file of prices, with a scope for each role."""

    def __init__(
        self, tasks: Sequence[ProbeTask], open_store: Callable[[], Store], stack: contextlib.ExitStack
    ) -> None:
        self._prices: dict[Path, PriceList] = {}
        self._ledgers: dict[Path, Ledger] = {}
        self._problems: dict[Path, KillswitchError] = {}
        self._lock = threading.Lock()
        self._scoped: dict[str, SpendLedger] = {}
        by_file: dict[Path, dict[str, RoleConfig]] = {}
        for task in tasks:
            if task.config.prices is not None:
                by_file.setdefault(task.config.prices, {})[task.config.name] = task.config
        for path, configs in by_file.items():
            try:
                self._prices[path] = PriceList.from_file(path)
                caps = [Cap(scope(name), Period.DAY, hard=MICROS_A_DAY) for name in configs]
                self._ledgers[path] = stack.enter_context(Ledger(open_store, caps, self._prices[path]))
            except KillswitchError as error:
                self._problems[path] = error

    def of(self, task: ProbeTask, at: float) -> tuple[PriceList | None, SpendLedger | None]:
        """What the probe is charged to; a model without a price is probed all the same, and charged to nothing."""
        path = task.config.prices
        if path is None:
            return None, None
        if path in self._problems:
            raise self._problems[path]
        prices = self._prices[path]
        if prices.price(task.model, at) is None:
            return prices, None
        name = scope(task.config.name)
        with self._lock:
            if name not in self._scoped:
                self._scoped[name] = self._ledgers[path].for_scopes(name, wait=_LEDGER_WAIT)
            return prices, self._scoped[name]


def scope(role: str) -> str:
    """The scope of the spend ledger that a role's probes are charged to."""
    return f"probe:{role}"
