"""What a metric store has: names of metrics, their labels, and how much is counted under each value of a label.

For `killswitch init` and the doctor, which look before there are rules. Every question is bounded: it names one metric,
or asks for names alone, and gets the largest `MOST_VALUES` of an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from killswitch.deadline import Deadline
from killswitch.model import Matcher, Selector, Unreadable

MOST_VALUES = 50
MODEL_LABELS = ("model", "model_name", "llm_model", "model_id", "deployment_name", "engine")
"""Labels that may name the model which served a request."""
LOOKED_BACK = 3600.0
"""Seconds before the moment asked about in which a series must have had a sample."""


@dataclass(frozen=True, slots=True)
class Grown:
    """How much the counters with these values of labels (missing ones are "") have grown in the time asked about."""

    labels: Mapping[str, str]
    growth: float


@dataclass(frozen=True, slots=True)
class Growth:
    """The largest first. ``more``: there are more than `MOST_VALUES`, and the others are left out."""

    rows: tuple[Grown, ...]
    more: bool = False


@runtime_checkable
class ListsMetrics(Protocol):
    """A source that can say what it has. Each method ends by its deadline, and raises nothing for what a store does.

    ``at``: Unix seconds. What could not be read is Unreadable, and never an empty answer.
    """

    def metric_names(self, having: Matcher | None, at: float, deadline: Deadline) -> frozenset[str] | Unreadable:
        """Names of metrics, of those alone that have a series with the label ``having`` where it is given."""
        ...

    def label_names(self, metric: str, at: float, deadline: Deadline) -> frozenset[str] | Unreadable:
        """The labels that any series of this metric has; without its name."""
        ...

    def label_values(self, label: str, at: float, deadline: Deadline) -> frozenset[str] | Unreadable:
        """The values of this label on any series."""
        ...

    def series_count(self, selector: Selector, at: float, deadline: Deadline) -> int | Unreadable:
        """How many series have a sample in the five minutes before ``at``."""
        ...

    def growth(
        self, selector: Selector, by: tuple[str, ...], seconds: float, at: float, deadline: Deadline
    ) -> Growth | Unreadable:
        """How much these counters have grown in the ``seconds`` before ``at``, by the values of the labels ``by``."""
        ...

    def typical_interval(self, selector: Selector, at: float, deadline: Deadline) -> float | Unreadable:
        """Seconds between the samples of one of these series, the one with the most samples of late."""
        ...
