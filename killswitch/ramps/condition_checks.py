"""The checks on everything but the watched time: the shadow's report, slow signals, people, the way back, the hour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from killswitch.flags.flag import AA, SHADOW
from killswitch.plan import Plan, PlanStage
from killswitch.ramps.calendar import opens
from killswitch.ramps.gate_check import GateCheck, failed, not_yet, passed
from killswitch.ramps.gate_inputs import Approval, GateInputs, Missing, SignalNow
from killswitch.timestamps import to_iso
from killswitch.wording import span_in_words

# Up to this percent control still serves most users, and its own traffic shows what it can take.
PROVEN_BY_TRAFFIC = 25.0


def shadow(inputs: GateInputs) -> GateCheck:
    decision = inputs.shadow
    if isinstance(decision, Missing):
        return not_yet("shadow report", f"no decision about the recorded pairs: {decision.why}")
    if decision == "GO":
        return passed("shadow report", "the recorded pairs say GO")
    if decision == "NO_GO":
        return failed("shadow report", "the recorded pairs say NO_GO; see `killswitch shadow report`")
    return not_yet("shadow report", "the recorded pairs decide nothing yet; see `killswitch shadow report`")


def candidate(rest: Sequence[PlanStage], inputs: GateInputs) -> Iterator[GateCheck]:
    """``rest``: the stage that the rollout is in, and those after it. Only a step that gives users the canary asks."""
    title = "promotion gate"
    if inputs.candidate is None or (len(rest) > 1 and rest[1].stage in (SHADOW, AA)):
        return
    if isinstance(inputs.candidate, Missing):
        yield not_yet(title, f"what its candidate rests on is not known: {inputs.candidate.why}")
        return
    yield {True: passed, False: failed, None: not_yet}[inputs.candidate.allowed](title, inputs.candidate.said)


def slow(inputs: GateInputs) -> Iterator[GateCheck]:
    if isinstance(inputs.slow, Missing):
        yield not_yet("slow signals", f"the slow signals are not known: {inputs.slow.why}")
        return
    settings = inputs.rollout.slow
    stated = [] if settings is None else [one.name for one in settings.signals]
    unknown = {name: SignalNow(None, "it has not been judged in this stage") for name in stated}
    unexposed = inputs.flag.stage in (SHADOW, AA)
    for name, standing in {**unknown, **inputs.slow}.items():
        title = f"slow {name}"
        if standing.over:
            yield failed(title, standing.said or "it is over its limit")
        elif unexposed:
            continue  # no user of this generation has the canary, so there can be no verdict
        elif standing.over is None:
            yield not_yet(title, standing.said or "it is not known yet")
        else:
            yield passed(title, standing.said or "it is within its limit")


def approvals(stage: PlanStage, inputs: GateInputs) -> Iterator[GateCheck]:
    for name in stage.approve:
        title = f"approval {name}"
        if isinstance(inputs.approvals, Missing):
            yield not_yet(title, f"approvals are not known: {inputs.approvals.why}")
            continue
        given = [one for one in inputs.approvals if one.name == name and _is_of(one, inputs)]
        if given:
            yield passed(title, f"given by {given[0].by}")
        else:
            how = f"`killswitch approve {inputs.flag.rollout} --as {name}`"
            yield not_yet(title, f"{name} has not approved that it leaves {stage.stage}; use {how}")


def _is_of(approval: Approval, inputs: GateInputs) -> bool:
    flag = inputs.flag
    same_entry = round(approval.began_at, 3) == round(flag.stages[-1].at, 3)
    return approval.generation == flag.generation and approval.stage == flag.stage and same_entry


def way_back(rest: Sequence[PlanStage], inputs: GateInputs) -> Iterator[GateCheck]:
    """``rest``: the stage that the rollout is in, and those after it."""
    way = inputs.way_back
    if isinstance(way, Missing):
        yield not_yet("control answers", f"no one knows whether control could take everyone: {way.why}")
        return
    answers = {True: passed, False: failed, None: not_yet}[way.answers]
    yield answers("control answers", way.said)
    nexts = rest[1:2]
    if nexts and nexts[0].percent > PROVEN_BY_TRAFFIC:
        yield _capacity(way.capacity, way.rate)
    if way.retires is not None:
        left = sum(stage.seconds for stage in rest)
        needed = inputs.now + left
        until = f"control's model is served until {to_iso(way.retires)[:10]}"
        if way.retires < needed:
            yield failed("control stays", f"{until}, and the plan takes {span_in_words(left)} more")
        else:
            yield passed("control stays", until)


def _capacity(capacity: float | None, rate: float | None) -> GateCheck:
    title = "control's capacity"
    if capacity is None:
        now = "all traffic at once" if rate is None else f"the {rate:.3g} requests/s of both cohorts at once"
        where = "its provider's rate limit says it, such as x-ratelimit-limit-requests, a minute"
        fix = "write `control_capacity: …/s` under `plan`"
        return not_yet(title, f"no one has said whether control could take {now}; {where}; {fix}")
    if rate is None:
        return not_yet(title, "how many requests a second there are is not known")
    said = f"control can take {capacity:g} requests/s, and both cohorts have {rate:.3g} now"
    return passed(title, said) if capacity >= rate else failed(title, said)


def not_during(plan: Plan, inputs: GateInputs) -> Iterator[GateCheck]:
    if not plan.not_during:
        return
    at = opens(plan, inputs.now)
    if at == inputs.now:
        yield passed("not_during", "a step may begin now")
    elif at is None:
        yield not_yet("not_during", "no step may begin for 400 days; change `not_during`")
    else:
        yield not_yet("not_during", f"no step begins before {to_iso(at)}", at - inputs.now)


def hold(inputs: GateInputs) -> GateCheck:
    if isinstance(inputs.hold, Missing):
        return not_yet("hold", f"whether someone holds it is not known: {inputs.hold.why}")
    if inputs.hold is None:
        return passed("hold", "it is not held")
    fix = f"use `killswitch resume {inputs.flag.rollout}`"
    return not_yet("hold", f"{inputs.hold.by} holds it: {inputs.hold.reason}; {fix}")
