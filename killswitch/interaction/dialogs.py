"""The dialogs of Re-arm and End: what they show, and what they ask for.

Limits of Slack: 24 characters in a title and on a button, 75 in an option, 3,000 in a section and in
`private_metadata`, 100 blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from killswitch.flags.flag import Flag
from killswitch.flags.incident import Incident
from killswitch.interaction.payloads import MAX_REASON, OTHER_USERS, REASON, STAGE, USERS, Place, Submission, metadata
from killswitch.model import Finding, Verdict
from killswitch.pages.receivers.slack_buttons import Button, ButtonValue
from killswitch.pages.receivers.slack_markup import cut, escape
from killswitch.status.reports import RolloutReport
from killswitch.wording import date_and_time, plain

MAX_SECTION = 3000
MAX_STAGES = 20
LIVE_FOR = 900.0  # seconds; after that what it shows may be old, and Slack takes no more answers after thirty minutes


def rearm_dialog(
    flag: Flag,
    incident: Incident | None,
    seen: Sequence[str],
    stages: Mapping[str, float],
    value: ButtonValue,
    place: Place,
    *,
    opened_at: float,
) -> dict[str, Any]:
    """``incident``: the flag's; None where it cannot be read. ``seen``: the lines of `still_visible`.

    ``stages``: their percents; the first is chosen at first.
    """
    options = [_option(f"{name}: {percent:g}% of users", name) for name, percent in list(stages.items())[:MAX_STAGES]]
    again = f"The share of users that you choose gets {plain(flag.rollout_canary, 100)} again."
    stage = {"type": "static_select", "action_id": STAGE, "options": options, "initial_option": options[0]}
    users = {
        "type": "checkboxes",
        "action_id": USERS,
        "options": [_option("Other users than before", OTHER_USERS)],
    }
    blocks = [
        *_story(flag, incident),
        _section("*Is the breach still visible?*\n" + "\n".join(f"• {escape(line)}" for line in seen)),
        _section(escape(again)),
        _input(STAGE, "Stage to begin again with", stage),
        _reason("What was fixed?"),
        {**_input(USERS, "Users of the canary", users), "optional": True},
    ]
    return _view(Button.REARM, "Re-arm", blocks, metadata(value, place, opened_at))


def end_dialog(
    flag: Flag, incident: Incident | None, value: ButtonValue, place: Place, *, opened_at: float
) -> dict[str, Any]:
    """What ending does, and why it is wanted."""
    then = (
        f"Its flag is removed, and everyone gets {plain(flag.control, 100)}. To give the canary users again, someone "
        "must arm it from the command line."
    )
    blocks = [*_story(flag, incident), _section(escape(then)), _reason("Why does it end?")]
    return _view(Button.END, "End", blocks, metadata(value, place, opened_at))


def still_visible(report: RolloutReport | None) -> list[str]:
    """Whether the newest cycle sees a breach, a line for each rule that does; never empty."""
    if report is None:
        return ["UNKNOWN: no cycle has finished that judges this rollout"]
    if not report.read.fresh:
        return [f"UNKNOWN: the flag store cannot be read ({report.read.words})"]
    over = [one for one in report.findings if one.verdict in (Verdict.BREACH, Verdict.SUSPECT)]
    if over:
        return [f"YES: {_sentence(one)}" for one in over[:10]]
    known = [one for one in report.findings if one.verdict is Verdict.HEALTHY]
    if known:
        return [f"No: {_sentence(one)}" for one in known[:10]]
    return ["It cannot be seen: a tripped canary has no requests to judge. Check what was fixed before you re-arm."]


def followed(incident: Incident | None) -> str:
    """Whether routers have followed the trip: a canary that some still serve would be re-armed under their users."""
    routers = None if incident is None else incident.routers
    if routers is None:
        return "Whether routers have followed the trip is UNKNOWN"
    at = f"of {routers.known} routers had followed the trip at {date_and_time(routers.at)}"
    return f"{routers.followed} {at}" if routers.followed >= routers.known else f"ONLY {routers.followed} {at}"


def problems_with(submission: Submission) -> dict[str, str] | None:
    """What Slack is to show at the inputs of the dialog; None where all are filled in."""
    problems = {}
    if not submission.reason:
        problems[REASON] = "Say why. It is kept in the history of the flag."
    if submission.button is Button.REARM and not submission.stage:
        problems[STAGE] = "Choose a stage."
    return problems or None


def _story(flag: Flag, incident: Incident | None) -> list[dict[str, Any]]:
    trip = flag.trip
    tripped = ""
    if trip is not None:
        # the time of the decision, as on the page; the flag has the tick, some seconds earlier
        at = trip.at if incident is None else incident.decided_at
        tripped = f"\nTripped {date_and_time(at)} by {plain(trip.by, 100)}: {plain(trip.reason, 500)}"
    return [_section(f"*{escape(flag.rollout)}*, generation {flag.generation}{escape(tripped)}")]


def _sentence(finding: Finding) -> str:
    return plain(finding.sentence or finding.rule, 300)


def _view(button: Button, name: str, blocks: list[dict[str, Any]], carried: str) -> dict[str, Any]:
    return {
        "type": "modal",
        "callback_id": button.action_id,
        "private_metadata": carried,
        "title": _plain(f"{name} a rollout"),
        "submit": _plain(name),
        "close": _plain("Cancel"),
        "blocks": blocks,
    }


def _reason(label: str) -> dict[str, Any]:
    element = {
        "type": "plain_text_input",
        "action_id": REASON,
        "multiline": True,
        "min_length": 1,
        "max_length": MAX_REASON,
        "focus_on_load": True,
    }
    return _input(REASON, label, element)


def _input(name: str, label: str, element: dict[str, Any]) -> dict[str, Any]:
    return {"type": "input", "block_id": name, "label": _plain(label), "element": element}


def _option(text: str, value: str) -> dict[str, Any]:
    return {"text": _plain(text[:75]), "value": value}


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": cut(text, MAX_SECTION), "verbatim": True}}


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text}
