"""The text of a first rule file: each choice with its reason in a comment, and nothing can break out of YAML. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from killswitch.model import Matcher
from killswitch.preflight.first_rules.families import Apart, Family
from killswitch.preflight.first_rules.writable import comment, flow, scalar


@dataclass(frozen=True, slots=True)
class Names:
    """What a person decides. ``control_is`` and ``canary_is``: with STATED, what tells each cohort's series apart."""

    rollout: str
    control: str
    canary: str
    match: tuple[Matcher, ...] = ()
    control_is: Matcher | None = None
    canary_is: Matcher | None = None
    slack: str | None = None
    mention: str | None = None


@dataclass(frozen=True, slots=True)
class RuleDraft:
    """One rule: its keys as the file has them, and what its comment says."""

    keys: Mapping[str, str | float]
    why: str


@dataclass(frozen=True, slots=True)
class RuleFileDraft:
    """A whole file. ``rules`` None: those that are used without `rules:`. ``left_out``: by rule, why it is not watched.

    ``about``: lines on top; ``window`` and ``min_requests`` as the file has them, with ``amount``, the reason.
    """

    family: Family
    names: Names
    about: tuple[str, ...] = ()
    rules: Mapping[str, RuleDraft] | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    window: str = "5m"
    min_requests: int = 100
    amount: str = ""

    def text(self) -> str:
        return "\n".join([*self._head(), *self._metrics(), *self._rules(), *self._judging(), *self._page(), ""])

    def _head(self) -> Iterator[str]:
        for line in self.about:
            yield from comment(line)
        if self.about:
            yield ""
        yield f"rollout: {scalar(self.names.rollout)}"
        yield f"control: {scalar(self.names.control)}"
        yield f"canary: {scalar(self.names.canary)}"
        yield ""

    def _metrics(self) -> Iterator[str]:
        family, names = self.family, self.names
        yield from comment(family.title)
        preset = family.preset
        if preset is not None:
            yield from comment(f"Note: {preset.trap}")
            yield from comment(f"Not seen: {preset.unseen}")
        if isinstance(family.metrics, str):
            yield f"metrics: {scalar(family.metrics)}"
        else:
            yield "metrics:"
            yield from (f"  {key}: {scalar(value)}" for key, value in family.metrics.items())
        if family.apart is Apart.STATED and names.control_is is not None and names.canary_is is not None:
            yield "cohorts:"
            for cohort, matcher in (("control", names.control_is), ("canary", names.canary_is)):
                yield f"  {cohort}: {flow({matcher.label: matcher.value})}"
        if names.match:
            yield from comment("These series alone: other services write metrics of the same names.")
            yield f"match: {flow({matcher.label: matcher.value for matcher in names.match})}"
        yield ""

    def _rules(self) -> Iterator[str]:
        if self.rules is None:
            return
        yield from comment("The canary is over a rule if it is over every bound of the rule.")
        yield "rules:"
        for name, rule in self.rules.items():
            yield from comment(rule.why, "  ")
            yield f"  {name}: {{{', '.join(f'{key}: {_limit(value)}' for key, value in rule.keys.items())}}}"
        for name, why in self.left_out.items():
            yield from comment(f"Not watched: {name}: {why}.", "  ")
        yield ""

    def _judging(self) -> Iterator[str]:
        if self.amount:
            yield from comment(self.amount)
        yield f"window: {self.window}"
        yield f"min_requests: {self.min_requests}"
        yield "when_blind: hold        # without usable metrics: hold traffic as it is, or {trip_after: 10m}"
        yield "mode: dry_run           # judges and pages WOULD_TRIP; `enforce` also trips: docs/first-day.md"
        yield ""

    def _page(self) -> Iterator[str]:
        slack, mention = self.names.slack, self.names.mention
        if slack is None and mention is None:
            yield from comment(
                "No one is paged by this file yet. A channel, and who is mentioned so that a phone rings:"
            )
            yield from comment('page: {slack: "#llm-oncall", mention: "<!here>"}')
            return
        yield "page:"
        if slack is not None:
            yield f"  slack: {json.dumps(slack, ensure_ascii=False)}"
        if mention is not None:
            yield f"  mention: {json.dumps(mention, ensure_ascii=False)}"


def _limit(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"
