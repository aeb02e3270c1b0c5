"""What buttons, dialogs and the slash command do to a rollout: the same as the command of the same name, once.

A press is bound to the flag's revision: its transaction compares it, and uses up the nonce of the button. Every method
returns what it has done in words, and raises a KillswitchError that says why it has done nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from killswitch import __version__
from killswitch.errors import KillswitchError, OutcomeUnknown, Refused, Unavailable
from killswitch.flags.flag import AA, SHADOW, Flag, resolve_stage
from killswitch.flags.incident import Incident, IncidentDraft
from killswitch.flags.incident import from_document as incident_from_document
from killswitch.flags.transitions import Actor, State
from killswitch.interaction.once import PressNote, done_before, nonce_of, once
from killswitch.model import PageSettings, Rollout
from killswitch.pages import events
from killswitch.pages.receivers.slack_buttons import Button, ButtonValue
from killswitch.ramps.rearming import percent_of, stages_to_choose
from killswitch.registry.raising import pair_to_raise
from killswitch.roles.config import RoleConfig
from killswitch.stores import Committed, Compare, Store, keys
from killswitch.trips.acknowledging import acknowledge
from killswitch.trips.armed_pairs import pair_of
from killswitch.trips.holding import Holding
from killswitch.trips.request import TripOutcome, TripRequest
from killswitch.trips.stored_flags import StoredFlag, StoredFlags
from killswitch.trips.switch import Switch
from killswitch.wording import date_and_time, plain

ORIGIN = "Slack"
COMMAND_LIVES = 3600.0  # seconds in which a second delivery of one slash command is told from another command
_NO_REASON = "no reason was given"
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Done:
    """``said``: to the person. ``told``: to everyone in the message's thread; "" where a page says it."""

    said: str
    told: str = ""


