"""A preset from outside, and a rule file that names it: run by test_a_new_preset.py as a program of its own.

In the project a new preset is one more entry of `killswitch.rules.presets.PRESETS`. Here it is put there before the
files that read the list are imported.
"""

from __future__ import annotations

import json
from types import MappingProxyType

from killswitch.model import Matcher, Selector
from killswitch.rules import presets

ACME = presets.Preset(
    name="acme-gateway",
    about="A gateway that counts answers by their result.",
    trap="A request that is retried counts once for each attempt.",
    unseen="A client that gives up counts nowhere.",
    metrics=presets.Metrics(
        requests=(Selector("acme_answers_total"),),
        events={"errors": (Selector("acme_answers_total", (Matcher("result", "=", "failed"),)),)},
        latency=Selector("acme_answer_seconds_bucket"),
    ),
    tells_apart="backend",  # this label holds the model's name
)
RULES = """\
rollout: search
control: model-old
canary: model-new
metrics: acme-gateway
rules:
  error_rate: {max: 2%}
  latency_p95: {max_ratio: 1.5}
"""


def main() -> None:
    presets.PRESETS = MappingProxyType({**presets.PRESETS, ACME.name: ACME})
    from killswitch.rules.loading import load_text  # noqa: PLC0415  after the list is longer
    from tests.doubles.expositions import counted  # noqa: PLC0415  likewise

    (rollout,) = load_text(RULES.encode()).rollouts
    print(json.dumps(counted({"acme": page(100, 0, 40, 0)}, {"acme": page(190, 10, 45, 5)}, rollout)))  # noqa: T201


def page(well: int, failed: int, canary_well: int, canary_failed: int) -> str:
    """What the gateway exposes; counters of a model that fails its first request begin at 0."""
    lines = ["# TYPE acme_answers_total counter"]
    for backend, result, count in (
        ("model-old", "well", well),
        ("model-old", "failed", failed),
        ("model-new", "well", canary_well),
        ("model-new", "failed", canary_failed),
    ):
        lines.append(f'acme_answers_total{{backend="{backend}",result="{result}"}} {count}')
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
