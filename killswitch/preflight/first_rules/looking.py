"""Looks into a metric store, before there are rules: which families are there, who serves, and how much.

Each question is bounded (`killswitch.sources.inventory`). A question that fails ends the look: an error of the store is
never "nothing there".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, Unavailable
from killswitch.model import Cohort, Matcher, Reason, Selector, Unreadable
from killswitch.preflight.first_rules import own_counters
from killswitch.preflight.first_rules.families import Apart, Family, known_families
from killswitch.preflight.first_rules.writable import writable
from killswitch.sources.inventory import MODEL_LABELS, Growth, ListsMetrics
from killswitch.timestamps import HOUR

MOST_SERIES = 100_000
"""Series of one counter that are read at once; with more, a Prometheus needs seconds and gigabytes."""
_MOST_OWN = 8
_PATIENCE = 30.0
_NAMELESS = frozenset({"", "None", "unknown"})
"""What gateways write where a failed request has no model."""
_SCOPES = ("namespace", "service", "app", "job", "cluster")
_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class ServedValue:
    """One value of the label that tells cohorts apart.

    ``requests``: those of the last hour. ``models``: the most asked first.
    """

    value: str
    requests: float
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Serving:
    """Who serves in a family: the values of ``label``, the most requests first. ``more``: not all values are here.

    ``unwritable``: how many values cannot be written into a rule file.
    """

    label: str
    rows: tuple[ServedValue, ...]
    more: bool = False
    unwritable: int = 0

    def of(self, value: str) -> ServedValue | None:
        return next((row for row in self.rows if row.value == value), None)


@dataclass(frozen=True, slots=True)
class StoreLook:
    """The families with traffic in the last hour, and ``notes`` about what is there and cannot be used."""

    families: tuple[tuple[Family, Serving], ...]
    notes: tuple[str, ...] = field(default=())


class Looking:
    """Asks one source at one moment, ``at`` in Unix seconds. Its methods raise Unavailable or AccessDenied."""

    def __init__(self, source: ListsMetrics, at: float) -> None:
        self._source = source
        self._at = at

    def look(self) -> StoreLook:
        """Every family that is known, and counters of the user's own with two arms if none is."""
        names = _answered(self._source.metric_names(None, self._at, Deadline(_PATIENCE)))
        known = self._usable(known_families(names))
        if known.families:
            return known
        own = self._usable(self._own())
        return StoreLook(own.families, (*known.notes, *own.notes))

    def _usable(self, families: Iterator[Family]) -> StoreLook:
        found: list[tuple[Family, Serving]] = []
        notes: list[str] = []
        for family in families:
            if (note := self._unusable(family)) is not None:
                notes.append(note)
                continue
            serving = self.serving(family)
            if any(row.requests > 0 for row in serving.rows):
                found.append((family, serving))
            else:
                why = f"no request was counted in the last hour under a `{serving.label}` that a rule file can name"
                why += "; if it was scraped only once so far, run this again in a minute"
                notes.append(f"{family.requests.metric}: {why}")
        return StoreLook(tuple(found), tuple(notes))

    def _unusable(self, family: Family) -> str | None:
        """Why these counters cannot be read, from their labels and their number alone; None if they can."""
        metric = family.requests.metric
        series = _answered(self._source.series_count(Selector(metric), self._at, Deadline(_PATIENCE)))
        if series == 0:
            return f"{metric}: its name is known to the store, but no series has a sample in the last five minutes"
        if series > MOST_SERIES:
            return (
                f"{metric}: {series:,} series, too many to read at once ({MOST_SERIES:,}); take labels such as user or "
                "key off these metrics, or record a sum of them"
            )
        labels = self._labels(metric)
        if family.apart is not Apart.STATED and family.labels[0] not in labels:
            return f"{metric}: it has no label `{family.labels[0]}`, which tells the cohorts apart"
        return None

    def _labels(self, metric: str) -> frozenset[str]:
        return _answered(self._source.label_names(metric, self._at, Deadline(_PATIENCE)))

    def grown(self, selector: Selector, by: tuple[str, ...]) -> Growth:
        """In the last hour, the largest first."""
        return _answered(self._source.growth(selector, by, HOUR, self._at, Deadline(_PATIENCE)))

    def interval(self, selector: Selector) -> float | None:
        """Seconds between scrapes; None where no series has two samples."""
        found = self._source.typical_interval(selector, self._at, Deadline(_PATIENCE))
        return None if isinstance(found, Unreadable) and found.reason is Reason.NO_DATA else _answered(found)

    # --- who serves ---

    def serving(self, family: Family, match: tuple[Matcher, ...] = ()) -> Serving:
        """Who serves in these counters, narrowed by ``match``."""
        labels = self._labels(family.requests.metric)
        best: Serving | None = None
        for label in (label for label in family.labels if label in labels):
            found = self._by(family, label, labels, match)
            if best is None or (len(best.rows) < 2 <= len(found.rows)):
                best = found
            if len(best.rows) >= 2:
                break
        return best or Serving(family.labels[0], ())

    def _by(self, family: Family, label: str, labels: frozenset[str], match: tuple[Matcher, ...]) -> Serving:
        narrowed = replace(family.requests, matchers=(*family.requests.matchers, *match))
        named = None if family.apart is Apart.MODEL or label == "model" or "model" not in labels else "model"
        growth = self.grown(narrowed, (label,) if named is None else (label, named))
        requests: dict[str, float] = {}
        models: dict[str, list[str]] = {}
        unwritable: set[str] = set()
        for row in growth.rows:
            value = row.labels[label]
            if value in _NAMELESS or (family.apart is Apart.COHORT and value not in set(Cohort)):
                continue  # shadow requests are no user's
            if not writable(value):
                unwritable.add(value)
                continue
            requests[value] = requests.get(value, 0.0) + row.growth
            model = value if family.apart is Apart.MODEL else row.labels.get(named or "", "")
            if writable(model) and row.growth > 0:
                models.setdefault(value, []).append(model)
        if family.models is not None:
            counter, model_label = family.models
            for row in self.grown(counter, (label, model_label)).rows:
                if row.labels[label] in requests and writable(row.labels[model_label]):
                    models.setdefault(row.labels[label], []).append(row.labels[model_label])
        rows = [
            ServedValue(value, grown, tuple(dict.fromkeys(models.get(value, ())))) for value, grown in requests.items()
        ]
        rows.sort(key=lambda row: -row.requests)
        return Serving(label, tuple(rows), growth.more, len(unwritable))

    def scope(self, family: Family, cohorts: tuple[Matcher, ...], chosen: tuple[Matcher, ...]) -> Serving | None:
        """The next label that tells several services apart, all of which count into control; None if there is none.

        ``cohorts``: what tells control apart; ``chosen``: the services that are chosen already.
        """
        taken = {matcher.label for matcher in (*cohorts, *chosen)}
        labels = self._labels(family.requests.metric)
        for label in _SCOPES:
            if label in labels and label not in taken:
                narrowed = replace(family.requests, matchers=(*family.requests.matchers, *cohorts, *chosen))
                growth = self.grown(narrowed, (label,))
                rows = [
                    ServedValue(row.labels[label], row.growth) for row in growth.rows if writable(row.labels[label])
                ]
                if len(rows) > 1:
                    return Serving(label, tuple(rows), growth.more)
        return None

    # --- counters of the user's own ---

    def _own(self) -> Iterator[Family]:
        found: dict[str, Family] = {}
        for label in own_counters.ARM_LABELS:
            arms = own_counters.two_arms(_answered(self._source.label_values(label, self._at, Deadline(_PATIENCE))))
            if arms is not None:
                control, canary = (self._having(Matcher(label, "=", value)) for value in arms)
                self._collect(found, control & canary, label, arms)
        for label in MODEL_LABELS if not found else ():
            self._collect(found, self._having(Matcher(label, "!=", "")), label, None)
        yield from list(found.values())[:_MOST_OWN]

    def _having(self, matcher: Matcher) -> frozenset[str]:
        return _answered(self._source.metric_names(matcher, self._at, Deadline(_PATIENCE)))

    def _collect(
        self, found: dict[str, Family], names: frozenset[str], label: str, arms: tuple[str, str] | None
    ) -> None:
        for requests in own_counters.requests_among(names)[: _MOST_OWN - len(found)]:
            if requests not in found:
                found[requests] = self._with_errors(own_counters.family_of(requests, names, label, arms))

    def _with_errors(self, family: Family) -> Family:
        if not isinstance(family.metrics, dict) or "errors" in family.metrics:
            return family
        labels = self._labels(family.requests.metric)
        values = {
            label: [row.labels[label] for row in self.grown(family.requests, (label,)).rows]
            for label in own_counters.ERROR_LABELS
            if label in labels
        }
        errors = own_counters.errors_by_label(values)
        return family if errors is None else replace(family, metrics={**family.metrics, "errors": errors})


def _answered(found: _Found | Unreadable) -> _Found:
    if not isinstance(found, Unreadable):
        return found
    kind = AccessDenied if found.reason is Reason.SOURCE_REFUSED else Unavailable
    raise kind(f"the metric store gave no answer ({found.reason}): {found.detail}")