class Deeds:
    """``wall`` gives Unix seconds. ``rollouts``, ``roles``: the files in force, by name. Thread-safe."""

    def __init__(
        self,
        store: Store,
        *,
        wall: Callable[[], float],
        rollouts: Callable[[], Mapping[str, Rollout]],
        roles: Callable[[], Mapping[str, RoleConfig]],
        page_settings: Callable[[str], PageSettings],
    ) -> None:
        self._store = store
        self._wall = wall
        self._rollouts = rollouts
        self._roles = roles
        self._page_settings = page_settings

    def stored(self, rollout: str) -> StoredFlag:
        """The flag as it is stored. Raises NoFlag, BadDocument, and what the store raises."""
        return StoredFlags(self._store).required(rollout)

    def bound(self, value: ButtonValue, button: Button) -> StoredFlag:
        """The flag that the button is about. Raises Refused where it is about another by now, or was pressed before."""
        before = done_before(self._store, value.rollout, value.nonce, button.value)
        if before is not None:
            raise Refused(f"this was done {before}; a button can be used once")
        name = value.rollout
        if self._wall() >= value.expires_at:
            raise Refused(f"this button is too old; use the command line: `killswitch status {name}`")
        stored = StoredFlags(self._store).stored(name)
        flag = stored.flag
        if flag is None:
            raise Refused(f"{name} has no flag any more, so this message is about something that has ended")
        if flag.generation != value.generation:
            raise Refused(
                f"this message is about generation {value.generation} of {name}, and it is in generation "
                f"{flag.generation} now ({flag.state.value}): its buttons do nothing any more; "
                f"use the newest message, or `killswitch status {name}`"
            )
        if stored.revision != value.revision:
            raise Refused(
                f"{name} was changed after this message was sent ({flag.state.value}, by {plain(flag.updated_by, 100)} "
                f"at {date_and_time(flag.updated_at)}); use the newest message, or `killswitch status {name}`"
            )
        return stored

    def incident(self, flag: Flag) -> Incident | None:
        """The incident of a stopped flag; None where there is none, or it cannot be read. Never raises."""
        try:
            item = self._store.get(keys.incident(flag.rollout, flag.generation))
            return None if item is None else incident_from_document(item.value, rollout=flag.rollout)
        except KillswitchError:
            return None

    def binding(self, rollout: str, trigger_id: str) -> tuple[StoredFlag, ButtonValue]:
        """The flag as it is now, and a value for a dialog that the slash command opens."""
        stored = self.stored(rollout)
        assert stored.flag is not None
        expires_at = int(self._wall() + COMMAND_LIVES)
        value = ButtonValue(rollout, stored.flag.generation, stored.revision, nonce_of(trigger_id), expires_at)
        return stored, value

    def stages(self, flag: Flag) -> Mapping[str, float]:
        """The stages that a dialog offers for a re-arm, with their percents. Raises Refused where there are none."""
        if flag.state is State.PINNED:
            raise Refused(
                f"{flag.rollout} is pinned at 0 %; look at `killswitch status {flag.rollout}`, then "
                f"`killswitch unpin {flag.rollout} --reason …`"
            )
        if flag.trip is None:
            raise Refused(f"{flag.rollout} is {flag.state.value}, not tripped: nothing to re-arm")
        if flag.trip.stage_before in (SHADOW, AA):
            raise Refused(
                f"{flag.rollout} was tripped in stage {flag.trip.stage_before}, in which no user had its canary, and a "
                f"dialog begins with users; use `killswitch rearm {flag.rollout}` on the command line"
            )
        file = self._rollouts().get(flag.rollout)
        return stages_to_choose(None if file is None else file.plan, flag.trip.percent_before)

    # --- what is done ---------------------------------------------------------------------------

    def acknowledge(self, value: ButtonValue, by: str) -> Done:
        """Say that this person looks after the incident."""
        self.bound(value, Button.ACKNOWLEDGE)
        part = self._once(value, Button.ACKNOWLEDGE, by)
        taken = self._sure(
            value,
            Button.ACKNOWLEDGE,
            by,
            lambda: acknowledge(
                self._store,
                value.rollout,
                value.generation,
                by=by,
                origin=ORIGIN,
                at=self._wall(),
                settings=self._page_settings(value.rollout),
                also=(part.compare, _flag_is(value)),
                more=(part.put,),
            ),
        )
        if taken is not None and taken.by != by:
            return Done(f"{plain(taken.by, 200)} looks after {value.rollout} since {date_and_time(taken.at)}")
        return Done(f"you look after {value.rollout}, generation {value.generation}")

    def hold(self, value: ButtonValue, by: str, reason: str) -> Done:
        """Keep the rollout's plan from going on, until someone resumes it."""
        stored = self.bound(value, Button.HOLD)
        part = self._once(value, Button.HOLD, by)
        holding = Holding(self._store, wall=self._wall, by=by, origin=ORIGIN)
        also = (part.compare, _flag_is(value))
        why = reason or "held with the button in Slack"
        self._sure(
            value,
            Button.HOLD,
            by,
            lambda: holding.hold(value.rollout, stored, reason=why, also=also, more=(part.put,)),
        )
        told = f"{by} holds the plan of {value.rollout}: no step up until `killswitch resume {value.rollout}`"
        return Done(f"held: no step up of {value.rollout} until `killswitch resume {value.rollout}`", told)

    def rearm(self, value: ButtonValue, by: str, *, reason: str, stage: str, new_users: bool) -> Done:
        """Arm a tripped rollout again, as `killswitch rearm` does, at a stage that the dialog offers."""
        flag = self.bound(value, Button.REARM).flag
        assert flag is not None
        if stage not in self.stages(flag):
            raise Refused(
                f"stage {plain(stage, 40)} is not one that {value.rollout} may be re-armed at from Slack; use "
                f"`killswitch rearm {value.rollout}` on the command line"
            )
        file = self._rollouts().get(value.rollout)
        stage, percent = resolve_stage(stage, percent_of(None if file is None else file.plan, stage, None))
        now = self._wall()
        rests_on = pair_to_raise(
            self._store,
            flag,
            stage,
            percent,
            armed_with=partial(pair_of, self._store),
            file=self._rollouts().get,
            role=self._roles().get,
            now=now,
            by=by,
            again=True,
        )
        part = self._once(value, Button.REARM, by)
        settings = self._page_settings(value.rollout)
        self._sure(
            value,
            Button.REARM,
            by,
            lambda: self._switch(by).rearm(
                value.rollout,
                reason=reason,
                percent=percent,
                stage=stage,
                new_users=new_users,
                page=lambda armed: events.re_armed(armed, reason=reason, by=by, settings=settings),
                pair=None if rests_on is None else rests_on.pair,
                also=(part.compare, _flag_is(value), *(() if rests_on is None else rests_on.compares)),
                more=(part.put,),
            ),
        )
        return Done(f"{value.rollout} is armed again: stage {stage}, {percent:g}% of users, because: {reason}")

    def end(self, value: ButtonValue, by: str, *, reason: str) -> Done:
        """Remove a tripped rollout's flag, as `killswitch end` does."""
        self.bound(value, Button.END)
        part = self._once(value, Button.END, by)
        also = (part.compare, _flag_is(value))
        self._sure(
            value,
            Button.END,
            by,
            lambda: self._switch(by).end(value.rollout, reason=reason, also=also, more=(part.put,)),
        )
        told = f"{by} ended {value.rollout}: everyone gets the control model. Why: {reason}"
        return Done(f"{value.rollout} has ended: everyone gets the control model", told)

    def trip(self, rollout: str, by: str, *, reason: str, trigger_id: str) -> Done:
        """Send everyone back to the control model now, as `killswitch trip` does."""
        self._claim(rollout, "trip", by, trigger_id)
        draft = IncidentDraft(
            rollout=rollout,
            automatic=False,
            by=by,
            reason=reason or _NO_REASON,
            rules=(),
            findings=(),
            decided_at=self._wall(),
            version=__version__,
        )
        page = self._page_settings(rollout)
        request = TripRequest(draft, generation=None, actor=Actor.PERSON, at=self._wall(), page=page)
        result = self._switch(by).trip(request)
        if result.outcome is TripOutcome.TRIPPED:
            return Done(f"{rollout} is tripped: all traffic goes to control. A controller sends the page")
        return Done(f"{rollout}: {result.outcome.value} (incident {result.incident}); nothing was changed")

    def hold_now(self, rollout: str, by: str, *, reason: str, trigger_id: str) -> Done:
        """As `hold`, of whatever generation there is: for the slash command."""
        _, value = self.binding(rollout, trigger_id)
        return self.hold(value, by, reason)

    # --- shared ---------------------------------------------------------------------------------

    def _switch(self, by: str) -> Switch:
        return Switch(self._store, wall=self._wall, by=by, origin=ORIGIN)

    def _once(self, value: ButtonValue, button: Button, by: str) -> PressNote:
        return once(
            self._store,
            value.rollout,
            value.nonce,
            button.value,
            by=by,
            at=self._wall(),
            expires_at=value.expires_at,
        )

    def _claim(self, rollout: str, deed: str, by: str, trigger_id: str) -> None:
        """Note a slash command before it is done, so that a second delivery does nothing. Raises Refused for one.

        A trip cannot wait for its note: the flip tries its transaction again and again until the store takes it.
        """
        at = self._wall()
        nonce = nonce_of(trigger_id)
        part = once(self._store, rollout, nonce, deed, by=by, at=at, expires_at=at + COMMAND_LIVES)
        if not isinstance(self._store.commit((part.compare,), (part.put,)), Committed):
            raise Refused(f"this command was carried out {done_before(self._store, rollout, nonce, deed) or 'before'}")

    def _sure(self, value: ButtonValue, button: Button, by: str, do: Callable[[], _Result]) -> _Result | None:
        """What ``do`` returns; None where its answer was lost and the press is known to be done.

        Where it is refused, say what has happened: another press of this button, or another change of the flag.
        """
        try:
            return do()
        except OutcomeUnknown:
            before = done_before(self._store, value.rollout, value.nonce, button.value)
            if before is None or not before.startswith(f"by {plain(by, 200)} "):
                raise
            return None
        except (Refused, Unavailable):
            self.bound(value, button)  # raises what has happened since
            raise


def _flag_is(value: ButtonValue) -> Compare:
    """What every transaction of a press compares: the flag is as it was when the message was sent."""
    return Compare(keys.flag(value.rollout), value.revision)


def in_words(error: KillswitchError) -> str:
    """An error for a person in Slack: one line, bounded."""
    return plain(str(error), 600)
