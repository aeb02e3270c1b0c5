"""One step of a plan, or its end, as one transaction: the flag, the record with every check, and the page.

Both rest on verdicts, and verdicts grow old while a store is slow or a process sleeps. So the transaction writes one
key under a lease that ends before they are too old: after that the store itself refuses the transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from killswitch.errors import Refused
from killswitch.flags import flag as flags
from killswitch.flags.completion import complete
from killswitch.flags.document import to_document as flag_document
from killswitch.flags.flag import Flag
from killswitch.flags.transitions import Actor
from killswitch.model import PageSettings
from killswitch.pages import plan_events
from killswitch.pages.outbox_entry import into_outbox
from killswitch.pages.page import Page
from killswitch.plan import Plan, PlanStage
from killswitch.ramps.gate import Gate
from killswitch.ramps.records import MAX_REASON, AdvanceRecord
from killswitch.ramps.timeline import just_entered
from killswitch.roles.armed_pair import ArmedPair
from killswitch.stores import Committed, Compare, Lease, Put, Store, keys
from killswitch.trips.armed_pairs import allowed
from killswitch.trips.flag_history import line_of
from killswitch.trips.stored_flags import StoredFlag
from killswitch.wording import span_in_words


class TooOld(Refused):
    """The verdicts that a step or the end rests on are too old, or would be when it is made: judge again."""


@dataclass(frozen=True, slots=True)
class Proof:
    """The verdicts that a step or the end rests on. ``age``: seconds since their tick, asked several times on the way.

    ``oldest``: seconds; at a greater age nothing may be changed on them.
    """

    age: Callable[[], float]
    oldest: float


def commit_step(
    store: Store,
    stored: StoredFlag,
    plan: Plan,
    to: PlanStage,
    found: Gate,
    *,
    why: str,
    by: str,
    origin: str,
    actor: Actor,
    now: float,
    settings: PageSettings,
    proof: Proof | None,
    compares: Sequence[Compare] = (),
    despite: str | None = None,
    pair: ArmedPair | None = None,
) -> Flag | None:
    """Go to ``to`` on the flag that was judged; the flag after it, None if something has changed meanwhile.

    ``compares``: what must not have changed either. ``origin``: from where, for the flag's history. ``proof``: None
    only for a person who goes on ``despite`` the gate, with this reason. ``pair``: what users get a role's candidate
    on; no reason goes on without it.
    Raises TooOld, Refused where nothing lets users have the candidate, IllegalTransition, and what the store raises.
    """
    flag = stored.flag
    assert flag is not None
    name = flag.rollout
    raised = flags.set_stage(
        flag, rollout=name, percent=to.percent, stage=to.stage, now=now, by=by, actor=actor
    )  # fmt: skip
    number = len(store.list(keys.advances(name, flag.generation)).items) + 1
    record = AdvanceRecord(
        name, flag.generation, number, flag.stage, to.stage, to.percent, now, by,
        automatic=actor is Actor.STAGE_PLAN, checks=found.document(), despite=despite,
    )  # fmt: skip
    said = f"every check of {flag.stage} passes" + (f"; {found.sight}" if found.sight else "")
    if despite is not None:
        said = f"despite its gate, because {despite[:MAX_REASON]}; the gate said: {why}"
    shown = just_entered(plan, raised, now=now).document()
    page = plan_events.advanced(raised, said, before=flag, by=by, timeline=shown, at=now, settings=settings)
    line = line_of(name, stored, raised, at=now, by=by, origin=origin, reason=despite or "the plan's next step")
    more = (*allowed(store, flag, raised, given=pair, now=now), *line)
    return _commit(store, stored, raised, record, page, at=now, proof=proof, compares=compares, more=more)


def commit_completion(
    store: Store,
    stored: StoredFlag,
    plan: Plan,
    found: Gate,
    *,
    reason: str,
    by: str,
    origin: str,
    now: float,
    settings: PageSettings,
    proof: Proof | None,
    compares: Sequence[Compare] = (),
    despite: str | None = None,
    more: Sequence[Put] = (),
    about_role: str = "",
) -> Flag | None:
    """Complete the rollout on the flag that was judged; the flag after it, None if something has changed meanwhile.

    ``despite``: why a person completes it though its plan is not over. ``more``: what is written with it, such as the
    promotion of its role; ``about_role`` says that on the page. The rest, and what it raises, are as in `commit_step`.
    """
    flag = stored.flag
    assert flag is not None
    name = flag.rollout
    done = complete(flag, rollout=name, reason=despite or reason, now=now, by=by, actor=Actor.PERSON)
    number = len(store.list(keys.advances(name, flag.generation)).items) + 1
    record = AdvanceRecord(
        name, flag.generation, number, flag.stage, done.stage, 100.0, now, by,
        automatic=False, checks=found.document(), despite=despite, reason=reason or None,
    )  # fmt: skip
    said = reason or "every check of its last stage passes"
    if despite is not None:
        said = f"though its plan was not over, because {despite[:MAX_REASON]}; the gate said: {found.reason or 'pass'}"
    said += f"; {about_role}" if about_role else ""
    shown = just_entered(plan, done, now=now).document()
    page = plan_events.rolled_out(done, said, before=flag, timeline=shown, at=now, settings=settings)
    line = line_of(name, stored, done, at=now, by=by, origin=origin, reason=despite or reason)
    return _commit(store, stored, done, record, page, at=now, proof=proof, compares=compares, more=(*more, *line))


def _commit(
    store: Store,
    stored: StoredFlag,
    after: Flag,
    record: AdvanceRecord,
    page: Page,
    *,
    at: float,
    proof: Proof | None,
    compares: Sequence[Compare],
    more: Sequence[Put],
) -> Flag | None:
    """Write the flag, the record and the page, if nothing has changed and the proof is still young."""
    name = after.rollout
    key = keys.advance(name, record.generation, record.number)
    writes = [Put(keys.flag(name), flag_document(after)), Put(key, record.document()), into_outbox(page, at=at), *more]
    if proof is not None:
        writes.append(Put(keys.step(name), record.by.encode(), _while_young(store, proof, name)))
    outcome = store.commit((Compare(keys.flag(name), stored.revision), Compare(key, 0), *compares), writes)
    return after if isinstance(outcome, Committed) else None


def _while_young(store: Store, proof: Proof, rollout: str) -> Lease:
    """A lease that ends before the proof is too old. Half of the time left is for the answer to arrive."""
    wanted = (proof.oldest - proof.age()) / 2
    if wanted <= 0:
        raise TooOld(
            f"{rollout}: nothing was changed, its verdicts are {span_in_words(proof.age())} old; judge it again"
        )
    lease = store.grant(wanted)
    # the lease may have begun as late as now
    age = proof.age() + lease.ttl
    if age > proof.oldest:
        short = lease.ttl > proof.oldest / 2
        fix = "set a longer `interval`" if short else "the flag store answers slowly"
        raise TooOld(
            f"{rollout}: nothing was changed, its verdicts could be {span_in_words(age)} old by then, and at most "
            f"{span_in_words(proof.oldest)} is allowed; {fix}"
        )
    return lease
