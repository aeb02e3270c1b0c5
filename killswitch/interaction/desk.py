"""The desk: takes what Slack sends, acknowledges it at once, then asks who it was, does it, and answers in words.

Slack wants its acknowledgement within three seconds, and a dialog must be opened within three seconds of the press. So
nothing that asks a server happens before the acknowledgement. Every replica has a desk; whichever one Slack reaches
does the work, and the store sees to it that it is done once.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from killswitch.deadline import Deadline
from killswitch.errors import BadDocument, KillswitchError, OutcomeUnknown, Refused, UnknownRollout
from killswitch.flags.flag import Flag
from killswitch.interaction.allow_list import Profile
from killswitch.interaction.commands import HELP, status_in_words
from killswitch.interaction.deeds import Deeds, Done, in_words
from killswitch.interaction.dialogs import LIVE_FOR, end_dialog, followed, problems_with, rearm_dialog, still_visible
from killswitch.interaction.payloads import Caller, Command, Place, Press, Submission, from_command, from_interaction
from killswitch.interaction.people import People
from killswitch.interaction.slack_api import SlackApi, SlackRefusal
from killswitch.interaction.workers import WaitingOfEach, Workers
from killswitch.model import Rollout
from killswitch.net.credentials import Secret
from killswitch.pages.receivers.slack_buttons import Button, ButtonValue
from killswitch.pages.receivers.slack_markup import cut, escape
from killswitch.status.reports import CycleReport

_log = logging.getLogger(__name__)
DIALOG_WITHIN = 2.7  # seconds from the press; Slack's own limit is three
ANSWER_WITHIN = 5.0
MAX_TEXT = 3000
_TOO_LATE = "the dialog could not be opened within Slack's three seconds; press again"
_TRIGGER_CODES = frozenset({"expired_trigger_id", "exchanged_trigger_id", "invalid_trigger_id", "trigger_expired"})
_VERBS = frozenset({"status", "trip", "rearm", "hold", "help", ""})


@dataclass(frozen=True, slots=True)
class Taken:
    """``payload``: what the acknowledgement holds; None for nothing."""

    payload: Mapping[str, Any] | None = None


class FrontDesk:
    """``token``: the bot's. ``count`` is called with what was asked for and what became of it. Thread-safe."""

    def __init__(  # long: it connects Slack, the store, the rule files and the newest cycle
        self,
        *,
        api: SlackApi,
        token: Secret,
        people: People,
        deeds: Deeds,
        workers: Workers,
        rollouts: Callable[[], Mapping[str, Rollout]],
        latest: Callable[[], CycleReport | None],
        wall: Callable[[], float],
        monotonic: Callable[[], float],
        count: Callable[[str, str], None],
    ) -> None:
        self._api = api
        self._token = token
        self._people = people
        self._deeds = deeds
        self._workers = workers
        self._rollouts = rollouts
        self._latest = latest
        self._wall = wall
        self._monotonic = monotonic
        self._count = count
        self._waiting = WaitingOfEach()

    # --- what Slack sends -----------------------------------------------------------------------

    def interaction(self, payload: object) -> Taken | None:
        """The acknowledgement of a press or a dialog; None where too many wait, so that Slack says it failed."""
        try:
            asked = from_interaction(payload)
        except BadDocument as error:
            return self._unreadable(error)
        match asked:
            case None:
                return Taken()
            case Submission() if problems := problems_with(asked):
                return Taken({"response_action": "errors", "errors": problems})
            case Submission():
                return self._taken(asked, asked.button.value, lambda: self._submitted(asked))
            case Press():
                opens = Deadline(DIALOG_WITHIN, self._monotonic)
                return self._taken(asked, asked.button.value, lambda: self._pressed(asked, opens))

    def command(self, form: Mapping[str, object]) -> Taken | None:
        """As `interaction`, of a slash command."""
        try:
            asked = from_command(form)
        except BadDocument as error:
            return self._unreadable(error)
        if asked.verb not in _VERBS or asked.verb in ("help", ""):
            return Taken(_ephemeral(HELP))
        opens = Deadline(DIALOG_WITHIN, self._monotonic)
        return self._taken(asked, asked.verb, lambda: self._commanded(asked, opens))

    def _unreadable(self, error: BadDocument) -> Taken:
        _log.warning("Slack sent what cannot be read, and it is left alone: %s", error)
        self._count("unreadable", "refused")
        return Taken()

    def _taken(self, asked: Press | Submission | Command, what: str, do: Callable[[], Done | None]) -> Taken | None:
        user = asked.caller.user

        def job() -> None:
            try:
                self._do(asked.caller, asked.place, what, do)
            finally:
                self._waiting.done(user)

        if self._waiting.takes(user):
            if self._workers.submit(job):
                return Taken()
            self._waiting.done(user)
        _log.error("too many presses in Slack wait; %s of %s was not taken", what, user)
        self._count(what, "busy")
        return None

    # --- what is done ---------------------------------------------------------------------------

    def _pressed(self, press: Press, opens: Deadline) -> Done | None:
        value, button = press.value, press.button
        person = self._may(press.caller, value.rollout, opens if button.asks else self._deadline())
        match button:
            case Button.ACKNOWLEDGE:
                return self._deeds.acknowledge(value, person.signature)
            case Button.HOLD:
                return self._deeds.hold(value, person.signature, "")
            case _:
                flag = self._deeds.bound(value, button).flag
                assert flag is not None
                self._open(button, flag, value, press.place, press.trigger_id, opens)
                return None

    def _submitted(self, given: Submission) -> Done:
        if self._wall() - given.opened_at > LIVE_FOR:
            raise Refused(
                f"this dialog was open for more than {LIVE_FOR / 60:g} minutes, and what it showed is old; press the "
                "button again"
            )
        by = self._may(given.caller, given.value.rollout, self._deadline()).signature
        if given.button is Button.END:
            return self._deeds.end(given.value, by, reason=given.reason)
        return self._deeds.rearm(given.value, by, reason=given.reason, stage=given.stage, new_users=given.new_users)

    def _commanded(self, asked: Command, opens: Deadline) -> Done | None:
        if asked.verb == "status":
            self._people.someone_here(asked.caller, self._deadline())
            return Done(status_in_words(self._latest(), asked.rollout, now=self._monotonic()))
        if not asked.rollout:
            raise Refused(f"name a rollout: `/killswitch {asked.verb} ROLLOUT`; `/killswitch status` lists them")
        deadline = opens if asked.verb == "rearm" else self._deadline()
        by = self._may(asked.caller, asked.rollout, deadline).signature
        if asked.verb == "trip":
            return self._deeds.trip(asked.rollout, by, reason=asked.reason, trigger_id=asked.trigger_id)
        if asked.verb == "hold":
            return self._deeds.hold_now(asked.rollout, by, reason=asked.reason, trigger_id=asked.trigger_id)
        stored, value = self._deeds.binding(asked.rollout, asked.trigger_id)
        assert stored.flag is not None
        self._open(Button.REARM, stored.flag, value, asked.place, asked.trigger_id, opens)
        return None

    def _may(self, caller: Caller, rollout: str, deadline: Deadline) -> Profile:
        """The person, who may press buttons of this rollout. Raises Refused for anyone else."""
        known = self._rollouts()
        if rollout not in known:
            self._people.someone_here(caller, deadline)
            raise UnknownRollout(rollout, known)
        return self._people.allowed(caller, rollout, known[rollout].page.slack_allow, deadline)

    def _open(
        self, button: Button, flag: Flag, value: ButtonValue, place: Place, trigger_id: str, opens: Deadline
    ) -> None:
        now = self._wall()
        incident = self._deeds.incident(flag)
        if button is Button.END:
            view = end_dialog(flag, incident, value, place, opened_at=now)
        else:
            report = self._latest()
            seen = still_visible(None if report is None else report.reports.get(flag.rollout))
            seen.append(followed(incident))
            view = rearm_dialog(flag, incident, seen, self._deeds.stages(flag), value, place, opened_at=now)
        if opens.expired:
            raise Refused(_TOO_LATE)
        try:
            self._api.call("views.open", self._token, opens, trigger_id=trigger_id, view=json.dumps(view))
        except SlackRefusal as error:
            raise Refused(_TOO_LATE if error.code in _TRIGGER_CODES else str(error)) from error

    # --- the answer -----------------------------------------------------------------------------

    def _do(self, caller: Caller, place: Place, what: str, do: Callable[[], Done | None]) -> None:
        try:
            done = do()
        except OutcomeUnknown as error:
            said, outcome, done = f"It is not known whether this was done: {in_words(error)}", "unknown", None
        except KillswitchError as error:
            said, outcome, done = f"Nothing was changed: {in_words(error)}", "refused", None
        except Exception:  # noqa: BLE001  a bug in one press must not end the thread
            _log.exception("%s in Slack failed because of a bug", what)
            said, outcome, done = "Unexpected error; look at `killswitch status` and the daemon's log", "bug", None
        else:
            said, outcome = ("" if done is None else done.said), "done"
        self._count(what, outcome)
        _log.info("%s in Slack by %s: %s", what, caller.user, said or "the dialog is open")
        if said:
            self._answer(caller, place, said)
        if done is not None and done.told:
            self._tell(place, done.told)

    def _answer(self, caller: Caller, place: Place, said: str) -> None:
        """To the person alone: to the address that Slack gave, else in the channel."""
        text = cut(escape(said), MAX_TEXT)
        try:
            if place.response_url:
                self._api.respond(place.response_url, _ephemeral(text), self._deadline())
                return
        except KillswitchError as error:
            _log.warning("Slack took no answer: %s", error)
        if place.channel:
            self._post("chat.postEphemeral", channel=place.channel, user=caller.user, text=text)

    def _tell(self, place: Place, told: str) -> None:
        """To everyone, in the thread of the message."""
        if place.channel and place.message:
            text = cut(escape(told), MAX_TEXT)
            self._post("chat.postMessage", channel=place.channel, thread_ts=place.message, text=text)

    def _post(self, method: str, **arguments: str) -> None:
        try:
            self._api.call(method, self._token, self._deadline(), **arguments)
        except KillswitchError as error:
            _log.warning("Slack %s: %s", method, error)

    def _deadline(self) -> Deadline:
        return Deadline(ANSWER_WITHIN, self._monotonic)


def _ephemeral(text: str) -> dict[str, Any]:
    return {"response_type": "ephemeral", "replace_original": False, "text": text}
