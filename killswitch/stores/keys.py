"""The key of each document in the store; the only place that spells a key."""

from __future__ import annotations

ROOT = "/killswitch/v1/"
FLAGS = ROOT + "flags/"
INCIDENTS = ROOT + "incidents/"
INCIDENT_TRENDS = ROOT + "incident-trends/"
OUTBOX = ROOT + "outbox/"
CLAIMS = ROOT + "claims/"
CONTROLLERS = ROOT + "controllers/"
ROUTERS = ROOT + "routers/"
BASELINES = ROOT + "baselines/"
PRESSES = ROOT + "presses/"
NOTICES = ROOT + "notices/"
SHADOW_DECISIONS = ROOT + "shadow-decisions/"
OUTAGES = ROOT + "outages/"
FLAG_HISTORY = ROOT + "flag-history/"
GENERATIONS = ROOT + "generations/"
LEDGER = ROOT + "ledger/"
LEDGER_OWNERS = ROOT + "ledger-owners/"
LEDGER_LIVE = ROOT + "ledger-live/"
SLOW_STANDINGS = ROOT + "slow-standings/"
PLAN_PROGRESS = ROOT + "plan-progress/"
ADVANCES = ROOT + "advances/"
APPROVALS = ROOT + "approvals/"
HOLDS = ROOT + "holds/"
ALERTS = ROOT + "alerts/"
ROLES = ROOT + "roles/"
ROLE_HISTORY = ROOT + "role-history/"
ROLE_WAIVERS = ROOT + "role-waivers/"
ROLE_NOTICES = ROOT + "role-notices/"
ROLE_REPORTS = ROOT + "role-reports/"
ROLE_HEALTH = ROOT + "role-health/"
GATES = ROOT + "gates/"
GATE_NEWEST = ROOT + "gate-newest/"
GATE_EVIDENCE = ROOT + "gate-evidence/"
DRILLS = ROOT + "drills/"
DRILL_INCIDENTS = ROOT + "drill-incidents/"
DRILL_REQUESTS = ROOT + "drill-requests/"
DRILLS_OPEN = ROOT + "drills-open/"
DRILL_STANDINGS = ROOT + "drill-standings/"


def flag(rollout: str) -> str:
    return FLAGS + rollout


def incident(rollout: str, generation: int) -> str:
    return f"{INCIDENTS}{rollout}/{generation}"


def incidents(rollout: str) -> str:
    """The prefix of all incidents of one rollout."""
    return f"{INCIDENTS}{rollout}/"


def incident_trend(rollout: str, generation: int) -> str:
    """Both cohorts around the trip of this generation, for pictures. It is kept as long as a history."""
    return f"{incident_trends(rollout)}{generation}"


def incident_trends(rollout: str) -> str:
    """The prefix of what is kept around all trips of one rollout."""
    return f"{INCIDENT_TRENDS}{rollout}/"


def outbox(page: str) -> str:
    return OUTBOX + page


def claim(what: str) -> str:
    return CLAIMS + what


def controller(controller_id: str) -> str:
    return CONTROLLERS + controller_id


def router(rollout: str, router_id: str) -> str:
    return f"{ROUTERS}{rollout}/{router_id}"


def routers(rollout: str) -> str:
    return f"{ROUTERS}{rollout}/"


def baseline(rollout: str, generation: int) -> str:
    return f"{baselines(rollout)}{generation}"


def baselines(rollout: str) -> str:
    return f"{BASELINES}{rollout}/"


def outages(team: str) -> str:
    """The outages that one team is paged about; ``team`` names the receivers of its pages."""
    return OUTAGES + team


def generation(rollout: str) -> str:
    """The newest generation of this rollout. It outlives the flag, so that no generation is used twice."""
    return GENERATIONS + rollout


def flag_change(rollout: str, at: float, generation: int, revision: int, deed: str) -> str:
    """One line of the flag's history: when (Unix seconds), of which generation, what was done, and to which revision.

    Two changes of a flag share no key, whatever clocks say: of one revision there is one change, and where there was
    no flag the generation counts on.
    """
    return f"{flag_history(rollout)}{max(0, round(at * 1000)):014d}.{generation}.{revision}.{deed}"


def flag_history(rollout: str) -> str:
    """The prefix of all lines of one rollout's history. It outlives the flag."""
    return f"{FLAG_HISTORY}{rollout}/"


def press(rollout: str, nonce: str, deed: str) -> str:
    """Exists once a person's press of a button in Slack has done something; under a lease as long as the button."""
    return f"{PRESSES}{rollout}/{nonce}.{deed}"


def notice(rollout: str, generation: int, kind: str) -> str:
    """Exists once a page of this kind has been sent for this generation."""
    return f"{notices(rollout)}{generation}/{kind}"


def notices(rollout: str) -> str:
    return f"{NOTICES}{rollout}/"


def shadow_decision(rollout: str, generation: int) -> str:
    """Which verdicts have turned this generation's shadow down, so that each does so once."""
    return f"{shadow_decisions(rollout)}{generation}"


def shadow_decisions(rollout: str) -> str:
    return f"{SHADOW_DECISIONS}{rollout}/"


