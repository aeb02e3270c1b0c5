"""The key of each document in the store; the only place that spells a key."""

from __future__ import annotations

ROOT = "/killswitch/v1/"
FLAGS = ROOT + "flags/"
INCIDENTS = ROOT + "incidents/"
OUTBOX = ROOT + "outbox/"
CLAIMS = ROOT + "claims/"
CONTROLLERS = ROOT + "controllers/"
ROUTERS = ROOT + "routers/"
BASELINES = ROOT + "baselines/"
NOTICES = ROOT + "notices/"
SHADOW_DECISIONS = ROOT + "shadow-decisions/"
OUTAGES = ROOT + "outages/"
GENERATIONS = ROOT + "generations/"
LEDGER = ROOT + "ledger/"
LEDGER_OWNERS = ROOT + "ledger-owners/"
LEDGER_LIVE = ROOT + "ledger-live/"


def flag(rollout: str) -> str:
    return FLAGS + rollout


def incident(rollout: str, generation: int) -> str:
    return f"{INCIDENTS}{rollout}/{generation}"


def incidents(rollout: str) -> str:
    """The prefix of all incidents of one rollout."""
    return f"{INCIDENTS}{rollout}/"


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
