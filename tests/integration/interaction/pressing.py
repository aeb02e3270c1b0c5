"""People in Slack press, submit and type; the answers that they read."""

from __future__ import annotations

from typing import Any

from killswitch.flags.change import Deed
from killswitch.pages.receivers.slack_buttons import Button
from killswitch.stores import keys
from killswitch.trips.flag_history import changes_in, history_of
from tests.doubles.slack_payloads import ANN, command, press, submission
from tests.integration.interaction.replicas import Replica
from tests.unit.interaction.pressed import ROLLOUT, Scene


def pressed(replica: Replica, button: Button, *, user: str = ANN, trigger: str | None = None, **given: Any) -> str:
    """Press a button of a message that is sent now; the answer that the person reads, "" for a dialog."""
    slack, before = replica.slack, len(replica.slack.answers)
    payload = press(
        button,
        given.pop("value", None) or replica.scene.value(),
        user=user,
        trigger=trigger or slack.trigger(),
        response_url=slack.response_url(),
        **given,
    )
    assert replica.desk.interaction(payload) is not None
    replica.settled()
    return "\n".join(slack.said()[before:])


def submitted(replica: Replica, view: dict[str, Any], **given: Any) -> str:
    before = len(replica.slack.answers)
    taken = replica.desk.interaction(submission(view, **given))
    assert taken is not None
    assert taken.payload is None
    replica.settled()
    return "\n".join(replica.slack.said()[before:])


def commanded(replica: Replica, text: str, *, user: str = ANN, trigger: str | None = None, **given: Any) -> str:
    slack, before = replica.slack, len(replica.slack.answers)
    form = command(text, user=user, trigger=trigger or slack.trigger(), response_url=slack.response_url(), **given)
    taken = replica.desk.command(form)
    assert taken is not None
    replica.settled()
    if taken.payload is not None:
        return str(taken.payload["text"])
    return "\n".join(slack.said()[before:])


def changes(scene: Scene) -> list[tuple[Deed, str]]:
    """What was done from Slack, by whom."""
    return [(one.deed, one.by) for one in changes_in(history_of(scene.store, ROLLOUT)) if one.origin == "Slack"]


def refused(replica: Replica, scene: Scene, said: str) -> None:
    assert said.startswith("Nothing was changed: ")
    assert changes(scene) == []
    assert scene.store.list(keys.PRESSES).items == ()
    assert replica.slack.views == []
