"""``killswitch doctor``: would the kill switch see a bad canary, and page someone?"""

from __future__ import annotations

import os
import textwrap
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from killswitch import __version__
from killswitch.cli.by_hand import living_controllers
from killswitch.cli.console import out
from killswitch.cli.histories import DataOption, FromOption, OpenHistory, ScrapeOption, open_history, progress_bar
from killswitch.cli.invocation import (
    EXIT_UNWANTED,
    ORIGIN,
    JsonOption,
    RolesOption,
    RulesOption,
    SettingsOption,
    SourceOption,
    StoreOption,
    errors_as_messages,
    person,
    show,
)
from killswitch.cli.role_settings import roles_of
from killswitch.cli.slack_presses import asks_slack
from killswitch.daemon.settings import Settings, load_settings
from killswitch.daemon.wiring import build_pagers, build_store
from killswitch.errors import AccessDenied, BadRules, KillswitchError, Unavailable, UnknownRollout
from killswitch.flags.flag import Flag
from killswitch.model import Rollout
from killswitch.preflight.checks import (
    AskControllers,
    AskCounters,
    AskFlags,
    AskPermissions,
    AskRouters,
    Check,
    MeasureInterval,
    Setup,
    Status,
    TryWriting,
)
from killswitch.preflight.doctor import examine
from killswitch.preflight.drill_checks import examine_drills
from killswitch.preflight.fleet_seen import AskFleet, FleetSeen, fleet_seen
from killswitch.preflight.page_checks import examine_pages
from killswitch.preflight.permission_checks import examine_excess, examine_permissions
from killswitch.preflight.press_checks import examine_presses
from killswitch.preflight.role_checks import examine_roles
from killswitch.preflight.shadow_checks import examine_shadow_routers, examine_spool
from killswitch.preflight.source_checks import no_source
from killswitch.preflight.store_checks import examine_store, examine_writing
from killswitch.rules.loading import load_folder
from killswitch.sources import Source
from killswitch.sources.counter_health import ExaminesCounters
from killswitch.sources.inventory import ListsMetrics
from killswitch.sources.recording import SampledHistory
from killswitch.sources.scrape_interval import ScrapedElsewhere
from killswitch.stores import keys
from killswitch.stores.permissions import StoreUser
from killswitch.trips.switch import Switch

_PROBLEMS = frozenset({Status.WRONG, Status.WARNING})
_INDENT = 9  # columns of the status
_NARROWEST = 40
_STYLES = {Status.OK: "green", Status.NOTE: "cyan", Status.WARNING: "yellow", Status.WRONG: "bold red"}


