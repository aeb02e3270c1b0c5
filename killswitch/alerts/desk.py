"""What an Alertmanager's message is answered: done, refused in words, or to be sent again.

Alertmanager repeats a message that is answered with 5xx, within seconds, and reports any other failure in its log and
metrics. So 503 is said only where the flag store did not take a change. A message of which a part is refused is
answered 422 though the rest is done: it is repeated with the group, and what was done already changes nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from killswitch.alert_settings import LABEL, AlertAction
from killswitch.alerts.acting import Acted, AlertActing, AlertOutcome, about
from killswitch.alerts.message import Alert, Message, read_message
from killswitch.errors import BadDocument
from killswitch.model import Rollout
from killswitch.wording import plain

log = logging.getLogger(__name__)
WITHIN = 15.0  # seconds after which no further rollout is begun: the web server ends an answer after 30
WAIT = 5.0  # seconds that a message waits for the one before it
MAX_LISTED = 100


@dataclass(slots=True)
class _Sorted:
    """A message's firing alerts by rollout, what is refused, and how many are resolved."""

    by_rollout: dict[str, tuple[Rollout, list[Alert]]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    resolved: int = 0


class AlertDesk:
    """``rollouts``: the rule files in force, by name. ``counted`` gets each rollout's outcome. Any thread may call."""

    def __init__(
        self,
        acting: AlertActing,
        *,
        rollouts: Callable[[], Mapping[str, Rollout]],
        counted: Callable[[str], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._acting = acting
        self._rollouts = rollouts
        self._counted = counted
        self._monotonic = monotonic
        self._one = threading.Lock()

    def take(self, body: bytes) -> tuple[int, dict[str, Any]]:
        """Do what the message asks for. The answer's HTTP status, and its JSON."""
        try:
            message = read_message(body)
        except BadDocument as error:
            log.warning("alerts: a message was refused: %s", error)
            self._counted(AlertOutcome.REFUSED)
            return 400, {"error": str(error)}
        if not self._one.acquire(timeout=WAIT):
            self._counted(AlertOutcome.RETRY)
            return 503, {"error": "another message of alerts is being worked on; send it again"}
        try:
            return self._answer(message)
        finally:
            self._one.release()

    def _answer(self, message: Message) -> tuple[int, dict[str, Any]]:
        found = _sorted(message, self._rollouts())
        acted = self._act(list(found.by_rollout.values()))
        for one in acted:
            self._counted(one.outcome)
        for said in found.refused[:MAX_LISTED]:
            self._counted(AlertOutcome.REFUSED)
            log.warning("alerts: refused: %s", said)
        document: dict[str, Any] = {
            "rollouts": [
                {"rollout": one.rollout, "outcome": one.outcome.value, "said": one.said} for one in acted[:MAX_LISTED]
            ],
            "refused": found.refused[:MAX_LISTED],
        }
        if found.resolved:
            document["resolved"] = f"{found.resolved} resolved: nothing is re-armed or resumed, only a person does that"
        if message.truncated:
            said = f"{message.truncated} alerts were left out by the sender (max_alerts), and could not act"
            log.warning("alerts: %s", said)
            document["truncated"] = said
        if any(one.outcome is AlertOutcome.RETRY for one in acted):
            return 503, {"error": "the flag store did not take every change; send it again", **document}
        refused = [*found.refused, *(one.said for one in acted if one.outcome is AlertOutcome.REFUSED)]
        if refused:
            return 422, {"error": refused[0], **document}
        return 200, document

    def _act(self, groups: Sequence[tuple[Rollout, list[Alert]]]) -> list[Acted]:
        """Rollouts that may be tripped come first."""
        began = self._monotonic()
        acted: list[Acted] = []
        for rollout, alerts in sorted(groups, key=_trips_first):
            if self._monotonic() - began > WITHIN:
                acted.append(Acted(rollout.name, AlertOutcome.RETRY, "no time was left for it; send it again"))
                continue
            acted.append(self._acting.act(rollout, alerts))
        return acted


def _trips_first(group: tuple[Rollout, list[Alert]]) -> tuple[bool, str]:
    settings = group[0].alerts
    return settings is None or settings.action is not AlertAction.TRIP, group[0].name


def _sorted(message: Message, rollouts: Mapping[str, Rollout]) -> _Sorted:
    found = _Sorted(refused=list(message.unread))
    for alert in message.alerts:
        if not alert.firing:
            found.resolved += 1
            continue
        taken = False
        for rollout in about(alert, rollouts):
            taken = True
            found.by_rollout.setdefault(rollout.name, (rollout, []))[1].append(alert)
        if not taken:
            found.refused.append(_refusal(alert, rollouts))
    return found


def _refusal(alert: Alert, rollouts: Mapping[str, Rollout]) -> str:
    name = f"alert {plain(alert.name, 120)}"
    wanted = alert.labels.get(LABEL)
    if wanted is None:
        return f"{name}: it has no label {LABEL}, and no rule file's `alerts: match` has its labels"
    shown = plain(wanted, 80)
    if wanted not in rollouts:
        return f"{name}: no rule file here has a rollout {shown!r}"
    if rollouts[wanted].alerts is None:
        return f"{name}: the rule file of {shown} has no key `alerts`; add `alerts: hold` or `alerts: trip`"
    return f"{name}: the rule file of {shown} takes only alerts with the labels of its `alerts: match`"
