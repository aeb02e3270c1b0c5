"""What all commands that change a flag share: options, the store, the question and the answer.

Each command first checks that the change is allowed, then says what will change and asks, then changes it.
"""

from __future__ import annotations

import functools
import inspect
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Concatenate

from killswitch.cli import console  # noqa: F401  loaded before the flip, not during it
from killswitch.cli.invocation import (
    ORIGIN,
    JsonOption,
    RolesOption,
    RulesOption,
    SettingsOption,
    StoreOption,
    YesOption,
    confirm,
    opened,
    person,
    print_problems,
    say,
    show,
)
from killswitch.daemon.settings import Settings
from killswitch.errors import KillswitchError
from killswitch.flags.document import to_document as flag_document
from killswitch.flags.flag import Flag
from killswitch.stores import Store, keys
from killswitch.trips.holding import Holding
from killswitch.trips.switch import Switch


@dataclass(frozen=True, slots=True)
class Hand:
    """A person's hand on the switch: what the shared options opened, and how to answer."""

    settings: Settings
    store: Store
    switch: Switch
    yes: bool
    as_json: bool

    @property
    def holding(self) -> Holding:
        """Holds and approvals, made by this person."""
        return Holding(self.store, wall=time.time, by=person(), origin=ORIGIN)

    def confirm(self, what: str) -> None:
        """Say what will change, and ask unless ``--yes``. Ends the command when the answer is no."""
        confirm(what, yes=self.yes)

    def warn_if_unwatched(self) -> None:
        """Before the question, warn that no controller watches the canary, or that this is unknown."""
        alive = living_controllers(self.store)
        if alive:
            return
        known = "no controller is alive" if alive == 0 else "whether a controller is alive is UNKNOWN"
        print_problems([f"{known}: without `killswitch run`, no one notices a bad canary"], style="yellow")

    def answer(self, document: Flag | dict[str, Any], words: str) -> None:
        """Print the result: the document with ``--json``, else one line."""
        shown = json.loads(flag_document(document)) if isinstance(document, Flag) else document
        show(shown, as_json=self.as_json, otherwise=lambda: say(words))


def living_controllers(store: Store) -> int | None:
    """How many controllers have a heartbeat in the store; None if heartbeats could not be read."""
    try:
        return len(store.list(keys.CONTROLLERS).items)
    except KillswitchError:
        return None


def by_hand(
    *, rules: bool, roles: bool = False
) -> Callable[[Callable[Concatenate[Hand, ...], None]], Callable[..., None]]:
    """Make a command from a function of a `Hand` and its own options.

    ``rules``, ``roles``: whether it reads rule files, and role files.
    """
    shared: dict[str, tuple[object, object]] = {
        "store": (StoreOption, None),
        **({"rules": (RulesOption, None)} if rules else {}),
        **({"roles": (RolesOption, None)} if roles else {}),
        "settings": (SettingsOption, None),
        "yes": (YesOption, False),
        "as_json": (JsonOption, False),
    }

    def decorate(function: Callable[Concatenate[Hand, ...], None]) -> Callable[..., None]:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        ours = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in shared.items()
        ]

        @functools.wraps(function)
        def command(**given: Any) -> None:
            common = {name: given.pop(name) for name in shared}
            given_files = {"rules": common.get("rules"), "roles": common.get("roles")}
            with opened(common["store"], common["settings"], **given_files) as (settings, store, switch):
                function(Hand(settings, store, switch, common["yes"], common["as_json"]), **given)

        command.__signature__ = inspect.Signature([*own, *ours])  # type: ignore[attr-defined]  # what typer reads
        command.__annotations__ = {one.name: one.annotation for one in (*own, *ours)}
        del command.__wrapped__
        return command

    return decorate
