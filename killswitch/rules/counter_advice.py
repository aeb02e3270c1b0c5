"""What ``docs/rules.md`` says of counters that start again: how each case is read, and what to do."""

from __future__ import annotations

from collections.abc import Iterator

CASES: tuple[tuple[str, str, str], ...] = (
    (
        "a process restarts",
        "All its counters fall together, to less than a quarter in sum. They count from zero.",
        "Nothing.",
    ),
    (
        "one series falls, its siblings do not",
        "No restart: UNKNOWN(GAP) for that step, and for the step in which it comes back.",
        "Look for an old copy of `/metrics`, a cache, or a gauge that is named like a counter.",
    ),
    (
        "a sum by a recording rule",
        "It falls whenever a pod goes, so each such step is a GAP.",
        "Name the pods' own counters, or record `rate` or `increase` first and the sum of that after it.",
    ),
    (
        "pushed counters (Pushgateway, batch jobs)",
        "Without labels of a process they all are one process: from zero only where all fall near zero together.",
        "Push with an `instance` label a process. Never push over another process's group.",
    ),
    (
        "series that are there twice (two Prometheus servers, two scrape jobs)",
        "They are summed. Rates stay right, but each request counts twice, so evidence looks twice as large.",
        "Let the store deduplicate, or choose one copy: `match: {prometheus_replica: a}`, `match: {job: llm}`.",
    ),
    (
        "several workers behind one `/metrics`",
        "Each scrape sees another worker's counters. After more than 3 such falls in an hour: UNKNOWN(GARBAGE).",
        "Set `PROMETHEUS_MULTIPROC_DIR` and serve the multiprocess collector: see [the router](router.md).",
    ),
    (
        "a series that begins with its first event",
        "It counts from zero where its process went on and counted as much itself, or where `_created` says it is new.",
        "Create every label combination at 0 when the process starts. The SDK does.",
    ),
    (
        "a whole process that is new (a pod that lives for minutes)",
        "Its first sample counts only where a `_created` series says so. Otherwise what came before it is lost.",
        "Export OpenMetrics with `_created`, or scrape more often.",
    ),
)
"""The case, how it is read, what to do."""


def counter_advice() -> Iterator[str]:
    """The section's lines."""
    yield "## Counters that start again"
    yield ""
    yield "A rule needs counters of each process that only grow. What happens where they do not, and what to do:"
    yield ""
    yield "| case | how it is read | what to do |"
    yield "|---|---|---|"
    for case in CASES:
        yield f"| {' | '.join(case)} |"
    yield ""
    yield "Series belong to one process if they agree in `job`, `instance`, `pod` and like labels, and in the cohort."
    yield "`killswitch doctor --rollout ROLLOUT` names counters that fall, and says how many events are lost because"
    yield "their series are born late. `killswitch_counter_falls_total` counts falls that are no restart. The `scrape`"
    yield "source and recordings read counters in the same way. The exact rules are in"
    yield "[what a source counts](counting.md)."
    yield ""
