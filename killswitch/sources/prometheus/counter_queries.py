"""What `killswitch doctor` asks of a rule's counters, as PromQL. Pure."""

from __future__ import annotations

from killswitch.model import Selector
from killswitch.sources.asks import shared_labels
from killswitch.sources.counter_health import BORN_WITHIN, MOST_NAMED
from killswitch.sources.counter_resets import FALLS_WITHIN, FEW_FALLS, PROCESS_LABELS, YOUNG
from killswitch.sources.prometheus import promql
from killswitch.sources.prometheus.closer_look import CloserLook
from killswitch.sources.prometheus.queries import Ranges


def queries(events: Selector, trials: Selector, ranges: Ranges) -> tuple[str, str, str]:
    """Falls by process; born events; all events."""
    process = tuple(dict.fromkeys((*PROCESS_LABELS, *shared_labels(events, trials))))
    e, t = promql.selector(events), promql.selector(trials)
    by = f" by ({', '.join(map(promql.label_name, process))})"
    look = CloserLook(t, basis=t, created=None, by=by, process=process, several=False, resolution=ranges.interval)
    falls = f"topk({MOST_NAMED}, {look.falls(ranges.half_open(FALLS_WITHIN), ranges.half_open(YOUNG))} > {FEW_FALLS})"
    day = ranges.half_open(BORN_WITHIN)
    on = f"on ({', '.join(map(promql.label_name, process))})"
    later = f"count_over_time({e}{day}) < {on} group_left () max{by} (count_over_time({t}{day}))"
    born = f"sum(min_over_time({e}{day}) and ({later}))"
    return falls, born, f"sum(increase({e}{day}))"
