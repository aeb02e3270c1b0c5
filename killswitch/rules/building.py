"""Builds a `Rollout` from a rule file, with the checks that need several keys at once.

All problems of a file are collected: what pydantic refused is set aside, and the rest is still built and
checked, so that a person can fix the file in one go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from killswitch.alert_settings import AlertAction
from killswitch.model import (
    Cohort,
    CohortMatchers,
    Decide,
    Matcher,
    QuerySignal,
    RatioSignal,
    Rollout,
    Rule,
    ShadowSettings,
    TokenCounters,
)
from killswitch.plan import Plan
from killswitch.rules.alert_keys import read_alerts
from killswitch.rules.cohort_labels import check_models, exclude, labels_of_preset, stated_labels
from killswitch.rules.document import Document, Path, Problem
from killswitch.rules.limits import read_limits
from killswitch.rules.metrics import Available, Complaint, available
from killswitch.rules.page_keys import NAME_SOMEONE
from killswitch.rules.planning import read_plan
from killswitch.rules.presets import FEEDBACK_DELAY, RATES, SDK_TOKENS
from killswitch.rules.schema import (
    DEFAULT_RULES,
    MAX_RULES,
    NAME_PATTERN,
    CohortsSpec,
    MetricsSpec,
    RuleFile,
    RuleSpec,
)
from killswitch.rules.schema_errors import in_words, problems_of
from killswitch.rules.signals import read_signal
from killswitch.rules.slow import read_slow
from killswitch.rules.spending import RefusedCaps, read_spend, set_cap_aside
from killswitch.rules.units import shown
from killswitch.spend_cap import SpendCap

SHORTEST_BLINDNESS = 90.0  # seconds; three of the daemon's default intervals
# stand-ins for required keys that were refused, so that the rest of the file can still be checked
_STAND_INS = {"rollout": "unnamed", "control": "refused control", "canary": "refused canary"}


@dataclass(slots=True)
class Built:
    """One file's rollout, None if anything is wrong with it. ``name``: the value of ``rollout:``, if it is valid.

    ``caps``: those that it states, if none of them is wrong.
    """

    rollout: Rollout | None = None
    name: str | None = None
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    name_line: int = 1
    caps: tuple[SpendCap, ...] = ()
    caps_line: int = 1


def build(document: Document, *, file: str, digest: str) -> Built:
    """The rollout of one document; raises nothing."""
    built = Built(
        problems=list(document.problems),
        name_line=document.line_of(("rollout",)),
        caps_line=document.line_of(("spend", "caps")),
    )
    if document.value is None:
        if not built.problems:
            built.problems.append(Problem(1, "the file is empty", "see docs/rules.md for the smallest rule file"))
        return built
    if not isinstance(document.value, dict):
        built.problems.append(Problem(1, "the file is not a mapping", "begin with `rollout: …`; see docs/rules.md"))
        return built
    if isinstance(document.value.get("prices"), list) and "rollout" not in document.value:
        built.problems.append(Problem(document.line_of(("prices",)), "a file of prices, not a rule file", _MOVE_PRICES))
        return built
    builder = _Builder(document, built)
    spec = builder.validated()
    if spec is not None:
        built.name = spec.rollout if spec.rollout == document.value.get("rollout") else None
        rollout = builder.rollout(spec, file=file, digest=digest)
        if not built.problems:
            built.rollout = rollout
    return built


class _Builder:
    """Builds the rollout of one document and collects its problems and warnings."""

    def __init__(self, document: Document, built: Built) -> None:
        self._document = document
        self._built = built
        self._refused: set[str] = set()  # top-level keys that were refused
        self._refused_of_rule: dict[str, set[str]] = {}  # rule -> its keys that were refused
        self._refused_caps: RefusedCaps = {}

    def _problem(self, path: Path, what: str, fix: str) -> None:
        self._built.problems.append(Problem(self._document.line_of(path), what, fix))

    def _warning(self, path: Path, what: str, fix: str) -> None:
        self._built.warnings.append(Problem(self._document.line_of(path), what, fix))

    def _complain(self, complaints: Iterable[Complaint]) -> None:
        for complaint in complaints:
            (self._warning if complaint.warning else self._problem)(complaint.path, complaint.what, complaint.fix)

    # --- structure ------------------------------------------------------------------------------

    def validated(self) -> RuleFile | None:
        """The file's keys, without those that are refused."""
        data = self._without_nothings(self._document.value, ())
        try:
            return RuleFile.model_validate(data)
        except ValidationError as error:
            for path, what, fix in problems_of(error):
                self._problem(path, what, fix)
                self._set_aside(data, path)
        try:
            return RuleFile.model_validate(data)
        except ValidationError:  # what is left is too little to check further
            return None

    def _without_nothings(self, values: Mapping[str, Any], path: Path) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for key, value in values.items():
            here = (*path, key)
            if value is None:
                self._problem(
                    here,
                    f"{in_words(here)} has no value",
                    "give it a value or remove it (without quotes # begins a comment)",
                )
                self._note_refused(here)
                if len(here) == 1 and key in _STAND_INS:
                    kept[key] = _STAND_INS[key]
            elif isinstance(value, dict):
                kept[key] = self._without_nothings(value, here)
            else:
                kept[key] = value
        return kept

    def _note_refused(self, path: Path) -> None:
        if len(path) > 2 and path[0] == "rules":
            self._refused_of_rule.setdefault(str(path[1]), set()).add(str(path[2]))
        else:
            self._refused.add(str(path[0]))

    def _set_aside(self, data: dict[str, Any], path: Path) -> None:
        """Remove what holds a refused value: one key of a rule, one rule, or one key of the file."""
        if path[:2] == ("spend", "caps") and len(path) > 2:
            set_cap_aside(data, path, self._refused_caps)
            return
        self._note_refused(path)
        top, rules = str(path[0]), data.get("rules")
        if top == "rules" and len(path) > 1 and isinstance(rules, dict):
            rule = rules.get(str(path[1]))
            if len(path) > 2 and isinstance(rule, dict):
                rule.pop(str(path[2]), None)
            else:
                rules.pop(str(path[1]), None)
        else:
            data.pop(top, None)
            if top in _STAND_INS:
                data[top] = _STAND_INS[top]

    # --- meaning --------------------------------------------------------------------------------

    def rollout(self, spec: RuleFile, *, file: str, digest: str) -> Rollout | None:
        self._complain(check_models(spec))
        found, complaints = available(MetricsSpec() if "metrics" in self._refused else spec.metrics)
        self._complain(complaints)
        cohorts = self._cohorts(spec, found)
        rules = self._rules(spec, found, cohorts)
        self._check_modes(spec)
        self._hints(spec, rules)
        spend, complaints = read_spend(spec.spend, spec.match, _own_tokens(found), self._refused_caps)
        self._complain(complaints)
        plan = self._plan(spec, rules)
        slow, of_slow = read_slow(spec.slow)
        self._complain(of_slow)
        self._built.caps = () if complaints or self._refused_caps else spend.caps
        if cohorts is None:
            return None
        return Rollout(
            name=spec.rollout,
            control=spec.control,
            canary=spec.canary,
            cohorts=cohorts,
            rules=rules,
            window=spec.window,
            min_requests=spec.min_requests,
            decide=spec.decide,
            false_trips_per_day=spec.false_trips,
            bursts=spec.bursts,
            trip_when_blind_after=spec.when_blind,
            mode=spec.mode,
            page=spec.page.settings(),
            shadow=self._shadow(spec, cohorts, rules),
            spend=spend,
            plan=plan,
            slow=slow,
            alerts=read_alerts(spec.alerts, spec.rollout),
            drill=spec.drill.settings(),
            file=file,
            digest=digest,
            lines=_lines(self._document),
        )

    def _plan(self, spec: RuleFile, rules: tuple[Rule, ...]) -> Plan | None:
        if spec.plan is None:
            return None
        names = {rule.name for rule in rules} | (spec.rules or {}).keys()
        known = not {"rules", "metrics"} & self._refused
        plan, complaints = read_plan(
            spec.plan, rules, names, rules_known=known, window=spec.window, min_requests=spec.min_requests
        )
        self._complain(complaints)
        return plan

    def _shadow(self, spec: RuleFile, cohorts: CohortMatchers, rules: tuple[Rule, ...]) -> ShadowSettings:
        stated = self._document.value.get("shadow")
        stated = stated if isinstance(stated, dict) else {}
        path: Path = ("shadow", "cohort")
        matchers = spec.shadow.cohort
        if "cohort" in stated and "shadow" not in self._refused:
            if not matchers:
                self._problem(path, "shadow.cohort matches every series", "name a label that only shadow requests have")
            elif set(matchers) == set(cohorts[Cohort.CONTROL]):
                self._problem(
                    path, "shadow.cohort selects control's series", "name a label that only shadow requests have"
                )
            for matcher in matchers:
                if any(exclude(matcher, other) for other in spec.match):
                    self._problem(
                        path,
                        f"shadow.cohort.{matcher.label} contradicts match.{matcher.label}",
                        "no series matches both; remove one",
                    )
        each = [cohorts, *(rule.cohorts for rule in rules if rule.cohorts is not None)]
        if stated and not matchers and not any(_CANARY_LABEL in one[Cohort.CANARY] for one in each):
            self._warning(
                ("shadow",),
                "no rule is judged in stage shadow: the file does not say how shadow requests are labelled",
                "add `cohort: {…}` with a label that only they have, or compare the recorded pairs alone",
            )
        if "keep_text_for" in stated and spec.shadow.keep_text == "never":
            self._warning(
                ("shadow", "keep_text_for"), "keep_text_for has no effect without texts", "add `keep_text: differences`"
            )
        kept = spec.shadow
        return ShadowSettings(matchers, kept.criteria, kept.keep_text, kept.keep_text_for)

    def _cohorts(self, spec: RuleFile, found: Available) -> CohortMatchers | None:
        if spec.cohorts is not None:
            return self._stated_cohorts(spec.cohorts, ("cohorts",), spec.match)
        if {"cohorts", "metrics"} & self._refused:
            return None
        cohorts, complaints = labels_of_preset(spec, found)
        self._complain(complaints)
        return cohorts

    def _stated_cohorts(self, spec: CohortsSpec, path: Path, match: tuple[Matcher, ...]) -> CohortMatchers:
        cohorts, complaints = stated_labels(spec, path, match)
        self._complain(complaints)
        return cohorts

    def _rules(self, spec: RuleFile, found: Available, cohorts: CohortMatchers | None) -> tuple[Rule, ...]:
        specs = spec.rules
        if specs is None or "rules" not in self._document.value:
            if {"rules", "metrics"} & self._refused:
                return ()
            specs = self._default_rules(found)
        elif not specs and "rules" not in self._refused:
            self._problem(("rules",), "rules is empty: nothing would be watched", "name a rule, or remove `rules`")
        if len(specs) > MAX_RULES:
            self._problem(("rules",), f"{len(specs)} rules", f"use at most {MAX_RULES}; all rules share false_trips")
        rules = [self._rule(name, rule, spec, found, cohorts) for name, rule in specs.items()]
        return tuple(rule for rule in rules if rule is not None)

    def _default_rules(self, found: Available) -> dict[str, RuleSpec]:
        known = {name: limits for name, limits in DEFAULT_RULES.items() if found.metrics.signal(name) is not None}
        missing = [name for name in DEFAULT_RULES if name not in known]
        if not known:
            self._problem(
                ("metrics",),
                "these metrics have no signal of the default rules",
                "write `rules` with signals of your own",
            )
        elif missing:
            self._warning(
                ("metrics",),
                f"not watched, because their metrics are missing: {', '.join(missing)}",
                f"name their counters under `metrics:`, or write only {', '.join(known)} under `rules:`",
            )
        return {name: RuleSpec.model_validate(limits) for name, limits in known.items()}

    def _rule(
        self, name: str, rule: RuleSpec, spec: RuleFile, found: Available, cohorts: CohortMatchers | None
    ) -> Rule | None:
        path: Path = ("rules", name)
        if not re.fullmatch(NAME_PATTERN, name, re.ASCII):
            self._problem(
                path, f"{shown(name)} is not a valid rule name", "use a-z, digits and _, beginning with a letter"
            )
            return None
        own_cohorts = (
            None if rule.cohorts is None else self._stated_cohorts(rule.cohorts, (*path, "cohorts"), spec.match)
        )
        read = read_signal(
            name,
            rule,
            found,
            match=spec.match,
            cohorts=own_cohorts or cohorts,
            metrics_known="metrics" not in self._refused,
        )
        refused = self._refused_of_rule.get(name, set())
        limits, complaints = read_limits(name, rule, read.unit)
        # the value of a refused key is unknown, so its absence is no problem
        self._complain(() if refused & _SIGNAL_KEYS else read.complaints)
        self._complain(complaint for complaint in complaints if not (refused and complaint.path == path))
        self._check_for(rule, spec, path, free_query=rule.query is not None)
        if read.signal is None or read.unit is None or limits is None:
            return None
        return Rule(
            name=name,
            signal=read.signal,
            limits=limits,
            unit=read.unit,
            per_user=read.per_user,
            delay=rule.delay if rule.delay is not None else FEEDBACK_DELAY if RATES.get(name) == "thumbs_down" else 0.0,
            absent_is_zero=rule.absent_is_zero,
            for_ticks=rule.for_ or spec.for_ or 1,
            cohorts=own_cohorts,
        )

    def _check_for(self, rule: RuleSpec, spec: RuleFile, path: Path, *, free_query: bool) -> None:
        if rule.per is not None and spec.decide is Decide.THRESHOLD:
            what = f"{in_words((*path, 'per'))} has no meaning with `decide: threshold`"
            self._problem((*path, "per"), what, "remove it, or use `decide: evidence`")
        if rule.for_ is not None and spec.decide is Decide.EVIDENCE and not free_query:
            self._problem((*path, "for"), f"{in_words((*path, 'for'))} has no meaning with `decide: evidence`", _NO_FOR)

    def _check_modes(self, spec: RuleFile) -> None:
        stated = self._document.value
        if spec.for_ is not None and spec.decide is Decide.EVIDENCE:
            self._problem(("for",), "for has no meaning with `decide: evidence`", _NO_FOR)
        if spec.decide is Decide.THRESHOLD:
            for key in ("false_trips", "bursts"):
                if key in stated:
                    self._warning(
                        (key,), f"{key} has no effect with `decide: threshold`", "remove it, or use `decide: evidence`"
                    )

    def _hints(self, spec: RuleFile, rules: tuple[Rule, ...]) -> None:
        plain = [rule.name for rule in rules if rule.per_user is None and not _is_free_or_of_users(rule)]
        if plain and spec.decide is Decide.EVIDENCE and spec.bursts != "long":
            self._warning(
                ("decide",),
                f"plain counters are judged for {', '.join(plain)}: one user's retry storm can trip a healthy canary, "
                "whatever false_trips says",
                "write the llm_judged_… metrics (our router library does), name a label of users as `per`, or use "
                "`bursts: long`",
            )
        if spec.window < 60.0:
            self._warning(("window",), "window is shorter than a minute", "use 5m; a shorter window holds few scrapes")
        if spec.when_blind is not None and spec.when_blind < SHORTEST_BLINDNESS:
            self._warning(
                ("when_blind",),
                "trip_after is shorter than three intervals (1m30s by default): two missed scrapes trip a good canary",
                "use 10m, or `when_blind: hold`",
            )
        if spec.alerts is not None and spec.alerts.action is AlertAction.HOLD and spec.plan is None:
            self._warning(
                ("alerts",),
                "an alert holds a plan, and this file has none: it only pages",
                "write `alerts: trip`, or `plan: default`",
            )
        if spec.page.loses and "page" not in self._refused:
            what = f"a trip, which is {spec.page.severity}, would reach no one"
            self._problem(("page", "receivers"), what, NAME_SOMEONE)
        if spec.page.severity == "critical" and not spec.page.rings and "page" not in self._refused:
            self._warning(
                ("page",),
                "the page is critical but mentions no one: no phone may ring",
                "add `mention: '<!subteam^…>'` (a group), '<@U…>' or '<!here>' under page, or `pagerduty: NAME`, or "
                "`opsgenie: NAME`",
            )


