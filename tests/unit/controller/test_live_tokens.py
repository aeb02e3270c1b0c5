"""Billed tokens as our SDK exposes them and a source reads them back, of both cohorts."""

from __future__ import annotations

from dataclasses import replace

from prometheus_client import CollectorRegistry, generate_latest

from killswitch.controller.live_tokens import Billed, read_steps
from killswitch.deadline import Deadline
from killswitch.model import Cohort, Matcher, SpendSettings
from killswitch.router.instruments import PrometheusInstruments
from killswitch.router.outcomes import Outcome
from killswitch.sources.recording import SampledHistory
from killswitch.sources.scrape.exposition import samples_of, series_of
from killswitch.sources.scrape.sample_history import SampleHistory
from killswitch.token_usage import Usage
from tests.doubles.expositions import INTERVAL, START, STEP
from tests.doubles.scripted_source import rollout

MODELS = {Cohort.CONTROL: "old", Cohort.CANARY: "new"}
SPEND = SpendSettings("prices.json", (), (Matcher("job", "=", "copilot"),))


def page(*canary: Usage | None) -> str:
    """What a service shows after these answers of the canary, and one of control."""
    registry = CollectorRegistry()
    instruments = PrometheusInstruments.of(registry)
    served = {cohort: instruments.series(cohort, model) for cohort, model in MODELS.items()}
    for usage in canary:
        served[Cohort.CANARY].ended(Outcome.OK, 1.0, judged=True)
        served[Cohort.CANARY].billed(usage)
    served[Cohort.CONTROL].ended(Outcome.OK, 1.0, judged=True)
    return generate_latest(registry).decode()


def steps_between(before: str, after: str, job: str = "copilot") -> dict[Cohort, dict[str, float] | None]:
    history, names = SampleHistory(), set()
    for at, text in enumerate((before, before, before, after, after)):
        samples = [(*series_of(series), value) for series, value in samples_of(text)]
        names |= {name for name, _, _ in samples}
        stamp = round((START + (at - 2.5) * INTERVAL) * 1000)
        history.add(stamp, [(name, {**labels, "job": job, "instance": "i"}, value) for name, labels, value in samples])
    series = {name: list(history.load(name, 0, round((START + STEP) * 1000))) for name in names}
    history.close()
    source = SampledHistory(series, scrape_interval=INTERVAL)
    asked = Billed(replace(rollout(), spend=SPEND), MODELS)
    found = read_steps(source, [asked], [START + STEP], STEP, Deadline(5))[asked.rollout.name]
    return {
        cohort: None if one.tokens is None else {kind: count for kind, count in one.tokens.items() if count}
        for cohort, (one,) in found.items()
    }


def test_tokens_of_a_step_are_read_by_kind() -> None:
    usage = Usage(input=70, cached_input=30, output=25, reasoning=15)
    assert steps_between(page(usage), page(usage, usage, usage)) == {
        Cohort.CANARY: {"input": 140.0, "cached_input": 60.0, "output": 50.0, "reasoning": 30.0},
        Cohort.CONTROL: {},
    }


def test_a_request_without_usage_counts_as_the_others() -> None:
    usage = Usage(input=70)
    assert steps_between(page(), page(usage, None, None))[Cohort.CANARY] == {"input": 210.0}
    assert steps_between(page(), page(None))[Cohort.CANARY] is None


def test_another_services_tokens_are_not_ours() -> None:
    assert steps_between(page(), page(Usage(input=70)), job="other") == {Cohort.CANARY: None, Cohort.CONTROL: None}
