"""An incident as a controller drafts it, whatever it is decided by."""

from __future__ import annotations

from killswitch.flags.incident import IncidentDraft
from killswitch.model import Finding, Rollout


def drafted(
    rollout: Rollout,
    reason: str,
    *,
    rules: tuple[str, ...],
    findings: tuple[Finding, ...],
    at: float,
    tick: float,
    controller: str,
    version: str,
) -> IncidentDraft:
    """``at``: when it was decided; ``tick``: when what it is decided by was known; both in Unix seconds."""
    return IncidentDraft(
        rollout=rollout.name,
        automatic=True,
        by=controller,
        reason=reason,
        rules=rules,
        findings=findings,
        decided_at=at,
        tick=tick,
        latency=at - tick,
        mode=rollout.mode,
        rules_file=rollout.file,
        rules_digest=rollout.digest,
        controller=controller,
        version=version,
    )
