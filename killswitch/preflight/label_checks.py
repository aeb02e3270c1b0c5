"""Checks of labels: what tells cohorts apart is on numerator and denominator, once, and counts no request twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from killswitch.deadline import Deadline
from killswitch.model import Cohort, CohortMatchers, QuantileSignal, RatioSignal, Rollout, Rule, Selector, Unreadable
from killswitch.preflight.checks import PATIENCE, Check, Status
from killswitch.roles.references import role_reference
from killswitch.sources.inventory import MODEL_LABELS, Growth, ListsMetrics
from killswitch.timestamps import HOUR

_REPLICAS = ("prometheus_replica", "replica", "prometheus", "receive_replica")
"""Labels by which two Prometheus servers that scrape the same targets are usually told apart."""
_SERVICES = ("namespace", "job", "service")
_UNLABELLED = 0.05
_ALIKE = 0.2


class LabelReader:
    """Asks what labels metrics have and how much is counted under them, each question once. ``at``: Unix seconds.

    What the store does not answer is left out of the checks; ``trouble`` is the first such answer.
    """

    def __init__(self, source: ListsMetrics, at: float) -> None:
        self._source = source
        self._at = at
        self._labels: dict[str, frozenset[str]] = {}
        self._growth: dict[tuple[Selector, tuple[str, ...]], Growth] = {}
        self.trouble: Unreadable | None = None

    def labels(self, metric: str) -> frozenset[str]:
        """None where the store does not say, or has no such metric."""
        if metric not in self._labels:
            found = self._source.label_names(metric, self._at, Deadline(PATIENCE))
            self._labels[metric] = frozenset() if isinstance(found, Unreadable) else found
            self._note(found)
        return self._labels[metric]

    def growth(self, selector: Selector, by: tuple[str, ...]) -> Growth:
        """In the last hour."""
        if (selector, by) not in self._growth:
            found = self._source.growth(selector, by, HOUR, self._at, Deadline(PATIENCE))
            self._growth[selector, by] = Growth(()) if isinstance(found, Unreadable) else found
            self._note(found)
        return self._growth[selector, by]

    def _note(self, found: object) -> None:
        if isinstance(found, Unreadable) and self.trouble is None:
            self.trouble = found


def examine_labels(reader: LabelReader, rollout: Rollout) -> Iterator[Check]:
    """Each trap once for each metric, whichever rules read it."""
    said: set[str] = set()
    for rule in rollout.rules:
        for check in _of_rule(reader, rollout, rule):
            if check.found not in said:
                said.add(check.found)
                yield check
    if reader.trouble is not None:
        found = f"its labels were not all looked at ({reader.trouble.reason}): {reader.trouble.detail}"
        yield Check(rollout.name, Status.NOTE, found)


def _of_rule(reader: LabelReader, rollout: Rollout, rule: Rule) -> Iterator[Check]:
    cohorts = rollout.cohorts_of(rule)
    about = f"{rollout.name} {rule.name}"
    selectors = list(_selectors(rule))
    for selector in selectors:
        yield from _missing(reader, about, selector, cohorts)
    if isinstance(rule.signal, RatioSignal):
        trials = rule.signal.trials[0]
        yield from _unlabelled(reader, about, trials, cohorts)
        yield from _counted_twice(reader, about, trials, cohorts)
        yield from _other_model(reader, rollout, trials, cohorts)
        for events in rule.signal.events:
            if events.metric != trials.metric:
                yield from _other_service(reader, about, events, trials, cohorts)


def _selectors(rule: Rule) -> Iterable[Selector]:
    match rule.signal:
        case RatioSignal(events, trials):
            return (*events, *trials)
        case QuantileSignal(buckets):
            return (buckets,)
        case _:
            return ()


def _missing(reader: LabelReader, about: str, selector: Selector, cohorts: CohortMatchers) -> Iterator[Check]:
    labels = reader.labels(selector.metric)
    if not labels:
        return  # the metric is not there at all: the checks of cohorts say so
    of_cohorts = {matcher.label for matchers in cohorts.values() for matcher in matchers}
    asked = of_cohorts | {matcher.label for matcher in selector.matchers if matcher.operator == "=" and matcher.value}
    for label in sorted(asked - labels):
        why = "which tells the cohorts apart" if label in of_cohorts else "which the rule asks for"
        exported = f"exported_{label}"
        found = f"{selector.metric} has no label `{label}`, {why}"
        fix = f"let the service write `{label}` on it, or name other counters for this rule"
        if exported in labels:
            found += f", but `{exported}`: the scrape's own label `{label}` took its place"
            fix = f"set `honor_labels: true` for that job in Prometheus, or match `{exported}`"
        yield Check(about, Status.WRONG, found, fix)
    for label in sorted(of_cohorts & labels):
        if f"exported_{label}" in labels:
            found = f"{selector.metric} has `{label}` from the scrape and `exported_{label}` from the service"
            fix = f"check which one tells the cohorts apart; `honor_labels: true` keeps the service's as `{label}`"
            yield Check(about, Status.WARNING, found, fix)


def _unlabelled(reader: LabelReader, about: str, trials: Selector, cohorts: CohortMatchers) -> Iterator[Check]:
    """Requests that belong to no cohort because the label is missing on some series."""
    labels = reader.labels(trials.metric)
    for label in sorted({matcher.label for matchers in cohorts.values() for matcher in matchers} & labels):
        rows = reader.growth(trials, (label,)).rows
        every = sum(row.growth for row in rows)
        nameless = sum(row.growth for row in rows if not row.labels[label])
        if every > 0 and nameless / every > _UNLABELLED:
            found = f"{nameless / every:.0%} of {trials.metric} in an hour have no `{label}`, so they are in no cohort"
            fix = f'write `{label}` wherever requests are counted; look at sum by (job) ({trials.metric}{{{label}=""}})'
            yield Check(about, Status.WARNING, found, fix)


def _counted_twice(reader: LabelReader, about: str, trials: Selector, cohorts: CohortMatchers) -> Iterator[Check]:
    """Two servers or two jobs that scrape the same targets: each request counts twice, and evidence with it."""
    labels = reader.labels(trials.metric)
    control = _of_control(trials, cohorts)
    for label in (label for label in _REPLICAS if label in labels):
        rows = [row for row in reader.growth(control, (label,)).rows if row.labels[label] and row.growth > 0]
        if len(rows) > 1 and rows[0].growth - rows[-1].growth < _ALIKE * rows[0].growth:
            found = f"{trials.metric} is there {len(rows)} times, by `{label}`: each request counts that often"
            yield Check(about, Status.WARNING, found, f"match: {{{label}: {rows[0].labels[label]}}}, or deduplicate")
            return
    if {"job", "instance"} <= labels:
        jobs: dict[str, set[str]] = {}
        for row in reader.growth(control, ("instance", "job")).rows:
            if row.growth > 0 and row.labels["instance"]:
                jobs.setdefault(row.labels["instance"], set()).add(row.labels["job"])
        twice = {instance: names for instance, names in jobs.items() if len(names) > 1}
        if twice:
            instance, names = next(iter(twice.items()))
            found = f"{instance} is scraped by the jobs {_some(names)}: each request counts {len(names)} times"
            yield Check(about, Status.WARNING, found, f"remove a job, or match: {{job: {min(names)}}}")


def _other_model(reader: LabelReader, rollout: Rollout, trials: Selector, cohorts: CohortMatchers) -> Iterator[Check]:
    """A cohort whose requests name other models than the rule file does, most likely by a slip of the keyboard.

    Where the label of the model tells the cohorts apart, such a cohort has no data, and other checks say so.
    """
    of_cohorts = {matcher.label for matchers in cohorts.values() for matcher in matchers}
    label = next((one for one in MODEL_LABELS if one in reader.labels(trials.metric) - of_cohorts), None)
    if label is None or role_reference(rollout.control) is not None:
        return
    # in stage `aa` the canary cohort has control's model
    for cohort, name, known in (
        (Cohort.CONTROL, rollout.control, {rollout.control}),
        (Cohort.CANARY, rollout.canary, {rollout.control, rollout.canary}),
    ):
        grown = reader.growth(replace(trials, matchers=(*trials.matchers, *cohorts[cohort])), (label,))
        seen = {row.labels[label] for row in grown.rows if row.growth > 0} - {""}
        if seen and not seen & known and not grown.more:
            found = (
                f"{cohort} is {name!r:.120} in its rule file, but no request of {cohort} in the last hour had that "
                f"`{label}`; it was {_some(seen)}"
            )
            fix = (
                f"correct `{cohort}:` in the rule file; leave it only if `{label}` has another name for the same model"
            )
            yield Check(rollout.name, Status.WARNING, found, fix)


def _other_service(
    reader: LabelReader, about: str, events: Selector, trials: Selector, cohorts: CohortMatchers
) -> Iterator[Check]:
    """Events and requests that other services count: their quotient is of no one's requests."""
    both = reader.labels(events.metric) & reader.labels(trials.metric)
    for label in (label for label in _SERVICES if label in both):
        counted, asked = (
            {row.labels[label] for row in reader.growth(_of_control(one, cohorts), (label,)).rows}
            for one in (events, trials)
        )
        if counted and asked and not counted & asked:
            found = (
                f"{events.metric} is counted by {label} {_some(counted)}, and {trials.metric} by {_some(asked)}: they "
                "are of different services"
            )
            yield Check(
                about,
                Status.WARNING,
                found,
                f"name counters of one service, or narrow both with `match: {{{label}: …}}`",
            )


def _of_control(selector: Selector, cohorts: CohortMatchers) -> Selector:
    return replace(selector, matchers=(*selector.matchers, *cohorts[Cohort.CONTROL]))


def _some(values: set[str]) -> str:
    return " and ".join(sorted(values)[:3])
