"""Which verdicts have turned a generation's shadow down, and from where: each does so once, whatever restarts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from killswitch.documents import Fields, parse_object
from killswitch.errors import BadDocument
from killswitch.flags.flag import Flag
from killswitch.flags.shadow_share import ShadowShare, shadow_share
from killswitch.stores import Item, keys
from killswitch.timestamps import to_iso

_MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class ShadowDecisions:
    """``share_before``: what was shadowed when the first verdict came. ``verdicts``: each with its ISO 8601 time."""

    rollout: str
    generation: int
    share_before: ShadowShare
    verdicts: Mapping[str, str]

    def with_verdict(self, verdict: str, *, at: float) -> ShadowDecisions:
        """``at``: Unix seconds."""
        return replace(self, verdicts={**self.verdicts, verdict: to_iso(at)})

    def document(self) -> bytes:
        """As stored: JSON."""
        return json.dumps(
            {
                "rollout": self.rollout,
                "generation": self.generation,
                "shadow_percent": self.share_before.percent,
                "shadow_classes": dict(self.share_before.classes),
                "verdicts": dict(self.verdicts),
            },
            ensure_ascii=False,
        ).encode()


def shadow_decisions(get: Callable[[str], Item | None], flag: Flag) -> tuple[ShadowDecisions, int]:
    """Those of the flag's generation, and the revision of their key, 0 for none yet. ``get`` reads a key.

    Raises BadDocument.
    """
    none = ShadowDecisions(flag.rollout, flag.generation, flag.shadow_share, {})
    item = get(keys.shadow_decision(flag.rollout, flag.generation))
    if item is None:
        return none, 0
    fields = parse_object(item.value, f"shadow decisions of {flag.rollout}", max_bytes=_MAX_BYTES)
    verdicts = Fields(fields.raw.get("verdicts"), f"{fields.where}, verdicts")
    try:
        before = shadow_share(fields.raw.get("shadow_percent"), fields.raw.get("shadow_classes"))
    except ValueError as error:
        raise BadDocument(f"{fields.where}: {error}") from error
    made = {name: verdicts.text(name) for name in verdicts.raw}
    return replace(none, share_before=before, verdicts=made), item.mod_revision
