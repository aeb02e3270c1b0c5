"""Checks of pages: who would be paged, and does each receiver answer?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from killswitch.deadline import Deadline
from killswitch.errors import KillswitchError
from killswitch.model import Rollout
from killswitch.pages.receivers import Answering, KeyedByName, Pager
from killswitch.preflight.checks import Check, Status

_RECEIVER_PATIENCE = 10.0


def examine_pages(rollouts: Sequence[Rollout], receivers: Sequence[Pager]) -> Iterator[Check]:
    """Who would be paged, and whether they answer. Nothing is sent. ``receivers`` include the fallback."""
    names = [receiver.name for receiver in receivers]
    silent = {receiver.name: check for receiver in receivers if (check := _silent(receiver)) is not None}
    yield from silent.values()
    taking = [name for name in names if name not in silent]
    if not {*names} - {"console"}:
        fix = "set KILLSWITCH_SLACK_TOKEN_FILE, KILLSWITCH_PAGERDUTY_KEY_FILE or KILLSWITCH_WEBHOOK_URL_FILE"
        yield Check("pages", Status.WARNING, "they go to standard output only: no one is paged", fix)
    elif {*taking} - {"console"}:
        yield Check("pages", Status.OK, f"they go to {' and '.join(taking)}")
    for rollout in rollouts:
        channel = rollout.page.slack
        if channel is not None and "slack" not in names:
            fix = "set KILLSWITCH_SLACK_TOKEN_FILE, or remove `slack` from `page`"
            yield Check(rollout.name, Status.WARNING, f"no Slack token: its pages do not go to {channel}", fix)
        if channel is None and "slack" in names:
            fix = 'name a channel: page: {slack: "#oncall"}'
            yield Check(rollout.name, Status.WARNING, "it names no Slack channel: Slack gets none of its pages", fix)

        yield from _pagerduty(rollout, next((each for each in receivers if isinstance(each, KeyedByName)), None))


def _pagerduty(rollout: Rollout, receiver: KeyedByName | None) -> Iterator[Check]:
    """Whether there is an integration key for this rollout's pages. PagerDuty cannot be asked if it is valid."""
    name = rollout.page.pagerduty
    if receiver is None:
        if name is not None:
            fix = "set KILLSWITCH_PAGERDUTY_TEAM_KEYS_FILE, or remove `pagerduty` from `page`"
            yield Check(rollout.name, Status.WARNING, f"no PagerDuty keys: its pages do not go to {name}", fix)
        return
    problem = receiver.problem_of(name)
    if problem is None:
        return
    if name is not None and receiver.problem_of(None) is None:
        yield Check(
            rollout.name, Status.WARNING, f"its pages go to the default PagerDuty key: {problem}", "add the key"
        )
    else:
        yield Check(rollout.name, Status.WRONG, f"PagerDuty gets none of its pages: {problem}", "add the key")


def _silent(receiver: Pager) -> Check | None:
    """What is wrong with a receiver that can be asked and would not take pages now."""
    if not isinstance(receiver, Answering):
        return None
    try:
        receiver.answers(Deadline(_RECEIVER_PATIENCE))
    except KillswitchError as error:
        about = f"pages to {receiver.name}"
        return Check(
            about,
            Status.WRONG,
            str(error),
            f"correct KILLSWITCH_{receiver.name.upper()}_… or the file that it names, or check that the receiver is up",
        )
    return None
