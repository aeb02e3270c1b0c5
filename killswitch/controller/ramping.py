"""Plans in each cycle: what was watched is recorded, and the next step is taken, proposed, or explained.

Any replica may record and step. Each write compares the revision of what it replaces, so a tick counts once, and of
several replicas one takes the step. A step compares the flag, the hold, the progress and the replica's session: a trip,
a person and another replica's verdict that arrive meanwhile win.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from killswitch.controller import plan_store
from killswitch.controller.announcements import Announcements
from killswitch.controller.candidates import CandidateLook, look_as_armed, look_at_candidate
from killswitch.controller.known_flags import KnownFlags
from killswitch.controller.plan_steps import Proof, commit_step
from killswitch.controller.plan_watch import judged, rule_ticks, served
from killswitch.controller.store_health import StoreHealth
from killswitch.controller.tick_clock import TickClock
from killswitch.controller.tick_reader import Findings
from killswitch.errors import AccessDenied, BadDocument, KillswitchError, OutcomeUnknown, Refused
from killswitch.flags.flag import Flag
from killswitch.flags.transitions import Actor
from killswitch.fleet.session import Session
from killswitch.model import Finding, Mode, Rollout
from killswitch.pages import plan_events
from killswitch.plan import PlanStage
from killswitch.ramps.gate import Gate
from killswitch.ramps.gate_check import passed
from killswitch.ramps.gate_inputs import GateInputs, Missing
from killswitch.ramps.next_step import Move, next_step
from killswitch.ramps.progress import StageProgress, from_document, observed, to_document
from killswitch.ramps.standing import PlanLook, PlanStanding
from killswitch.ramps.watch_checks import OLDEST_VERDICTS
from killswitch.ramps.way_back import way_back
from killswitch.roles.config import RoleConfig
from killswitch.roles.pairs import role_pair
from killswitch.stores import Committed, Compare, Put, Store, keys
from killswitch.stores.limits import Part, portions
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.evaluator import Evaluator

log = logging.getLogger(__name__)
# Of each interval, the part that steps of plans may take: the next tick is judged by the same thread.
PART_FOR_STEPS = 0.2


@dataclass(frozen=True, slots=True)
class _Watched:
    """A progress document as stored, and its revision (0: none is stored).

    ``ours``: this replica has recorded the tick, or nothing was to be recorded; only then may it act on it.
    """

    progress: StageProgress | None
    revision: int
    ours: bool = True


class Ramping:
    """What one replica does about plans. ``interval`` between ticks, in seconds; ``wall`` gives Unix seconds.

    ``roles``: role files, by role.
    """

    def __init__(
        self,
        store: Store,
        session: Session,
        evaluator: Evaluator,
        *,
        controller_id: str,
        clock: TickClock,
        known: KnownFlags,
        announcements: Announcements,
        health: StoreHealth,
        interval: float,
        wall: Callable[[], float],
        roles: Callable[[], Mapping[str, RoleConfig]] = dict,
    ) -> None:
        self._store = store
        self._roles = roles
        self._session = session
        self._evaluator = evaluator
        self._id = controller_id
        self._clock = clock
        self._known = known
        self._announcements = announcements
        self._health = health
        self._interval = interval
        self._wall = wall
        self._turns: list[str] = []  # rollouts in the order in which they were last looked at
        self._looks: Mapping[str, PlanLook] = {}
        self._candidates: dict[str, CandidateLook] = {}  # by rollout, in this cycle

    def look(self, all_armed: Sequence[ArmedRollout], findings: Findings, tick: float) -> None:
        """Record the tick of every rollout with a plan, then move each at most one stage. Errors are noted."""
        self._looks = {}
        planned = [armed for armed in all_armed if armed.rollout.plan is not None]
        if not planned:
            return
        began = self._clock.now()
        try:
            watched = self._record(planned, findings, tick)
            get = plan_store.all_at_once(self._store)
            now = self._wall()
            looks: dict[str, PlanLook] = {}
            for armed in planned:
                name = armed.rollout.name
                with _alone(name):
                    looks[name] = self._look_at(armed, findings[name], watched[name], get, tick, now)
            self._looks = looks
            for armed in self._in_turn([armed for armed in planned if armed.rollout.name in looks]):
                name = armed.rollout.name
                self._turns.append(name)
                with _alone(name):
                    self._step(armed, looks[name], watched[name], tick)
                if self._clock.now() - began > PART_FOR_STEPS * self._interval:
                    break  # the store is slow: the others come first in the next cycle
        except OutcomeUnknown:
            return  # the next cycle reads what has become of it
        except AccessDenied as error:
            log.error("plans do not go on: %s; see etcd's roles in docs/security.md", error)  # noqa: TRY400  ours
        except KillswitchError as error:
            self._health.failed(error, writing=True)

    def _in_turn(self, planned: Sequence[ArmedRollout]) -> list[ArmedRollout]:
        """Those that were not looked at for longest come first."""
        places = {name: place for place, name in enumerate(self._turns)}
        names = {armed.rollout.name for armed in planned}
        self._turns = [name for name in dict.fromkeys(reversed(self._turns)) if name in names][::-1]
        return sorted(planned, key=lambda armed: places.get(armed.rollout.name, -1))

    def look_of(self, rollout: Rollout, flag: Flag | None) -> PlanLook | None:
        """Where it was in its plan at the newest tick; None without a plan or a flag, or if that tick had no look."""
        if rollout.plan is None or flag is None:
            return None
        if not flag.armed:
            return PlanLook(rollout.plan, GateInputs(rollout, flag, self._wall(), self._interval), None)
        return self._looks.get(rollout.name)

    # --- what was watched -----------------------------------------------------------------------

    def _record(self, planned: Sequence[ArmedRollout], findings: Findings, tick: float) -> Mapping[str, _Watched]:
        """The progress of each rollout after this tick, as stored."""
        stored = self._stored()
        parts: list[Part[tuple[str, StageProgress]]] = []
        for armed in planned:
            name = armed.rollout.name
            before = stored.get(name, _Watched(None, 0))
            # until it is recorded: a tick that cannot be is no progress, and no step follows
            stored[name] = replace(before, ours=False)
            with _alone(name):
                window = self._evaluator.window_seconds(armed, tick)
                ticks = rule_ticks(armed, findings[name], self._evaluator.accumulator, self._interval, window)
                after = observed(before.progress, armed.flag, tick, self._interval, ticks)
                if after != before.progress:
                    key = keys.plan_progress(name)
                    put = Put(key, to_document(after))
                    parts.append(Part((name, after), (Compare(key, before.revision),), (put,)))
                stored[name] = before
        for portion in portions(parts):
            stored.update(self._commit(portion))
        return stored

    def _commit(self, portion: Sequence[Part[tuple[str, StageProgress]]]) -> dict[str, _Watched]:
        outcome = self._store.commit(
            [compare for part in portion for compare in part.compares],
            [write for part in portion for write in part.writes],
        )
        if isinstance(outcome, Committed):
            return {name: _Watched(after, outcome.revision) for name, after in (part.subject for part in portion)}
        # another replica has recorded this tick for some of them; it may take their step as well
        found = {name: _Watched(after, 0, ours=False) for name, after in (part.subject for part in portion)}
        now = self._stored()
        left = [part for part in portion if _revision(now, part.subject[0]) == part.compares[0].mod_revision]
        if len(left) < len(portion):
            for fewer in portions(left):
                found |= self._commit(fewer)
        return found

    def _stored(self) -> dict[str, _Watched]:
        found: dict[str, _Watched] = {}
        for item in self._store.list(keys.PLAN_PROGRESS).items:
            name = item.key.removeprefix(keys.PLAN_PROGRESS)
            try:
                found[name] = _Watched(from_document(item.value, rollout=name), item.mod_revision)
            except BadDocument as error:
                log.warning("%s; its stage begins again", error)
                found[name] = _Watched(None, item.mod_revision)
        return found

    # --- the next step --------------------------------------------------------------------------

    def _look_at(
        self,
        armed: ArmedRollout,
        findings: tuple[Finding, ...],
        watched: _Watched,
        get: plan_store.Get,
        tick: float,
        now: float,
    ) -> PlanLook:
        rollout, flag = armed.rollout, armed.flag
        assert rollout.plan is not None
        window = self._evaluator.window_seconds(armed, tick)
        self._candidates[rollout.name] = self._candidate(rollout, flag, now)
        inputs = GateInputs(
            rollout,
            flag,
            now,
            self._interval,
            progress=watched.progress or Missing("nothing has been recorded yet"),
            judged=judged(findings, age=self._clock.age(tick)),
            shadow=plan_store.shadow_or_why(get, flag),
            slow=plan_store.slow_or_why(get, rollout, flag, now),
            approvals=plan_store.approvals_or_why(get, flag),
            way_back=way_back(rollout.plan, served(findings, window)),
            hold=plan_store.hold_or_why(get, flag.rollout),
            candidate=self._candidates[rollout.name].now,
        )
        return PlanLook(rollout.plan, inputs, tick)

    def _candidate(self, rollout: Rollout, flag: Flag, now: float) -> CandidateLook:
        slots = role_pair(rollout.control, rollout.canary)
        config = None if slots is None else self._roles().get(slots.role)
        return look_at_candidate(self._store, rollout, flag, config=config, now=now, by=f"plan ({self._id})")

    def _step(self, armed: ArmedRollout, look: PlanLook, watched: _Watched, tick: float) -> None:
        plan, flag, now = look.plan, armed.flag, look.inputs.now
        if not watched.ours:
            return
        # while a stage is young no gate can pass, and none is worked out unless someone looks at the status
        open_gate = Gate(flag.generation, flag.stage, flag.stages[-1].at, (passed("not asked", ""),))
        step = next_step(plan, flag, watched.progress, open_gate, now=now, tick=tick)
        if step.move is Move.HOLD and not step.page:
            return
        seen = look.standing
        if seen.step.move is Move.ADVANCE and armed.rollout.mode is Mode.ENFORCE:
            assert seen.step.to is not None
            self._advance(armed, seen.step.to, seen.step.sentence, seen.gate, watched.revision, tick)
        else:
            self._say(armed, seen)

    def _say(self, armed: ArmedRollout, seen: PlanStanding) -> None:
        """Page once for each visit to a stage; nothing where no person is needed."""
        flag, step = armed.flag, seen.step
        if not step.page:
            return
        visit = f"{flag.stage}.{round(flag.stages[-1].at)}"
        shown: dict[str, Any] = {
            "timeline": seen.timeline.document(),
            "at": self._wall(),
            "settings": armed.rollout.page,
        }
        if step.move is Move.COMPLETE:
            self._announcements.add(
                flag, f"plan_complete.{visit}", partial(plan_events.complete, flag, step.sentence, **shown)
            )
        elif step.to is not None and step.move in (Move.PROPOSE, Move.ADVANCE):
            page = partial(
                plan_events.ready, flag, step.sentence, to=step.to.stage, percent=step.to.percent, **shown
            )  # fmt: skip
            self._announcements.add(flag, f"plan_ready.{visit}.{step.to.stage}", page)
        elif step.move is Move.HOLD:
            page = partial(plan_events.plan_held, flag, step.sentence, **shown)
            self._announcements.add(flag, f"plan_held.{visit}", page)

    def _advance(
        self, armed: ArmedRollout, to: PlanStage, why: str, found: Gate, progress_revision: int, tick: float
    ) -> None:
        """One stage up: flag, record and page in one transaction, on the flag that was judged."""
        assert armed.rollout.plan is not None
        name, flag = armed.rollout.name, armed.flag
        stored = self._known.stored.get(name)
        if stored is None or stored.flag != flag:
            return  # it has changed since it was judged
        guard = self._session.guard()
        look = self._candidates[name]
        if look.now is None:
            look = look_as_armed(self._store, flag, now=self._wall(), by=f"plan ({self._id})")
        if look.now is not None and look.armable is None:
            why = look.now.why if isinstance(look.now, Missing) else look.now.said
            log.warning("%s: stays at %s: %s", name, flag.stage, why)
            return
        rests_on = look.armable
        pinned = () if rests_on is None else rests_on.compares
        try:
            raised = commit_step(
                self._store,
                stored,
                armed.rollout.plan,
                to,
                found,
                why=why,
                by=f"plan ({self._id})",
                origin=f"controller {self._id}",
                actor=Actor.STAGE_PLAN,
                now=self._wall(),
                settings=armed.rollout.page,
                proof=Proof(lambda: self._clock.age(tick), OLDEST_VERDICTS * self._interval),
                compares=(
                    Compare(keys.hold(name), 0), Compare(keys.plan_progress(name), progress_revision), guard, *pinned
                ),
                pair=None if rests_on is None else rests_on.pair,
            )  # fmt: skip
        except Refused as error:  # verdicts that are too old, or a candidate that rests on nothing
            log.warning("%s", error)  # the next cycle judges again
            return
        if raised is not None:
            log.warning("%s: from %s to %s, %g%%: %s", name, flag.stage, to.stage, to.percent, why)


@contextlib.contextmanager
def _alone(rollout: str) -> Iterator[None]:
    """What is unexpected about one rollout must not cost the others their plans; what the store raises is for all."""
    try:
        yield
    except KillswitchError:
        raise
    except Exception:
        log.exception("%s: its plan is not looked at: unexpected error", rollout)


def _revision(stored: Mapping[str, _Watched], rollout: str) -> int:
    return stored[rollout].revision if rollout in stored else 0
