"""From what was chosen to a file that `check` and the doctor accept: measured, limited, examined, written.

A rule that the doctor calls wrong is left out, and the file says why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from killswitch.errors import BadRules
from killswitch.model import QuantileSignal, RatioSignal, Rollout
from killswitch.preflight.assumptions import TrafficLevel
from killswitch.preflight.assumptions import measured as measured_of
from killswitch.preflight.backtest.window_readings import step_readings
from killswitch.preflight.checks import Check, Setup, Status
from killswitch.preflight.doctor import examine
from killswitch.preflight.first_rules.draft import RuleDraft, RuleFileDraft
from killswitch.preflight.first_rules.limits import limit_of
from killswitch.preflight.first_rules.week import ControlWeek, weeks
from killswitch.preflight.progress import Progress
from killswitch.preflight.smallest_seen import seen_in_words
from killswitch.rules.loading import Loaded, load_text
from killswitch.rules.schema import DEFAULT_RULES
from killswitch.timestamps import HOUR
from killswitch.verdicts.evidence_entry import STEP, STEP_PER_USER

_WINDOWS = (("5m", 300.0), ("10m", 600.0), ("15m", 900.0), ("30m", 1800.0), ("1h", 3600.0))
_MIN_REQUESTS, _FEWEST = 100, 20
_YOUNG = 2
"""Hours with requests up to which an hour's mean says little about the traffic."""
_SAFELY = 1.5  # how many times `min_requests` the canary should have in a window on average


@dataclass(frozen=True, slots=True)
class Proposal:
    """A file's text, what the doctor said of it in the end, and what `check` warns of."""

    text: str
    rollout: Rollout
    checks: tuple[Check, ...]
    warnings: tuple[str, ...]


def propose(draft: RuleFileDraft, setup: Setup, percent: float, progress: Progress = lambda _: None) -> Proposal:
    """The file for ``draft``, whose rules are not chosen yet. ``setup``: as the doctor's, without rollouts.

    ``percent``: the canary's share of users that what is seen is computed for. Raises BadRules where no rule can be
    watched, Unavailable or AccessDenied where the store fails.
    """
    rollout = _read(draft).rollouts[0]
    measured = weeks(setup.source, rollout, until=setup.terms.until, patience=setup.terms.patience)
    rate = max((week.rate for week in measured.values()), default=0.0)
    if max((week.hours for week in measured.values()), default=0) <= _YOUNG:
        rate = _rate_of_late(rollout, setup) or rate
    progress(0.3)
    draft = _with_rules(draft, rollout, measured, rate, percent)
    while True:
        loaded = _read(draft)
        rollout = loaded.rollouts[0]
        checks = tuple(examine(replace(setup, rollouts=(rollout,)), lambda share: progress(0.3 + 0.7 * share)))
        wrong = dict(_wrong_rules(checks, rollout))
        if not wrong:
            return Proposal(draft.text(), rollout, checks, loaded.warnings)
        draft = _without(draft, wrong)


def _rate_of_late(rollout: Rollout, setup: Setup) -> float:
    """Control's requests a second in those steps of the last hour that had any: an hour may have begun a minute ago."""
    terms = replace(setup.terms, since=setup.terms.until - HOUR)
    _, requests = measured_of(rollout, step_readings(setup.source, rollout, terms), (STEP_PER_USER, STEP))
    return requests / terms.step


def _read(draft: RuleFileDraft) -> Loaded:
    return load_text(draft.text().encode(), name=f"{draft.names.rollout}.yaml")


def _with_rules(
    draft: RuleFileDraft, rollout: Rollout, measured: Mapping[str, ControlWeek], rate: float, percent: float
) -> RuleFileDraft:
    rules: dict[str, RuleDraft] = {}
    left_out = dict.fromkeys(DEFAULT_RULES, "its metrics are not in this family")
    for rule in rollout.rules:
        left_out.pop(rule.name, None)
        week = measured.get(rule.name)
        if week is None:
            left_out[rule.name] = "control had no request by these metrics in the last 7 days"
            continue
        limit = limit_of(rule, week)
        if limit.keys:
            rules[rule.name] = RuleDraft(limit.keys, limit.why)
        else:
            left_out[rule.name] = limit.why
    window, fewest, amount = _amount(rate, percent)
    draft = replace(draft, rules=rules, left_out=left_out, window=window, min_requests=fewest, amount=amount)
    if not rules:
        raise BadRules([_no_rule(draft)])
    return replace(draft, rules=dict(_seen(_read(draft).rollouts[0], rules, measured, rate, percent)))


def _seen(
    rollout: Rollout, rules: Mapping[str, RuleDraft], measured: Mapping[str, ControlWeek], rate: float, percent: float
) -> Iterator[tuple[str, RuleDraft]]:
    """The rules with what each sees at this traffic."""
    level = TrafficLevel(rate, percent)
    for rule in rollout.rules:
        why = rules[rule.name].why
        if isinstance(rule.signal, RatioSignal | QuantileSignal):
            seen = seen_in_words(rollout, rule, measured[rule.name].traffic, level)
            why = f"{why} With {percent:g}% of {rate:.3g} requests a second: {seen}."
        yield rule.name, replace(rules[rule.name], why=why)


def _amount(rate: float, percent: float) -> tuple[str, int, str]:
    """`window`, `min_requests` and why, so that a canary of ``percent`` usually has enough requests in a window."""
    share = rate * percent / 100.0
    for name, seconds in _WINDOWS:
        if share * seconds >= _SAFELY * _MIN_REQUESTS:
            few = name != _WINDOWS[0][0]
            said = f"A canary of {percent:g}% has about {share * seconds:,.0f} requests in {name}."
            return name, _MIN_REQUESTS, said if few else ""
    name, seconds = _WINDOWS[-1]
    fewest = max(_FEWEST, min(_MIN_REQUESTS, round(share * seconds / _SAFELY)))
    said = (
        f"Little traffic: a canary of {percent:g}% has about {share * seconds:,.0f} requests in {name}, so fewer are "
        "asked for than usual (100), and everything is seen late. A larger canary is judged sooner."
    )
    return name, fewest, said


def _wrong_rules(checks: tuple[Check, ...], rollout: Rollout) -> Iterator[tuple[str, str]]:
    for check in checks:
        if check.status is Status.WRONG:
            name = check.about.removeprefix(f"{rollout.name} ")
            if any(rule.name == name for rule in rollout.rules):
                yield name, f"{check.found}; {check.fix}"


def _without(draft: RuleFileDraft, wrong: Mapping[str, str]) -> RuleFileDraft:
    kept = {name: rule for name, rule in (draft.rules or {}).items() if name not in wrong}
    draft = replace(draft, rules=kept, left_out={**draft.left_out, **wrong})
    if not kept:
        raise BadRules([_no_rule(draft)])
    return draft


def _no_rule(draft: RuleFileDraft) -> str:
    reasons = "; ".join(f"{name}: {why}" for name, why in draft.left_out.items())
    fix = "name other counters with --metrics, or see docs/rules.md"
    return f"no rule can be watched with these metrics ({reasons}); fix: {fix}"
