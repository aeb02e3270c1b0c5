"""The metrics of each rule, made from the newest findings when Prometheus scrapes.

No series is kept between scrapes, so a cycle with thousands of rules costs nothing here. At most `MAX_RULES` rules are
exported, the first by name; the others are counted in ``killswitch_rules_not_exported``. A value that is not known has
no series: a dashboard shows a gap, never a zero and never NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import islice

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from killswitch.model import Finding, Verdict

MAX_RULES = 5_000
MOST = 1e300  # evidence grows without bound; a sample of +Inf breaks the scale of every graph
_RULE = ("rollout", "rule")
_FAMILIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "killswitch_rule_verdict": ("1 for the verdict the rule has now, 0 for the others.", (*_RULE, "verdict")),
    "killswitch_rule_value": (
        "The cohort's value in the window, in the rule's unit: fraction (0 to 1), seconds or number.",
        (*_RULE, "cohort", "unit"),
    ),
    "killswitch_rule_samples": ("The cohort's requests in the window.", (*_RULE, "cohort")),
    "killswitch_rule_limit": (
        "What the canary must not exceed, given control's value now, in the rule's unit.",
        (*_RULE, "unit"),
    ),
    "killswitch_rule_evidence": (
        "If the canary is within its limits, the chance of what was seen is 1 in this.",
        _RULE,
    ),
    "killswitch_rule_evidence_needed": ("The evidence at which the rule becomes a breach.", _RULE),
}


class RuleMetrics(Collector):
    """Collects the newest findings of each rollout: a cycle sets them, a scrape reads them."""

    def __init__(self, max_rules: int = MAX_RULES) -> None:
        self._max_rules = max_rules
        self._findings: dict[str, tuple[Finding, ...]] = {}

    def set(self, rollout: str, findings: Iterable[Finding]) -> None:
        self._findings[rollout] = tuple(findings)

    def forget(self, rollout: str) -> None:
        self._findings.pop(rollout, None)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        yield from map(_empty, _FAMILIES)
        yield _not_exported(0)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        judged = [(name, one) for name, findings in sorted(self._findings.copy().items()) for one in findings]
        # one family at a time: the samples of all families of a thousand rollouts take 20 MB
        for name in _FAMILIES:
            family = _empty(name)
            for rollout, finding in islice(judged, self._max_rules):
                for more, value in _values(name, finding):
                    if value is not None and not math.isnan(value):
                        family.add_metric((rollout, finding.rule, *more), max(-MOST, min(value, MOST)))
            yield family
            del family
        yield _not_exported(max(0, len(judged) - self._max_rules))


def _empty(name: str) -> GaugeMetricFamily:
    said, labels = _FAMILIES[name]
    return GaugeMetricFamily(name, said, labels=labels)


def _not_exported(count: int) -> GaugeMetricFamily:
    said = f"Rules that have no killswitch_rule_ series, because there are more than {MAX_RULES}."
    return GaugeMetricFamily("killswitch_rules_not_exported", said, value=count)


def _values(family: str, finding: Finding) -> Iterable[tuple[tuple[str, ...], float | None]]:
    """What a finding adds to a family: the labels after `_RULE`, and the value."""
    unit = finding.unit.value
    match family:
        case "killswitch_rule_verdict":
            return [((each.value,), float(finding.verdict is each)) for each in Verdict]
        case "killswitch_rule_value":
            return [(("canary", unit), finding.canary), (("control", unit), finding.control)]
        case "killswitch_rule_samples":
            return [(("canary",), finding.samples_canary), (("control",), finding.samples_control)]
        case "killswitch_rule_limit":
            return [((unit,), finding.limit)]
        case "killswitch_rule_evidence":
            return [((), finding.evidence)]
        case _:
            return [((), finding.needed)]
