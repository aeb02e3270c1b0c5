"""Where a rollout is in its plan, for `plan` and `ready`: from rule files, the flag store and a controller."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from killswitch.cli.ask_controller import ask, no_answer, shown, understood
from killswitch.cli.invocation import rollout_of
from killswitch.cli.role_settings import role_config
from killswitch.controller import plan_store
from killswitch.controller.candidates import look_at_candidate
from killswitch.controller.plan_steps import Proof
from killswitch.daemon.settings import Settings
from killswitch.errors import KillswitchError, Refused
from killswitch.flags.flag import Flag
from killswitch.model import Reason, Rollout, Verdict
from killswitch.plan import Plan
from killswitch.ramps.gate_inputs import GateInputs, Judged, Missing, RuleNow
from killswitch.ramps.standing import PlanLook, PlanStanding
from killswitch.ramps.watch_checks import OLDEST_VERDICTS
from killswitch.ramps.way_back import ERRORS, ServedNow, way_back
from killswitch.roles.pairs import role_pair
from killswitch.stores import Compare, Store, keys
from killswitch.timestamps import from_iso


def planned(settings: Settings, name: str) -> tuple[Rollout, Plan]:
    """The rollout and its plan, from the rule files. Raises Refused without a plan, and what reading rules raises."""
    rollout = rollout_of(settings, name, required=True)
    assert rollout is not None
    if rollout.plan is None:
        raise Refused(f"{name} has no plan; add `plan: default` to {rollout.file}")
    return rollout, rollout.plan


def view(
    store: Store, settings: Settings, rollout: Rollout, plan: Plan, flag: Flag, *, url: str | None
) -> PlanStanding:
    """What is missing, such as a controller that does not answer, is in the gate."""
    return view_with_proof(store, settings, rollout, plan, flag, url=url)[0]


def view_with_proof(
    store: Store, settings: Settings, rollout: Rollout, plan: Plan, flag: Flag, *, url: str | None
) -> tuple[PlanStanding, Proof | None, int]:
    """As `view`; and for a step, the verdicts it rests on (None: a controller gave none) and the progress' revision."""
    asked = time.monotonic()
    said = _said(store, url, flag)
    now = time.time()
    progress, revision = plan_store.progress_as_stored(store.get, flag.rollout)
    slots = role_pair(rollout.control, rollout.canary)
    config = None if slots is None else role_config(settings, slots.role)
    inputs = GateInputs(
        rollout,
        flag,
        now=now,
        interval=settings.interval,
        progress=progress,
        judged=said if isinstance(said, Missing) else _judged(said),
        shadow=plan_store.shadow_or_why(store.get, flag),
        slow=plan_store.slow_or_why(store.get, rollout, flag, now),
        approvals=plan_store.approvals_or_why(store.get, flag),
        way_back=way_back(plan, said if isinstance(said, Missing) else _served(said)),
        hold=plan_store.hold_or_why(store.get, flag.rollout),
        candidate=look_at_candidate(store, rollout, flag, config=config, now=now, by="").now,
    )
    tick = from_iso(said["tick"]) if isinstance(said, Mapping) and said["tick"] else None
    proof = None
    if not isinstance(said, Missing):
        age = float(said["age"])
        proof = Proof(lambda: age + time.monotonic() - asked, OLDEST_VERDICTS * settings.interval)
    return PlanLook(plan, inputs, tick).standing, proof, revision


def unchanged(rollout: str, progress_at: int) -> tuple[Compare, ...]:
    """No one holds the plan, and no later tick has been recorded."""
    return Compare(keys.hold(rollout), 0), Compare(keys.plan_progress(rollout), progress_at)


def _said(store: Store, url: str | None, flag: Flag) -> dict[str, Any] | Missing:
    """What a controller of this store says of this rollout, if that is about the flag as it is now."""
    try:
        with understood(url):
            document = ask(url, "/api/v1/status") or {}
            who = str(document["controller"])
            one = next((one for one in document["rollouts"] if one["rollout"] == flag.rollout), None)
            said = {"tick": document["tick"], "age": document["age_seconds"], **(one or {})}
            judged = one is not None and isinstance(said["age"], int | float)
            about = judged and (said["state"], said["generation"], said["stage"]) == (
                flag.state.value,
                flag.generation,
                flag.stage,
            )
            if about:
                _judged(said), _served(said)
    except KillswitchError as error:
        return Missing(f"{no_answer(url)}: {error}")
    if not about:
        return Missing("the controller has not judged this stage yet")
    return said if store.get(keys.controller(who)) is not None else Missing(_of_another_store(store, who, url))


def _of_another_store(store: Store, who: str, url: str | None) -> str:
    """Why verdicts are not believed: another environment may have a rollout of this name in the same stage."""
    prefix = keys.CONTROLLERS
    known = ", ".join(item.key.removeprefix(prefix) for item in store.list(prefix).items) or "none"
    return (
        f"the controller at {shown(url)} is {who}, which is not alive in this flag store (there: {known}); "
        "give the address of one of these with --url"
    )


def _judged(said: Mapping[str, Any]) -> Judged:
    rules = {
        str(finding["rule"]): RuleNow(Verdict(finding["verdict"]), str(finding["sentence"]))
        for finding in said["findings"]
        if finding["reason"] != Reason.NOT_IN_SHADOW.value
    }
    return Judged(rules, float(said["age"]))


def _served(said: Mapping[str, Any]) -> ServedNow | Missing:
    findings = said["findings"]
    if not findings or not said["window_seconds"]:
        return Missing("no requests were counted in the newest window")

    def most(*names: str) -> float:
        return max((float(finding[name] or 0.0) for finding in findings for name in names), default=0.0)

    errors = next((finding["control"] for finding in findings if finding["rule"] == ERRORS), None)
    return ServedNow(
        most("samples_canary", "raw_samples_canary"),
        most("samples_control", "raw_samples_control"),
        None if errors is None else float(errors),
        float(said["window_seconds"]),
    )
