"""Back-testing: history replayed through the daemon's own evaluator, evidence and decision.

Rollouts are read together, block by block. Each stops at its first trip, as the switch would have stopped
it, unless it is to be re-armed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from killswitch.model import Decide, Finding, Rollout, Verdict
from killswitch.preflight.backtest.evidence_replay import EvidenceReplay
from killswitch.preflight.backtest.reading import blocks, read
from killswitch.preflight.backtest.replay import Replay, armed_rollout
from killswitch.preflight.backtest.results import BareRule, RolloutHistory, Terms
from killswitch.preflight.backtest.threshold_replay import ThresholdReplay
from killswitch.preflight.progress import Progress
from killswitch.sources import Source
from killswitch.verdicts.accumulator import warm_up_seconds

_MOST_TOGETHER = 50


def backtest(
    source: Source, rollouts: Sequence[Rollout], terms: Terms, progress: Progress = lambda _: None
) -> tuple[RolloutHistory, ...]:
    """Every rollout's history, in the order given. Raises Unavailable or AccessDenied when the source fails."""
    found: list[RolloutHistory] = []
    for start in range(0, len(rollouts), _MOST_TOGETHER):
        some = rollouts[start : start + _MOST_TOGETHER]
        replays = [_replay_of(rollout, source, terms) for rollout in some]
        done, share = start / len(rollouts), len(some) / len(rollouts)
        for step in sorted({replay.spacing for replay in replays}):
            alike = [replay for replay in replays if replay.spacing == step]
            _run_together(source, alike, terms, _part_of(progress, done, share))
        found += [replay.history() for replay in replays]
    progress(1.0)
    return tuple(found)


def _part_of(progress: Progress, done: float, share: float) -> Progress:
    return lambda part: progress(done + part * share)


def bare_comparison(
    source: Source, histories: Sequence[RolloutHistory], terms: Terms, progress: Progress = lambda _: None
) -> Mapping[str, tuple[BareRule, ...]]:
    """By rollout, what `decide: threshold` would have done from the same arming to the end, not stopping at trips."""
    found: dict[str, tuple[BareRule, ...]] = {}
    for position, history in enumerate(histories):
        if history.armed_at is not None:
            rollout = replace(history.rollout, decide=Decide.THRESHOLD)
            armed = armed_rollout(rollout, history.armed_at, history.percent or 1.0)
            replay = ThresholdReplay(
                rollout, source, replace(terms, armed_at=history.armed_at, percent=history.percent)
            )
            rules = {rule.name: BareRule(rule.name) for rule in rollout.rules}
            over: set[str] = set()
            wants = replay.wants
            for done, ticks in blocks(history.armed_at, terms.until, terms.interval, len(wants)):
                for tick, findings in replay.judged(armed, ticks, read(source, wants, ticks, terms)):
                    over = _count_episodes(rules, over, tick, findings)
                progress((position + done) / len(histories))
            found[rollout.name] = tuple(rules.values())
        progress((position + 1) / len(histories))
    return found


def _count_episodes(
    rules: Mapping[str, BareRule], over: set[str], tick: float, findings: Sequence[Finding]
) -> set[str]:
    now = {finding.rule: finding for finding in findings if finding.verdict is Verdict.BREACH}
    for name, finding in now.items():
        rule = rules[name]
        rule.ticks_over += 1
        rule.episodes += name not in over
        if rule.first is None:
            rule.first, rule.sentence = tick, finding.sentence
    silent = {finding.rule for finding in findings if finding.verdict is Verdict.UNKNOWN}
    return set(now) | (over & silent)


def _replay_of(rollout: Rollout, source: Source, terms: Terms) -> Replay:
    kind = EvidenceReplay if rollout.decide is Decide.EVIDENCE else ThresholdReplay
    return kind(rollout, source, terms)


def _run_together(source: Source, replays: Sequence[Replay], terms: Terms, progress: Progress) -> None:
    """Take replays whose ticks are equally far apart through history, with one read a block for all."""
    begins = terms.since if terms.armed_at is None else max(terms.since, terms.armed_at)
    most = sum(len(replay.wants) for replay in replays)
    for done, ticks in blocks(begins - warm_up_seconds(terms.step), terms.until, replays[0].spacing, most):
        waiting = [replay for replay in replays if not replay.done]
        if not waiting:
            return
        readings = read(source, [want for replay in waiting for want in replay.wants], ticks, terms)
        for replay in waiting:
            replay.take(ticks, readings)
        progress(done)
