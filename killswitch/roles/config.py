"""What a role file says: how the role's models are asked, what they must answer, and the bars of its gate."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from killswitch.model import PageSettings
from killswitch.roles.bars import Bars

MAX_EVIDENCE_AGE = 7 * 86_400.0  # seconds, where a role file does not say another


@dataclass(frozen=True, slots=True)
class RoleEndpoint:
    """Where a model is asked. ``provider``: openai, anthropic, gemini, litellm, or a ``module:function``.

    ``url`` None: the provider's own. ``key_file`` None: the environment variable that the provider's SDK reads.
    ``proxy``: the URL of an HTTP proxy; the environment's is not used. ``parameters``: sent with each request, such as
    temperature 0.
    """

    provider: str
    url: str | None = None
    key_file: Path | None = None
    ca_file: Path | None = None
    proxy: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class RoleWatch:
    """After a promotion: rollout ``rollout`` compares the new prod with the previous model at ``percent`` new users.

    ``shadow_rollout``, where there is one, sends ``shadow_percent`` of requests to the previous model as well, unseen.
    """

    rollout: str
    percent: float = 99.0
    shadow_rollout: str | None = None
    shadow_percent: float = 5.0


@dataclass(frozen=True, slots=True)
class RoleConfig:
    """One role. Times are seconds.

    ``endpoint``: how models are asked; ``endpoints``: of single models that are asked elsewhere. ``answers_as``: other
    ids that a model's answers may name. ``schema``: the JSON Schema of an answer, None where any text will do.
    ``label``: where the label is in it, as ``$.label``; ``$`` is the whole answer. ``fenced``: JSON inside one Markdown
    fence keeps the schema as well. ``golden``, ``prices`` and
    ``retirements`` are files. ``max_evidence_age``: no promotion rests on an older run. ``max_micros_a_day``: a cap in
    the spend ledger, in micro-dollars, None for none. ``file``: the role's file as problems show it, "" for none.
    """

    name: str
    endpoint: RoleEndpoint
    endpoints: Mapping[str, RoleEndpoint] = field(default_factory=dict, hash=False)
    answers_as: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    system: str | None = None
    schema: Mapping[str, Any] | None = field(default=None, hash=False)
    label: str = "$.label"
    fenced: bool = False
    max_output_tokens: int = 1024
    timeout: float = 60.0
    bars: Bars = field(default_factory=Bars)
    golden: Path | None = None
    prices: Path | None = None
    retirements: Path | None = None
    max_micros_a_day: int | None = None
    max_evidence_age: float = MAX_EVIDENCE_AGE
    probe: bool = True
    watch: RoleWatch | None = None
    page: PageSettings = field(default_factory=PageSettings)
    file: str = ""

    def endpoint_of(self, model: str) -> RoleEndpoint:
        return self.endpoints.get(model, self.endpoint)

    def setup(self, *models: str) -> str:
        """The hash of all that answers and bars rest on besides the golden set: SHA-256, hexadecimal digits.

        ``models``: those compared; where each is asked counts, its key does not.
        """
        bars = self.bars
        return _hashed(
            {
                **self._asking(models),
                "schema": self.schema,
                "label": self.label,
                "fenced": self.fenced,
                "answers_as": {model: sorted(self.answers_as.get(model, ())) for model in sorted(models)},
                "bars": [bars.schema, bars.agreement, bars.latency, bars.cost, bars.wrong],
            }
        )

    def asking(self, *models: str) -> str:
        """The hash of what is sent besides the input: `setup` without what answers are held against.

        A changed schema, label or bar is held against answers that are there; they need not be paid for again.
        """
        return _hashed(self._asking(models))

    def _asking(self, models: Sequence[str]) -> dict[str, Any]:
        asked = {model: self.endpoint_of(model) for model in models}
        return {
            "system": self.system,
            "max_output_tokens": self.max_output_tokens,
            "endpoints": {model: [one.provider, one.url, dict(one.parameters)] for model, one in sorted(asked.items())},
        }


def _hashed(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode(errors="replace")).hexdigest()
