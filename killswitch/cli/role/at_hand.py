"""What the commands of roles share: the registry for this person, the role's file where it is at hand, the answer."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import typer

from killswitch.cli.by_hand import Hand
from killswitch.cli.invocation import fail, person, print_problems, say
from killswitch.cli.role_settings import dates_of, role_config
from killswitch.cli.terminal import one_line
from killswitch.cli.trip import deliver_if_alone
from killswitch.daemon.settings import Settings
from killswitch.errors import KillswitchError
from killswitch.model import PageSettings
from killswitch.registry.registry import Registry
from killswitch.registry.role_transaction import ChangedRole
from killswitch.roles.config import RoleConfig
from killswitch.roles.document import to_document
from killswitch.roles.model_names import ModelNames
from killswitch.roles.retirement import RetirementDate
from killswitch.roles.role import Role, RoleChange
from killswitch.stores import Store

RoleArgument = Annotated[str, typer.Argument(help="The role's name.", show_default=False)]
FloatingOption = Annotated[
    bool, typer.Option("--even-if-floating", help="Also a name that is known to float, such as an alias of yours.")
]
RoleReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept in the history, and shown on the page.")]


def registry_of(store: Store) -> Registry:
    """The registry, in which this person acts."""
    return Registry(store, wall=time.time, by=person())


def config_if_readable(settings: Settings, name: str) -> RoleConfig | None:
    """The role's file; None where there is none, or where it cannot be read, which is said."""
    try:
        return role_config(settings, name)
    except KillswitchError as error:
        first = str(error).partition("\n")[0]
        print_problems([f"role files cannot be read, so pages go to the default receivers: {first}"], style="yellow")
        return None


def check_pinned(model: str | None, *, even_if_floating: bool) -> None:
    """Ends the command for a name that floats: its provider may point it at another model by morning."""
    why = None if model is None or even_if_floating else why_floating(model)
    if why is not None:
        fail(why)


def why_floating(model: str) -> str | None:
    """Why the name is no pin, with the fix; None where it is not known to float."""
    floating = _known_names().floating(model, keyed=True)
    if floating is None:
        return None
    pin = "its dated id" if floating.pin is None else floating.pin
    return f"{model} floats: its provider may point it at another model; pin {pin}, or add --even-if-floating"


@functools.cache
def _known_names() -> ModelNames:
    from killswitch.cli.lint_models import known_model_names  # noqa: PLC0415  a rollback needs no list of aliases

    return known_model_names(())


def dates_if_readable(config: RoleConfig | None) -> Sequence[RetirementDate]:
    """The retirement dates of the role's file; none where they cannot be read, which is said."""
    try:
        return dates_of(config)
    except KillswitchError as error:
        print_problems([f"the file of retirement dates is not read: {error}"], style="yellow")
        return ()


def pages_of(settings: Settings, config: RoleConfig | None) -> PageSettings:
    """Who is paged about the role: as its file says, else the default receivers."""
    return replace(PageSettings() if config is None else config.page, public_url=settings.public_url)


def finish(hand: Hand, made: ChangedRole, words: str) -> None:
    """Answer at once, then deliver the page if no controller is alive: a change never waits for its page."""
    hand.answer(as_json(made.role), one_line(words))
    if made.page is None:
        return
    try:
        said = deliver_if_alone(hand, made.page.id)
    except KillswitchError as error:
        print_problems([f"the page stays in the outbox for the next controller: {error}"], style="yellow")
        return
    if not hand.as_json:
        say(one_line(f"page: {said}"))


def as_json(role: Role) -> dict[str, Any]:
    """The role as stored."""
    document: dict[str, Any] = json.loads(to_document(role))
    return document


_ORIGINS: Mapping[RoleChange, str] = {
    RoleChange.CREATED: "named by a person, no gate",
    RoleChange.ROLLED_BACK: "rolled back",
    RoleChange.IMPORTED: "imported, no gate",
}


def evidence_in_words(role: Role) -> str:
    """What prod rests on."""
    origin = role.origin
    if origin is None:
        return "" if role.prod is None else "not known"
    if origin.gate_run is not None:
        return f"gate run {origin.gate_run}"
    return origin.waiver or _ORIGINS.get(origin.change, origin.change.value)