def command(  # long: its options, and the two ways to examine
    rules: RulesOption = None,
    roles: RolesOption = None,
    store: StoreOption = None,
    data: DataOption = None,
    source: SourceOption = None,
    since: FromOption = None,
    scrape_interval: ScrapeOption = None,
    rollout: Annotated[str | None, typer.Option("--rollout", help="Examine only this rollout.")] = None,
    part: Annotated[
        StoreUser, typer.Option("--as", help="Whose store permissions are tried, with the credentials that are set.")
    ] = StoreUser.CONTROLLER,
    problems_only: Annotated[
        bool, typer.Option("--problems-only", help="Print only what is wrong and warnings.")
    ] = False,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Examine source, store, receivers of pages and rules, on a day of history, and say what to fix.

    What is wrong is printed first, then warnings, then notes, then what is in order.

    Exits with 1 if something is wrong, with 0 if there are only warnings. A recording (--data) needs no store.
    """
    with errors_as_messages():
        configured = load_settings(settings, rules=rules, roles=roles, store=store, scrape_interval=scrape_interval)
        rollouts = _named(load_folder(configured.rules).rollouts, rollout)
        try:
            with open_history(
                rollouts,
                data=data,
                source=source,
                since=since or ("1d" if data is None else None),
                until=None,
                scrape_interval=_stated_interval(configured),
                settings_file=settings,
            ) as history:
                named, every = store is not None, rollout is None
                checks = _examined(history, configured, rollouts, part, store_named=named, all_rules=every)
        except (Unavailable, AccessDenied) as error:
            checks = _without_source(configured, rollouts, error)
        checks.sort(key=lambda check: list(Status).index(check.status), reverse=True)
        wrong = any(check.status is Status.WRONG for check in checks)
        if problems_only:
            checks = [check for check in checks if check.status in _PROBLEMS]
        document = {
            "ok": not wrong,
            "checks": [
                {"about": one.about, "status": one.status.value, "found": one.found, "fix": one.fix} for one in checks
            ],
        }
        show(document, as_json=as_json, otherwise=lambda: _print(checks))
        if wrong:
            raise typer.Exit(EXIT_UNWANTED)


def _stated_interval(settings: Settings) -> str | None:
    """The scrape interval as an option, if one is set. Otherwise it is measured, as the daemon does."""
    if "scrape_interval" not in settings.model_fields_set:
        return None
    return f"{settings.scrape_interval * 1000:.0f}ms"


def _examined(
    history: OpenHistory,
    settings: Settings,
    rollouts: Sequence[Rollout],
    part: StoreUser,
    *,
    store_named: bool,
    all_rules: bool,
) -> list[Check]:
    """All checks. A recording is examined without the store and the receivers, unless a store is named."""
    recorded = isinstance(history.source, SampledHistory)
    alone = recorded and not store_named
    setup = Setup(
        source=history.source,
        rollouts=rollouts,
        terms=history.terms,
        scrape_interval=history.settings.scrape_interval,
        wall=None if recorded else time.time(),
        measure=_measure(history.source),
        counters=_counters(history.source),
        flags=None if alone else _flags(settings),
        try_writing=None if alone else _try_writing(settings),
        controllers=None if alone else _controllers(settings),
        routers=None if alone else _routers(settings),
        fleet=None if alone else _fleet(settings),
        permissions=None if alone else _permissions(settings, part),
        labels=history.source if isinstance(history.source, ListsMetrics) else None,
        version=__version__,
        all_rules=all_rules,
    )
    outside = (
        []
        if alone
        else [*_pages(settings, rollouts), *_spool(), *_roles(settings, rollouts), *_drills(settings, rollouts)]
    )
    with progress_bar("examining") as progress:
        return [*outside, *examine(setup, progress)]


def _without_source(settings: Settings, rollouts: Sequence[Rollout], error: Unavailable | AccessDenied) -> list[Check]:
    """What can be examined if the metric source does not answer."""
    flags, store_checks = examine_store(_flags(settings))
    writing = examine_writing(flags, rollouts, _try_writing(settings))
    routers = examine_shadow_routers(flags or {}, rollouts, _routers(settings))
    return [
        *_pages(settings, rollouts),
        *_spool(),
        *_roles(settings, rollouts),
        *store_checks,
        *writing,
        *routers,
        no_source(error),
    ]


def _named(rollouts: Sequence[Rollout], name: str | None) -> Sequence[Rollout]:
    """The rollout of that name, or all without a name. Raises UnknownRollout."""
    if name is None:
        return rollouts
    found = [rollout for rollout in rollouts if rollout.name == name]
    if not found:
        raise UnknownRollout(name, [rollout.name for rollout in rollouts])
    return found


def _measure(source: Source) -> MeasureInterval | None:
    return source.measure_scrape_interval if isinstance(source, ScrapedElsewhere) else None


def _counters(source: Source) -> AskCounters | None:
    return source.counter_health if isinstance(source, ExaminesCounters) else None


def _pages(settings: Settings, rollouts: Sequence[Rollout]) -> list[Check]:
    pagers, fallback = build_pagers(settings)
    receivers = [*pagers, *([fallback] if fallback is not None else [])]
    return [*examine_pages(rollouts, receivers), *examine_presses(rollouts, asks_slack(settings))]


def _roles(settings: Settings, rollouts: Sequence[Rollout]) -> list[Check]:
    try:
        configs = roles_of(settings)
    except BadRules as error:
        found = f"its files are refused: {error.problems[0]}"
        return [Check("roles", Status.WRONG, found, "`killswitch check` lists all their problems")]
    opened = build_store(settings)
    try:
        stored, _ = Switch(opened, wall=time.time, by=person(), origin=ORIGIN).everything()
        flags = {name: each.flag for name, each in stored.items() if each.flag is not None}
        return list(examine_roles(opened, rollouts, configs, flags, now=time.time()))
    except KillswitchError:
        return []  # the checks of the store say it
    finally:
        opened.close()


def _drills(settings: Settings, rollouts: Sequence[Rollout]) -> list[Check]:
    opened = build_store(settings)
    try:
        stored, _ = Switch(opened, wall=time.time, by=person(), origin=ORIGIN).everything()
        flags = {name: each.flag for name, each in stored.items() if each.flag is not None}
        return list(examine_drills(opened, rollouts, flags, now=time.time()))
    except KillswitchError:
        return []  # the checks of the store say it
    finally:
        opened.close()


def _flags(settings: Settings) -> AskFlags:
    def ask() -> tuple[dict[str, Flag], dict[str, str]]:
        opened = build_store(settings)
        try:
            stored, broken = Switch(opened, wall=time.time, by=person(), origin=ORIGIN).everything()
        finally:
            opened.close()
        flags = {name: each.flag for name, each in stored.items() if each.flag is not None}
        return flags, dict(broken)

    return ask


def _controllers(settings: Settings) -> AskControllers:
    def ask() -> int | None:
        opened = build_store(settings)
        try:
            return living_controllers(opened)
        finally:
            opened.close()

    return ask


def _routers(settings: Settings) -> AskRouters:
    def ask(rollout: str) -> int:
        opened = build_store(settings)
        try:
            return len(opened.list(keys.routers(rollout)).items)
        finally:
            opened.close()

    return ask


def _fleet(settings: Settings) -> AskFleet:
    def ask() -> FleetSeen:
        opened = build_store(settings)
        try:
            return fleet_seen(opened, time.time(), time.monotonic())
        finally:
            opened.close()

    return ask


def _permissions(settings: Settings, part: StoreUser) -> AskPermissions:
    def ask() -> list[Check]:
        opened = build_store(settings)
        try:
            return [*examine_permissions(opened, part), *examine_excess(opened, part)]
        finally:
            opened.close()

    return ask


def _spool() -> list[Check]:
    """Of this machine's folder of raw pairs, if the environment names one."""
    folder = os.environ.get("KILLSWITCH_SHADOW_SPOOL")
    return list(examine_spool(Path(folder), time.time())) if folder else []


def _try_writing(settings: Settings) -> TryWriting:
    def ask(rollout: str) -> None:
        opened = build_store(settings)
        try:
            Switch(opened, wall=time.time, by=person(), origin=ORIGIN).try_writing(rollout)
        finally:
            opened.close()

    return ask


def _print(checks: Sequence[Check]) -> None:
    for (status, found), about in _alike((one.status, one.found, one.about) for one in checks):
        _print_line(status, f"{about}: {found}")
    to_do = [one for one in checks if one.fix]
    if to_do:
        out.print("\nTo do:")
        for (status, fix), about in _alike((one.status, one.fix, one.about) for one in to_do):
            _print_line(status, f"{about}: {fix}")
    elif not checks:
        out.print("No problems.")
    else:
        out.print(
            "\nNothing to do. To see if there are enough users, run `killswitch power --users N`.", soft_wrap=True
        )


def _alike(said: Iterable[tuple[Status, str, str]]) -> Iterator[tuple[tuple[Status, str], str]]:
    """Each line once, with everything it is about: ``copilot error_rate, latency_p95``."""
    about: dict[tuple[Status, str], dict[str, list[str]]] = {}
    for status, words, name in said:
        rollout, _, rule = name.partition(" ")
        about.setdefault((status, words), {}).setdefault(rollout, []).append(rule)
    for line, rollouts in about.items():
        yield line, ", ".join(f"{rollout} {', '.join(rules)}".strip() for rollout, rules in rollouts.items())


def _print_line(status: Status, words: str) -> None:
    """On a terminal the words are wrapped next to their status; a file or a pipe gets one line for each finding."""
    if not out.is_terminal:
        out.print(_line(status, words), soft_wrap=True)
        return
    room = max(out.width - _INDENT, _NARROWEST)
    first, *rest = textwrap.wrap(words, room, break_long_words=False, break_on_hyphens=False) or [""]
    out.print(_line(status, first), soft_wrap=True)
    for line in rest:
        out.print(Text(" " * _INDENT + line), soft_wrap=True)


def _line(status: Status, words: str) -> Text:
    line = Text(f"{status.value:>7}  ", style=_STYLES[status])
    line.append(words, style="default")
    return line
