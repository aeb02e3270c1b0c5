"""The rollout as an OpenFeature flag.

pip install '.[openfeature]'   # in the clone
KILLSWITCH_STORE=etcd://etcd:2379 python openfeature_flags.py alice
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from openfeature import api
from openfeature.evaluation_context import EvaluationContext

from killswitch.router import Router
from killswitch.router.integrations.openfeature import KillswitchProvider

STORE = os.environ.get("KILLSWITCH_STORE", f"file://{Path(__file__).with_name('flag.json')}")


def main(user: str) -> None:
    api.set_provider_and_wait(KillswitchProvider(Router("support-copilot", STORE, control="model-old")))
    details = api.get_client().get_string_details("support-copilot", "model-old", EvaluationContext(user))
    print(f"{user} -> {details.value} ({details.variant}, {details.reason})")
    api.shutdown()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "alice")