def _is_free_or_of_users(rule: Rule) -> bool:
    return isinstance(rule.signal, QuerySignal) or (isinstance(rule.signal, RatioSignal) and bool(rule.signal.per))


def _lines(document: Document) -> Mapping[str, int]:
    """The lines of the keys whose values are checked against other files, or by other rooms."""
    return {
        ".".join(map(str, path)): line
        for path, line in document.lines.items()
        if path[:2] in (("spend", "prices"), ("shadow", "criteria"))
    }


def _own_tokens(found: Available) -> TokenCounters | None:
    """The preset's counters of billed tokens; None where they are those of our router library."""
    tokens = None if found.preset is None else found.preset.tokens
    return None if tokens is SDK_TOKENS else tokens


_MOVE_PRICES = (
    "every .yaml and .yml here is read as a rule file: move it out of this folder and write "
    "`prices: ../prices.yaml` under `spend`, or keep it here as JSON, in a file whose name ends in .json"
)
_CANARY_LABEL = Matcher("cohort", "=", Cohort.CANARY.value)  # stage shadow asks for `cohort="shadow"` instead
_SIGNAL_KEYS = frozenset({"events", "trials", "histogram", "quantile", "query", "unit"})
_NO_FOR = "remove it (evidence accumulates by itself), or use `decide: threshold`"
