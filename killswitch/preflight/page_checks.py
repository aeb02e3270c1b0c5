"""Checks of pages: who would be paged, and does each receiver answer?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from killswitch.deadline import Deadline
from killswitch.errors import KillswitchError
from killswitch.model import Rollout
from killswitch.page_addresses import SETTINGS_OF, SILENT
from killswitch.pages.receivers import Answering, KeyedByName, Pager, Scoped
from killswitch.preflight.checks import Check, Status

_RECEIVER_PATIENCE = 10.0
# the settings that hold a receiver's address begin with its name, but for mail's
_PREFIXES = {"email": "SMTP"}
_SECRETS = {"pagerduty": "PagerDuty key", "opsgenie": "Opsgenie key", "teams": "Teams URL"}


def examine_pages(rollouts: Sequence[Rollout], receivers: Sequence[Pager]) -> Iterator[Check]:
    """Who would be paged, and whether they answer. Nothing is sent. ``receivers`` include the fallback."""
    names = [receiver.name for receiver in receivers]
    silent = {receiver.name: check for receiver in receivers if (check := _silent(receiver)) is not None}
    yield from silent.values()
    for receiver in receivers:
        if receiver.name not in silent and isinstance(receiver, Scoped):
            yield from _scopes(receiver.name, receiver)
    taking = [name for name in names if name not in silent]
    if not {*names} - SILENT:
        fix = "set KILLSWITCH_SLACK_TOKEN_FILE, KILLSWITCH_PAGERDUTY_KEY_FILE or another receiver: docs/receivers.md"
        yield Check("pages", Status.WARNING, "they go to standard output only: no one is paged", fix)
    elif {*taking} - SILENT:
        yield Check("pages", Status.OK, f"they go to {' and '.join(taking)}")
    keyed = [receiver for receiver in receivers if isinstance(receiver, KeyedByName)]
    for rollout in rollouts:
        channel = rollout.page.slack
        if channel is not None and "slack" not in names:
            fix = "set KILLSWITCH_SLACK_TOKEN_FILE, or remove `slack` from `page`"
            yield Check(rollout.name, Status.WARNING, f"no Slack token: its pages do not go to {channel}", fix)
        if channel is None and "slack" in names and _may_go_to(rollout, "slack"):
            fix = 'name a channel: page: {slack: "#oncall"}'
            yield Check(rollout.name, Status.WARNING, "it names no Slack channel: Slack gets none of its pages", fix)
        for kind in _SECRETS:
            yield from _keys(rollout, kind, next((one for one in keyed if one.name == kind), None))
        if rollout.page.addresses.email and "email" not in names:
            fix = "set KILLSWITCH_SMTP_URL and KILLSWITCH_EMAIL_FROM, or remove `email` from `page`"
            yield Check(rollout.name, Status.WARNING, "no mail server: it sends no mail", fix)
        yield from _routes(rollout, names)


def _scopes(name: str, receiver: Scoped) -> Iterator[Check]:
    """What the receiver's token may not do."""
    try:
        missing = receiver.missing_scopes(Deadline(_RECEIVER_PATIENCE))
    except KillswitchError:
        return  # that it does not answer is said elsewhere
    for scope, what in missing.items():
        status = Status.WRONG if what == "no page can be sent" else Status.WARNING
        fix = f"add the scope {scope} to the app and install it again: docs/slack.md"
        yield Check(f"pages to {name}", status, f"{what}: its token lacks {scope}", fix)


def _may_go_to(rollout: Rollout, receiver: str) -> bool:
    route = rollout.page.addresses.any_route()
    return route is None or receiver in route


def _routes(rollout: Rollout, names: Sequence[str]) -> Iterator[Check]:
    """Routes to receivers that are not set up here."""
    for severity, routed in rollout.page.addresses.receivers:
        missing = [name for name in routed if name not in names]
        left = {*routed} & {*names} - SILENT
        if missing:
            fix = "; ".join(f"set {SETTINGS_OF[name]}" for name in missing) + f"; or change `page.receivers.{severity}`"
            found = f"its {severity} pages are routed to {', '.join(missing)}, not set up here"
            yield Check(rollout.name, Status.WARNING if left else Status.WRONG, found, fix)


def _keys(rollout: Rollout, kind: str, receiver: KeyedByName | None) -> Iterator[Check]:
    """Whether there is a secret for this rollout's pages. Whether it is right, only `page-test` can say."""
    addresses = rollout.page.addresses
    name = {"pagerduty": rollout.page.pagerduty, "opsgenie": addresses.opsgenie, "teams": addresses.teams}[kind]
    what = _SECRETS[kind]
    if receiver is None:
        if name is not None:
            fix = f"set {SETTINGS_OF[kind].rpartition(' ')[2]}, or remove `{kind}` from `page`"
            yield Check(rollout.name, Status.WARNING, f"no {what}s: its pages do not go to {name}", fix)
        return
    problem = receiver.problem_of(name)
    if problem is None or not _may_go_to(rollout, kind):
        return
    fix = f"add the {what.rpartition(' ')[2]}"
    if name is not None and receiver.problem_of(None) is None:
        yield Check(rollout.name, Status.WARNING, f"its pages go to the default {what}: {problem}", fix)
    else:
        yield Check(rollout.name, Status.WRONG, f"{what.partition(' ')[0]} gets none of its pages: {problem}", fix)


def _silent(receiver: Pager) -> Check | None:
    """What is wrong with a receiver that can be asked and would not take pages now."""
    if not isinstance(receiver, Answering):
        return None
    try:
        receiver.answers(Deadline(_RECEIVER_PATIENCE))
    except KillswitchError as error:
        about = f"pages to {receiver.name}"
        prefix = _PREFIXES.get(receiver.name, receiver.name.upper())
        return Check(
            about,
            Status.WRONG,
            str(error),
            f"correct KILLSWITCH_{prefix}_… or the file that it names, or check that the receiver is up",
        )
    return None
