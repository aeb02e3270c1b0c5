"""What commands share: options, settings, the store, the person, errors and confirmation."""

from __future__ import annotations

import getpass
import os
import pwd
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from killswitch.cli.ask_controller import Misunderstood
from killswitch.cli.terminal import json_text, one_line
from killswitch.daemon.settings import Settings, load_settings, without_secrets
from killswitch.daemon.wiring import build_source, build_store
from killswitch.errors import (
    AccessDenied,
    BadDocument,
    BadRules,
    BadSettings,
    KillswitchError,
    Refused,
    Unavailable,
    UnknownRollout,
)
from killswitch.flags import flag as flags
from killswitch.flags.flag import MAX_NAME, Flag
from killswitch.flags.shadow_share import ShadowShare, shadow_share
from killswitch.flags.transitions import says_nothing
from killswitch.model import PageSettings, Rollout
from killswitch.ramps.rearming import percent_of
from killswitch.sources import Source
from killswitch.stores import Store
from killswitch.trips.switch import Switch
from killswitch.wording import plain

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="Flag store: etcd://host:2379, etcds://…, sqlite:///path.",
        show_default="KILLSWITCH_STORE or etcd://127.0.0.1:2379",
    ),
]
SourceOption = Annotated[
    str | None,
    typer.Option(
        "--source",
        "--prometheus",
        help="Metric source: prometheus+http://host:9090 (or just http://…), scrape+http://host/metrics,…, "
        "recording:///path.",
        show_default="KILLSWITCH_SOURCE or http://127.0.0.1:9090",
    ),
]
RulesOption = Annotated[
    Path | None, typer.Option("--rules", help="Folder of rule files.", show_default="KILLSWITCH_RULES or ./rules")
]
RolesOption = Annotated[
    Path | None, typer.Option("--roles", help="Folder of role files.", show_default="KILLSWITCH_ROLES or ./roles")
]
SettingsOption = Annotated[
    Path | None, typer.Option("--settings", envvar="KILLSWITCH_SETTINGS", help="A YAML file of settings.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
PercentOption = Annotated[float | None, typer.Option(help="Share of users in the canary, 0 to 100.")]
_STAGES = ", ".join(f"{name} ({share:g}%)" for name, share in flags.STAGES.items())
StageOption = Annotated[
    str | None,
    typer.Option(
        help=f"{_STAGES}. With --percent also aa (the canary cohort keeps the control model) or a name of your own."
    ),
]
ShadowOption = Annotated[
    float | None,
    typer.Option(
        "--shadow",
        help="Percent of finished requests, 0 to 100, that are also sent to the canary, unseen. Implies stage shadow.",
    ),
]
ShadowClassOption = Annotated[
    list[str] | None,
    typer.Option(
        "--shadow-class",
        metavar="CLASS=PERCENT",
        help="Another percent for one prompt class, for example billing=100. Repeatable; needs --shadow.",
    ),
]


def _rollout(given: str) -> str:
    try:
        flags.check_rollout_name(given)
    except BadDocument as error:
        raise typer.BadParameter(str(error)) from error
    return given


RolloutArgument = Annotated[str, typer.Argument(help="The rollout's name.", callback=_rollout, show_default=False)]


def _reason(given: str) -> str:
    if says_nothing(given):
        raise typer.BadParameter('is empty; write why in a few words, such as --reason "answers in the wrong language"')
    return given


ReasonOption = Annotated[
    str,
    typer.Option("--reason", callback=_reason, help="The reason, shown in the flag, the incident and the page."),
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="KILLSWITCH_URL",
        help="A controller's address.",
        show_default="KILLSWITCH_URL or http://127.0.0.1:8080",
    ),
]

EXIT_UNWANTED = 1
EXIT_REFUSED = 2
EXIT_UNAVAILABLE = 3


def say(text: str) -> None:
    """Print one line to standard output, without markup, wrapping or control characters."""
    from killswitch.cli.console import out  # noqa: PLC0415  the daemon prints nothing: 1.6 MB less

    out.print(text, markup=False, soft_wrap=True)


def print_problems(problems: Iterable[str], style: str = "red") -> None:
    from killswitch.cli.console import err  # noqa: PLC0415  the daemon prints nothing: 1.6 MB less

    for problem in problems:
        err.print(one_line(problem), style=style, markup=False, soft_wrap=True)


def person() -> str:
    """Who is at the keyboard: ``user@host``, by the system's account; LOGNAME is asked only where it has no name.

    It stands for a person in approvals and holds, and anyone can set a variable.
    """
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container whose account has no name
        try:
            user = getpass.getuser()
        except (KeyError, OSError):
            user = "somebody"
    return plain(f"{user}@{socket.gethostname()}", MAX_NAME)


# from where a change is made, for the flag's history; `person` says on which host
ORIGIN = "command line"


@contextmanager
def errors_as_messages() -> Iterator[None]:
    """Turn an error of ours into a message and an exit code: 2 for what must be fixed, 3 for what may pass."""
    try:
        yield
    except (BadRules, BadSettings) as error:
        print_problems(error.problems)
        raise typer.Exit(EXIT_REFUSED) from error
    except KillswitchError as error:
        print_problems([str(error)])
        raise typer.Exit(EXIT_REFUSED if isinstance(error, Refused) else EXIT_UNAVAILABLE) from error


def source_url(given: str | None) -> str | None:
    """A source as in the settings. A bare http address means a Prometheus."""
    return f"prometheus+{given}" if given is not None and given.startswith(("http://", "https://")) else given


@contextmanager
def opened_source(settings: Settings, given: str | None) -> Iterator[Source]:
    """The metric source of the settings, or the one given with ``--source``. Raises BadSettings."""
    url = source_url(given)
    source = build_source(settings if url is None else settings.model_copy(update={"source": url}))
    try:
        yield source
    finally:
        source.close()


@contextmanager
def opened(
    store: str | None, settings_file: Path | None, rules: Path | None = None, *, roles: Path | None = None
) -> Iterator[tuple[Settings, Store, Switch]]:
    """Settings, the flag store, and a switch that acts for this person. Errors become messages."""
    with errors_as_messages():
        settings = load_settings(settings_file, store=store, rules=rules, roles=roles)
        opened_store = build_store(settings)
        try:
            yield settings, opened_store, Switch(opened_store, wall=time.time, by=person(), origin=ORIGIN)
        except (Unavailable, AccessDenied) as error:
            if isinstance(error, Misunderstood):
                raise
            raise type(error)(f"{error} ({which(settings, 'store', given=store)})") from error
        finally:
            opened_store.close()


def which(settings: Settings, name: str, *, given: str | None) -> str:
    """``flag store etcd://…, the default; name another with --store or KILLSWITCH_STORE``."""
    label = {"store": "flag store", "source": "metric source"}[name]
    chosen = given is not None or name in settings.model_fields_set
    url = without_secrets(getattr(settings, name)) + ("" if chosen else ", the default")
    return f"{label} {url}; name another with --{name} or KILLSWITCH_{name.upper()}"


def rollout_of(settings: Settings, name: str, *, required: bool) -> Rollout | None:
    """The rollout of a rule file, None if there is none. Raises UnknownRollout or BadRules if it is ``required``."""
    from killswitch.rules.loading import load_folder  # noqa: PLC0415  most commands read no rules

    try:
        rollouts = {rollout.name: rollout for rollout in load_folder(settings.rules).rollouts}
    except BadRules:
        if required:
            raise
        return None
    if name not in rollouts and required:
        raise UnknownRollout(name, rollouts)
    return rollouts.get(name)


def page_settings(settings: Settings, name: str) -> PageSettings:
    rollout = rollout_of(settings, name, required=False)
    page = rollout.page if rollout is not None else PageSettings()
    return replace(page, public_url=settings.public_url)


def shadow_asked(shadow: float | None, classes: list[str] | None) -> ShadowShare | None:
    """What ``--shadow`` and ``--shadow-class`` ask for; None if neither is given. They replace what was shadowed."""
    if shadow is None:
        if classes:
            fail("--shadow-class needs --shadow, the percent of all other classes: add --shadow 0 to shadow these only")
        return None
    percents: dict[str, float] = {}
    for one in classes or ():
        name, separator, percent = one.rpartition("=")
        try:
            percents[name] = float(percent)
        except ValueError:
            separator = ""
        if not separator:
            fail(f"--shadow-class {one!r}: write CLASS=PERCENT, for example billing=100")
    try:
        return shadow_share(shadow, percents)
    except ValueError as error:  # it names the fields of the flag's document
        fail(str(error).replace("shadow_percent", "--shadow").replace("shadow_classes", "--shadow-class"))


def stage_asked(stage: str | None, percent: float | None, shadow: ShadowShare | None) -> tuple[str, float]:
    """Stage and percent as `killswitch.flags.flag.resolve_stage` fills them in; ``--shadow`` alone is stage shadow."""
    if shadow is not None and stage is None and percent is None:
        stage = flags.SHADOW
    return flags.resolve_stage(stage, percent)


def stage_of_plan(
    settings: Settings, rollout: str, stage: str | None, percent: float | None
) -> tuple[str | None, float | None]:
    """The stage with the percent that the rollout's plan gives it, where the command line gives none."""
    if stage is None or percent is not None or stage in flags.STAGES:
        return stage, percent  # no rule file need be read
    file = rollout_of(settings, rollout, required=False)
    return stage, percent_of(None if file is None else file.plan, stage, percent)


def served_in_words(flag: Flag, control: str, canary: str) -> str:
    """``5% of users will get model-new instead of model-old``, or what is shadowed in stage ``shadow``."""
    if flag.stage == flags.SHADOW:
        shadowed = "nothing is shadowed"
        if not flag.shadow_share.nothing:
            shadowed = f"{flag.shadow_share} of requests are also sent to {canary}, unseen"
        return f"every user gets {control}; {shadowed}"
    return f"{flag.canary_percent:g}% of users will get {canary} instead of {control}"


def shadowed_in_words(flag: Flag) -> str:
    """``, 20% of requests shadowed``; empty where nothing is."""
    return "" if flag.shadow_share.nothing else f", {flag.shadow_share} of requests shadowed"


def confirm(what: str, *, yes: bool) -> None:
    """Say what will change, and ask unless ``--yes``."""
    from killswitch.cli.console import err  # noqa: PLC0415  the daemon prints nothing: 1.6 MB less

    err.print(one_line(what), markup=False, soft_wrap=True)
    if yes:
        return
    try:
        agreed = typer.confirm("Go on?", err=True)
    except typer.Abort:
        alone = "" if sys.stdin.isatty() else "no terminal to answer; use --yes to go on without the question: "
        fail(f"\n{alone}nothing was changed", EXIT_UNWANTED)
    if not agreed:
        fail("nothing was changed", EXIT_UNWANTED)


def show(document: Any, *, as_json: bool, otherwise: Callable[[], None]) -> None:
    if as_json:
        typer.echo(json_text(document, indent=2))
    else:
        otherwise()


def fail(text: str, code: int = EXIT_REFUSED) -> NoReturn:
    print_problems([text])
    raise typer.Exit(code)
