"""The rule files of one role: its upgrade, its watch, and the shadow of its previous model."""

from __future__ import annotations

from collections.abc import Mapping

from killswitch.model import Rollout
from killswitch.rules.loading import load_text
from tests.unit.registry.registries import ROLE

SLOTS = {"upgrade": ("prod", "candidate"), "watch": ("previous", "prod"), "unseen": ("prod", "previous")}


def watch_rules() -> Mapping[str, Rollout]:
    texts = {
        name: f"rollout: {name}\ncontrol: role:{ROLE}.{control}\ncanary: role:{ROLE}.{canary}\n"
        for name, (control, canary) in SLOTS.items()
    }
    return {name: load_text(text.encode(), name=f"{name}.yaml").rollouts[0] for name, text in texts.items()}
