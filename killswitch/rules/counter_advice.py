"""The section of ``docs/rules.md`` about counters that start again: how each case is read, and what to do."""

from __future__ import annotations

from collections.abc import Iterator

CASES: tuple[tuple[str, str, str], ...] = (
    (
        "a process restarts",
        "All its counters fall together, to less than a quarter in sum. They count from zero.",
        "Nothing.",
    ),
    (
        "one series falls, the others of its process do not",
        "Not a restart: UNKNOWN(GAP) for that step, and for the step in which it rises again.",
        "Look for an old copy of `/metrics`, a cache, or a gauge that is named like a counter.",
    ),
    (
        "a sum by a recording rule",
        "It falls whenever a pod ends, so each such step is a GAP.",
        "Use the pods' own counters, or record `rate` or `increase` first, and then the sum.",
    ),
    (
        "pushed counters (Pushgateway, batch jobs)",
        "Without process labels they all are one process: it restarts only if all fall near zero together.",
        "Push with an `instance` label for each process. Never push over another process's group.",
    ),
    (
        "duplicate series (two Prometheus servers, two scrape jobs)",
        "They are summed. Rates stay right, but each request counts twice, so evidence looks twice as large.",
        "Let the store deduplicate, or choose one copy: `match: {prometheus_replica: a}`, `match: {job: llm}`.",
    ),
    (
        "several workers behind one `/metrics`",
        "Each scrape reads another worker's counters. After more than 3 such falls in an hour: UNKNOWN(GARBAGE).",
        "Set `PROMETHEUS_MULTIPROC_DIR` and serve the multiprocess collector: see [the router](router.md).",
    ),
    (
        "a series that begins with its first event",
        "It counts from zero if its process kept running and counted as much itself, or if `_created` says it is new.",
        "Create every label combination at 0 when the process starts. The SDK does.",
    ),
    (
        "a whole process that is new (a pod that lives for minutes)",
        "Its first sample counts only if a `_created` series says so. Otherwise earlier events are lost.",
        "Export OpenMetrics with `_created`, or scrape more often.",
    ),
)
"""The case, how it is read, what to do."""


def counter_advice() -> Iterator[str]:
    """The section's lines."""
    yield "## Counters that start again"
    yield ""
    yield "A rule needs counters of each process that only grow. If they do not, this happens:"
    yield ""
    yield "| case | how it is read | what to do |"
    yield "|---|---|---|"
    for case in CASES:
        yield f"| {' | '.join(case)} |"
    yield ""
    yield "Series belong to one process if `job`, `instance`, `pod` and similar labels, and the cohort, are equal."
    yield "`killswitch doctor --rollout ROLLOUT` names counters that fall, and how many events are lost because their"
    yield "series begin late. `killswitch_counter_falls_total` counts falls that are not restarts. The `scrape` source"
    yield "and recordings read counters in the same way. The exact rules are in"
    yield "[what a source counts](counting.md)."
    yield ""
