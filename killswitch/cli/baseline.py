"""``killswitch baseline``: store control's values of the last day, before control gets no more traffic."""

from __future__ import annotations

import json
import math

from killswitch.cli.by_hand import Hand, by_hand
from killswitch.cli.invocation import RolloutArgument, SourceOption, opened_source, rollout_of
from killswitch.deadline import Deadline
from killswitch.errors import NoFlag, Refused
from killswitch.model import Rollout, Want
from killswitch.sources import Source
from killswitch.timestamps import DAY
from killswitch.verdicts.baseline import Baseline, to_document
from killswitch.verdicts.compare import compare
from killswitch.verdicts.evaluator import PER_USER, WINDOW
from killswitch.verdicts.per_user_signal import PerUserSignal
from killswitch.wording import count_in_words, duration_in_words, value_in_words

READ_WITHIN = 60.0


@by_hand(rules=True)
def command(hand: Hand, rollout: RolloutArgument, source: SourceOption = None) -> None:
    """Store control's values of the last day as the baseline, so that the rollout can go to 100 %."""
    file = rollout_of(hand.settings, rollout, required=True)
    assert file is not None
    flag = hand.switch.stored(rollout).flag
    if flag is None:
        raise NoFlag(rollout, hand.switch.everything()[0])
    if not flag.armed:
        raise Refused(f"{rollout} is {flag.state}; a baseline can only be stored for an armed rollout")
    with opened_source(hand.settings, source) as reader:
        baseline, samples = _measure(reader, file, flag.generation)
    words = ", ".join(
        f"{rule.name} {value_in_words(baseline.values[rule.name], rule.unit)}{_requests_behind(samples[rule.name])}"
        for rule in file.rules
    )
    length = duration_in_words(baseline.seconds)
    hand.confirm(
        f"{rollout}: control's values of the last {length} (or as far back as the metric store has them) become the "
        f"baseline of generation {flag.generation}: {words}"
    )
    hand.switch.keep_baseline(baseline)
    next_step = f"`killswitch stage {rollout} --percent 100` is now possible"
    hand.answer(json.loads(to_document(baseline)), f"{rollout}: baseline stored; {next_step}")


def _requests_behind(samples: float | None) -> str:
    return "" if samples is None else f" ({count_in_words(samples)} requests)"


def _measure(source: Source, rollout: Rollout, generation: int) -> tuple[Baseline, dict[str, float | None]]:
    """Control's values over the last day, and the number of requests behind each, by rule.

    Raises Refused if a rule could not be read or has too few requests.
    """
    deadline = Deadline(READ_WITHIN)
    now = source.now(deadline)
    wants = [
        Want(rollout.name, rule.name, part, signal, rollout.cohorts_of(rule), DAY, absent_is_zero=rule.absent_is_zero)
        for rule in rollout.rules
        for part, signal in ((WINDOW, rule.signal), (PER_USER, rule.per_user))
        if signal is not None
    ]
    readings = source.read(wants, now, deadline)
    values: dict[str, float] = {}
    samples: dict[str, float | None] = {}
    problems: list[str] = []
    for rule in rollout.rules:
        per_user = readings.get((rollout.name, rule.name, PER_USER))
        reading = readings[rollout.name, rule.name, WINDOW]
        served = per_user is not None and PerUserSignal().serves(per_user, reading, alone=False)
        judged = per_user if per_user is not None and served else reading
        found = compare(rule, judged)
        few = found.samples_control is not None and found.samples_control < 10 * rollout.min_requests
        if found.control is None or not math.isfinite(found.control) or few:
            detail = "too few requests" if found.problem is None else found.problem.detail
            problems.append(f"{rule.name}: {detail}")
        else:
            values[rule.name], samples[rule.name] = found.control, found.samples_control
    if problems:
        raise Refused("control's last day cannot be the baseline: " + "; ".join(problems))
    return Baseline(rollout.name, generation, now, DAY, values), samples