def account(scope: str, period: str) -> str:
    """What one scope has spent in the newest hour, day or month; ``period`` is one of these words."""
    return f"{LEDGER}{scope}/{period}"


def accounts(scope: str) -> str:
    """The prefix of all accounts of one scope."""
    return f"{LEDGER}{scope}/"


def ledger_owner(owner: str) -> str:
    """Exists, under its lease, while the process that leases blocks of accounts is alive."""
    return LEDGER_OWNERS + owner


def ledger_clock(owner: str) -> str:
    """Exists, under the owner's lease, while its clock differs from the store's."""
    return f"{ledger_owner(owner)}/clock"


def live_spend(scope: str) -> str:
    """How far the tokens of live traffic are counted in this scope."""
    return LEDGER_LIVE + scope


def slow_standing(rollout: str) -> str:
    """What the newest evaluation of the rollout's slow signals has found."""
    return SLOW_STANDINGS + rollout


def plan_progress(rollout: str) -> str:
    """What the stage that the rollout is in has been watched so far."""
    return PLAN_PROGRESS + rollout


def advance(rollout: str, generation: int, number: int) -> str:
    """The record of one step up of a plan; ``number`` counts those of the generation from 1."""
    return f"{ADVANCES}{rollout}/{generation}/{number:04d}"


def advances(rollout: str, generation: int) -> str:
    """The prefix of all steps up of one generation."""
    return f"{ADVANCES}{rollout}/{generation}/"


def step(rollout: str) -> str:
    """Written with a step or end of a plan that rests on verdicts, under a lease that ends before they are too old."""
    return claim(f"steps/{rollout}")


def approvals(rollout: str, generation: int) -> str:
    """Who has approved that the rollout leaves which stage of this generation."""
    return f"{approvals_of(rollout)}{generation}"


def approvals_of(rollout: str) -> str:
    """The prefix of all approvals of one rollout."""
    return f"{APPROVALS}{rollout}/"


def hold(rollout: str) -> str:
    """Exists while a person holds the rollout's plan."""
    return HOLDS + rollout


def alerts(rollout: str) -> str:
    """Which alerts about the rollout have been seen, and what each has done."""
    return ALERTS + rollout


def role(name: str) -> str:
    """The role's document: which model is pinned in each slot."""
    return ROLES + name


def role_change(name: str, number: int) -> str:
    """One entry of the role's history; ``number`` counts its changes from 1."""
    return f"{role_changes(name)}{number:06d}"


def role_changes(name: str) -> str:
    """The prefix of a role's whole history."""
    return f"{ROLE_HISTORY}{name}/"


def role_waiver(name: str) -> str:
    """The newest waiver of the role's gate."""
    return ROLE_WAIVERS + name


def role_notice(name: str, what: str) -> str:
    """Exists once a page about ``what`` has been sent for this role."""
    return f"{role_notices(name)}{what}"


def role_notices(name: str) -> str:
    return f"{ROLE_NOTICES}{name}/"


def role_report(reporter: str) -> str:
    """Which other models have answered for pins, as one process of a service has seen; under that process's lease."""
    return ROLE_REPORTS + reporter


def role_health(name: str) -> str:
    """What probes and providers' lists have found about the role's models."""
    return ROLE_HEALTH + name


def gate_run(name: str, run: str) -> str:
    """The record of one run of the role's promotion gate."""
    return f"{gate_runs(name)}{run}"


def gate_runs(name: str) -> str:
    """The prefix of all runs of one role's gate. A run's id begins with its time, so that they are in order."""
    return f"{GATES}{name}/"


def gate_newest(name: str) -> str:
    """Which run of the role's gate was stored last; written with each of them."""
    return GATE_NEWEST + name


def gate_evidence(rollout: str, generation: int) -> str:
    """Which slots of a role an armed generation compares, and which gate run or which waiver it rests on."""
    return f"{gate_evidences(rollout)}{generation}"


def gate_evidences(rollout: str) -> str:
    """The prefix of what all generations of one rollout rest on."""
    return f"{GATE_EVIDENCE}{rollout}/"


def drill(rollout: str, number: int) -> str:
    """The record of one drill; ``number`` counts those of the rollout from 1."""
    return f"{drills(rollout)}{number:06d}"


def drills(rollout: str) -> str:
    """The prefix of all kept drills of one rollout."""
    return f"{DRILLS}{rollout}/"


def drill_incident(rollout: str, number: int) -> str:
    """The incident that a trip would have written. It is not under `INCIDENTS`: nothing counts a drill as one."""
    return f"{DRILL_INCIDENTS}{rollout}/{number:06d}"


def drill_request(rollout: str) -> str:
    """A person asks for a drill; it is under the lease of the asking process, so that none is made after that ended."""
    return DRILL_REQUESTS + rollout


def drill_open(rollout: str) -> str:
    """Exists while a drill of the rollout is under way, whichever controller runs it; it says which drill."""
    return DRILLS_OPEN + rollout


def drill_runner(rollout: str) -> str:
    """Exists, under its lease, while the process that runs the rollout's drill is alive."""
    return claim(f"drills/{rollout}")


def drill_standing(rollout: str) -> str:
    """The last and the worst drill of the rollout, and when the next is due."""
    return DRILL_STANDINGS + rollout
