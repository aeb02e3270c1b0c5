"""``killswitch page-test``: does a page arrive?"""

from __future__ import annotations

import sys
import time
import uuid
from dataclasses import replace
from typing import Annotated, Any

import typer

from killswitch.cli.invocation import (
    EXIT_UNWANTED,
    JsonOption,
    RulesOption,
    SettingsOption,
    errors_as_messages,
    fail,
    person,
    say,
    show,
)
from killswitch.daemon.settings import load_settings
from killswitch.daemon.wiring import build_pagers
from killswitch.errors import UnknownRollout
from killswitch.model import Rollout
from killswitch.page_addresses import RECEIVERS
from killswitch.pages.page import SEVERITIES
from killswitch.pages.page_trial import Trial, Tried, trials, try_each
from killswitch.pages.trial_page import trial
from killswitch.rules.loading import load_folder


def command(  # long: its options, and what it says
    rollout: Annotated[
        str | None, typer.Option("--rollout", help="Only this rollout's addresses; otherwise every rule file's.")
    ] = None,
    receiver: Annotated[
        str | None, typer.Option("--receiver", help=f"Only this receiver: {', '.join(RECEIVERS)}.")
    ] = None,
    severity: Annotated[
        str | None,
        typer.Option(
            "--severity",
            help="Send it with this severity, only where rule files route it. A critical one mentions people.",
            show_default="info, to every receiver",
        ),
    ] = None,
    keep_open: Annotated[
        bool, typer.Option("--keep-open", help="Leave the alerts open in PagerDuty, Opsgenie and Alertmanager.")
    ] = False,
    rules: RulesOption = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a harmless page marked TEST through each receiver, once for each of its addresses, and say what came back.

    No flag is read or changed. Alerts that would stay open are ended at once.

    Exits with 1 if a page was not taken, if an alert stays open that should not, or if there is no one to send to.
    """
    _check(receiver, RECEIVERS, "receiver")
    _check(severity, SEVERITIES, "severity")
    with errors_as_messages():
        configured = load_settings(settings, rules=rules)
        chosen = _chosen(load_folder(configured.rules).rollouts, rollout)
        pagers, fallback = build_pagers(configured, console=sys.stderr if as_json else None)
        every = [*pagers, *([fallback] if fallback is not None else [])]
        named = [pager for pager in every if receiver in (None, pager.name)]
        if not named:
            fail(f"{receiver} is not set up here; set its settings: docs/receivers.md")
        identity = uuid.uuid4().hex[:8]
        pages = [
            trial(
                one.name,
                replace(one.page, public_url=configured.public_url),
                severity=severity or "info",
                by=person(),
                at=time.time(),
                identity=identity,
            )
            for one in chosen
        ]
        wanted = trials(pages, named, routed=severity is not None)
        if not wanted:
            fail(_nowhere(receiver, severity), EXIT_UNWANTED)
        tried = []
        for one in try_each(wanted, named, keep_open=keep_open, monotonic=time.monotonic):
            tried.append(one)
            if not as_json:
                say(_line(one))
        show([_document(one) for one in tried], as_json=as_json, otherwise=lambda: None)
        if not all(one.taken and one.closed is not False for one in tried):
            raise typer.Exit(EXIT_UNWANTED)


def _check(given: str | None, known: tuple[str, ...], what: str) -> None:
    if given is not None and given not in known:
        fail(f"{given!r} is not a {what}; use {', '.join(known)}")


def _chosen(rollouts: tuple[Rollout, ...], name: str | None) -> list[Rollout]:
    chosen = [one for one in rollouts if name in (None, one.name)]
    if not chosen and name is not None:
        raise UnknownRollout(name, [one.name for one in rollouts])
    return chosen


def _nowhere(receiver: str | None, severity: str | None) -> str:
    who = receiver or "any receiver"
    if severity is not None:
        return f"no page of severity {severity} goes to {who}: see `page.receivers` in the rule files"
    return f"no rule file has an address for {who}: set one in section `page`, or a default in the settings"


def _line(one: Tried) -> str:
    what = _place(one.trial)
    if one.problem:
        return f"NOT TAKEN  {what}, after {_duration(one.seconds)}: {one.problem}"
    said = f", reference {one.reference}" if one.reference else ""
    ending = {None: "", True: "; its alert is ended", False: f"; ITS ALERT STAYS OPEN: {one.left_open}"}[one.closed]
    return f"taken      {what}, in {_duration(one.seconds)}{said}{ending}"


def _place(one: Trial) -> str:
    names = ", ".join(one.rollouts[:3]) + (f" and {len(one.rollouts) - 3} more" if len(one.rollouts) > 3 else "")
    return f"{one.receiver}{f' {one.address}' if one.address else ''} ({names})"


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _document(one: Tried) -> dict[str, Any]:
    return {
        "receiver": one.trial.receiver,
        "address": one.trial.address,
        "rollouts": list(one.trial.rollouts),
        "taken": one.taken,
        "seconds": round(one.seconds, 3),
        "reference": one.reference,
        "problem": one.problem,
        "closed": one.closed,
        "left_open": one.left_open,
    }
