"""Messages as an Alertmanager's webhook sends them, version 4."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from killswitch.timestamps import to_iso

NEVER = "0001-01-01T00:00:00Z"  # what Alertmanager writes for no end


def alert(
    rollout: str | None = "copilot",
    *,
    began: float,
    name: str = "CopilotErrors",
    status: str = "firing",
    summary: str = "8% of answers fail",
    **labels: str,
) -> dict[str, Any]:
    """One alert that began at ``began`` (Unix seconds). ``labels``: further ones."""
    all_labels = {"alertname": name, **({} if rollout is None else {"killswitch_rollout": rollout}), **labels}
    return {
        "status": status,
        "labels": all_labels,
        "annotations": {"summary": summary},
        "startsAt": to_iso(began),
        "endsAt": NEVER,
        "generatorURL": "http://prometheus:9090/graph?g0.expr=errors",
        "fingerprint": hashlib.sha256(json.dumps(all_labels, sort_keys=True).encode()).hexdigest()[:16],
    }


def message(*alerts: Any, truncated: int = 0, **changes: Any) -> bytes:
    """A whole message. ``changes``: other values of its keys."""
    return json.dumps(
        {
            "version": "4",
            "groupKey": '{}:{alertname="CopilotErrors"}',
            "truncatedAlerts": truncated,
            "status": "firing",
            "receiver": "killswitch",
            "groupLabels": {},
            "commonLabels": {},
            "commonAnnotations": {},
            "externalURL": "http://alertmanager:9093",
            "alerts": list(alerts),
            **changes,
        }
    ).encode()
