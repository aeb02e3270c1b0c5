"""Checks of buttons in Slack: can presses reach us, does Slack say who presses, and are there people who may?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from killswitch.errors import KillswitchError
from killswitch.model import Rollout
from killswitch.preflight.checks import Check, Status

NEEDED = ("users:read", "usergroups:read")
_ABOUT = "buttons in Slack"
_REACH = "set KILLSWITCH_SLACK_APP_TOKEN_FILE or KILLSWITCH_SLACK_SIGNING_SECRET_FILE (docs/slack.md)"


class AsksSlack(Protocol):
    """What is asked of Slack. Nothing is posted. Each raises what the Web API raises."""

    def scopes(self) -> frozenset[str] | None:
        """What the bot may do; None if Slack does not say."""
        ...

    def open_socket(self) -> bool:
        """Whether there is an app-level token with which Slack gives an address for a socket."""
        ...

    def members(self, group: str) -> int:
        """How many people are in the user group."""
        ...


def examine_presses(rollouts: Sequence[Rollout], asks: AsksSlack | None) -> Iterator[Check]:
    """``asks``: None where no press can reach us, because neither an app-level token nor a signing secret is set."""
    allowing = [rollout for rollout in rollouts if rollout.page.slack_allow]
    if asks is None:
        for rollout in allowing:
            found = "its rule file says who may press buttons in Slack, and no press can reach us"
            yield Check(rollout.name, Status.WARNING, found, _REACH)
        return
    if not allowing:
        fix = "name people and groups: page: {slack_allow: [U…, S…]}"
        yield Check(_ABOUT, Status.NOTE, "no rule file says who may press, so no message has any", fix)
        return
    app = list(_app(asks))
    yield from app
    if any(check.status is Status.WRONG for check in app):
        return  # groups cannot be asked for then
    groups = sorted({one for rollout in allowing for one in rollout.page.slack_allow if one.startswith("S")})
    for group in groups:
        yield from _group(asks, group)


def _app(asks: AsksSlack) -> Iterator[Check]:
    try:
        scopes = asks.scopes()
        socket = asks.open_socket()
    except KillswitchError as error:
        fix = "check both tokens, their scopes, and that Socket Mode is on in the app (docs/slack.md)"
        yield Check(_ABOUT, Status.WRONG, str(error), fix)
        return
    missing = [scope for scope in NEEDED if scopes is not None and scope not in scopes]
    if missing:
        fix = f"add {' and '.join(missing)} to the app, and install it again"
        yield Check(_ABOUT, Status.WRONG, "Slack will not say who presses, so no one may", fix)
    else:
        way = "Slack gives a socket" if socket else "they come to the request URL, which only Slack can try"
        yield Check(_ABOUT, Status.OK, way)


def _group(asks: AsksSlack, group: str) -> Iterator[Check]:
    about = f"Slack group {group}"
    try:
        members = asks.members(group)
    except KillswitchError as error:
        yield Check(about, Status.WRONG, f"Slack does not say who is in it: {error}", "correct its id in `slack_allow`")
        return
    if members == 0:
        yield Check(about, Status.WARNING, "no one is in it", "add people to it in Slack, or name others")
