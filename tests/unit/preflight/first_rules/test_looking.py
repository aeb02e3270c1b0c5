"""A look into a metric store finds its families and who serves in them, and never takes an error for none."""

from __future__ import annotations

import pytest

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, Unavailable
from killswitch.model import Matcher, Reason, Selector, Unreadable
from killswitch.preflight.first_rules.families import Apart
from killswitch.preflight.first_rules.looking import MOST_SERIES, Looking
from killswitch.sources.inventory import Growth
from killswitch.sources.recording import SampledHistory
from tests.unit.preflight.first_rules.store_contents import NOW, RECORDED_AT, growing, recorded

SDK = {
    'llm_requests_total{cohort="control",model="old",outcome="ok",job="copilot"}': 900.0,
    'llm_requests_total{cohort="canary",model="new",outcome="ok",job="copilot"}': 50.0,
    'llm_requests_total{cohort="shadow",model="new",outcome="ok",job="copilot"}': 400.0,
}


@pytest.mark.parametrize(
    ("preset", "label", "served"),
    [
        ("opentelemetry-genai", "gen_ai_request_model", ["old", "new"]),
        ("envoy-ai-gateway", "gen_ai_request_model", ["old", "new"]),
        ("vllm-router", "model", ["old", "new"]),
        ("vllm", "instance", ["control", "canary"]),
    ],
)
def test_recorded_pages_of_each_writer_are_recognised(preset: str, label: str, served: list[str]) -> None:
    """The family, the label that tells its cohorts apart, and who serves, the most requests first."""
    ((family, serving),) = Looking(recorded(preset), RECORDED_AT).look().families
    assert family.metrics == preset
    assert serving.label == label
    assert [row.value for row in serving.rows][: len(served)] == served


def test_vllm_says_which_model_each_server_has() -> None:
    ((_, serving),) = Looking(recorded("vllm"), RECORDED_AT).look().families
    assert {row.value: row.models for row in serving.rows} == {"control": ("old",), "canary": ("new",)}


def test_shadow_requests_are_not_taken_for_a_cohort() -> None:
    ((family, serving),) = Looking(growing(SDK), NOW).look().families
    assert (family.apart, family.metrics) == (Apart.COHORT, "cohort-labels")
    assert [(row.value, row.models) for row in serving.rows] == [("control", ("old",)), ("canary", ("new",))]


def test_litellm_is_told_apart_by_the_group_that_was_asked_for() -> None:
    page = {
        f'litellm_proxy_total_requests_metric_total{{requested_model="{model}",team="{team}"}}': 300.0
        for model, team in (("gpt-old", "a"), ("gpt-old", "b"), ("gpt-new", "a"))
    }
    ((family, serving),) = Looking(growing(page), NOW).look().families
    assert (family.metrics, serving.label) == ("litellm", "requested_model")
    assert [row.value for row in serving.rows] == ["gpt-old", "gpt-new"]


def test_a_renamed_histogram_is_found_and_named() -> None:
    page = {'gen_ai_client_inference_duration_seconds_count{gen_ai_request_model="old"}': 300.0}
    ((family, _),) = Looking(growing(page), NOW).look().families
    assert family.metrics == {"preset": "opentelemetry-genai", "metric": "gen_ai_client_inference_duration_seconds"}


def test_a_known_name_without_the_cohort_label_is_said() -> None:
    look = Looking(growing({'llm_requests_total{model="old"}': 300.0}), NOW).look()
    assert not look.families
    assert "it has no label `cohort`" in look.notes[0]


def test_a_counter_of_ones_own_with_two_arms_is_found() -> None:
    page = {
        f'chat_requests_total{{variant="{variant}",status="{status}"}}': growth
        for variant, status, growth in (("stable", "200", 900.0), ("stable", "503", 9.0), ("canary", "200", 50.0))
    } | {
        f'chat_latency_seconds_bucket{{variant="{variant}",le="{le}"}}': 10.0
        for variant in ("stable", "canary")
        for le in ("1", "+Inf")
    }
    ((family, serving),) = Looking(growing(page), NOW).look().families
    assert family.arms == ("stable", "canary")
    assert family.metrics == {
        "requests": "chat_requests_total",
        "errors": '{status=~"5.."}',
        "latency": "chat_latency_seconds",
    }
    assert [row.value for row in serving.rows] == ["stable", "canary"]


def test_a_model_label_of_ones_own_counter_is_found() -> None:
    page = {
        'answers_total{env="prod"}': 5.0,
        'completions_total{model="a-1"}': 90.0,
        'completions_total{model="a-2"}': 9.0,
    }
    ((family, serving),) = Looking(growing(page), NOW).look().families
    assert (family.requests.metric, serving.label) == ("completions_total", "model")
    assert [row.value for row in serving.rows] == ["a-1", "a-2"]


def test_hostile_values_of_labels_are_left_out_and_counted() -> None:
    r"""A line end, a matcher, a role's slot: none of them may be offered as a model's name."""
    page = {
        f'litellm_proxy_total_requests_metric_total{{requested_model="{model}"}}': 100.0
        for model in (r"a\nmode: enforce", "=~.*", "role:x.prod", 'quo\\"te', "unknown", "None")
    }
    ((_, serving),) = Looking(growing(page), NOW).look().families
    assert [row.value for row in serving.rows] == ['quo"te']
    assert serving.unwritable == 3


def test_several_services_of_one_name_are_asked_about() -> None:
    page = {series.replace("copilot", job): growth for job in ("copilot", "search") for series, growth in SDK.items()}
    looking = Looking(growing(page), NOW)
    ((family, _),) = looking.look().families
    control = (Matcher("cohort", "=", "control"),)
    scope = looking.scope(family, control, ())
    assert scope is not None
    assert (scope.label, [row.value for row in scope.rows]) == ("job", ["copilot", "search"])
    assert looking.scope(family, control, (Matcher("job", "=", "search"),)) is None


class Counted(SampledHistory):
    """A store of which one counter has a million series, and that notes what is asked of samples."""

    def __init__(self, series: int) -> None:
        super().__init__({})
        self.asked: list[str] = []
        self.metric_names = lambda *_: frozenset({"llm_requests_total"})
        self.series_count = lambda *_: series
        self.growth = self._noted

    def _noted(self, selector: Selector, by: tuple[str, ...], seconds: float, at: float, deadline: Deadline) -> Growth:
        assert by
        assert min(seconds, at, deadline.remaining()) > 0
        self.asked.append(selector.metric)
        return Growth(())


def test_a_counter_with_a_million_series_is_not_read() -> None:
    store = Counted(1_000_000)
    look = Looking(store, NOW).look()
    assert f"1,000,000 series, too many to read at once ({MOST_SERIES:,})" in look.notes[0]
    assert not store.asked


@pytest.mark.parametrize(
    ("method", "reason", "kind"),
    [
        ("metric_names", Reason.SOURCE_DOWN, Unavailable),
        ("label_names", Reason.PARTIAL_ANSWER, Unavailable),
        ("series_count", Reason.SOURCE_TIMEOUT, Unavailable),
        ("growth", Reason.GARBAGE, Unavailable),
        ("growth", Reason.SOURCE_REFUSED, AccessDenied),
    ],
)
def test_an_error_of_the_store_is_never_nothing_there(method: str, reason: Reason, kind: type[Exception]) -> None:
    store = growing(SDK)
    setattr(store, method, lambda *_: Unreadable(reason, "as it was told to"))
    with pytest.raises(kind, match="as it was told to"):
        Looking(store, NOW).look()


def test_only_a_missing_second_sample_is_no_interval() -> None:
    store = growing(SDK)
    looking = Looking(store, NOW)
    assert looking.interval(Selector("llm_requests_total")) == 15.0
    assert looking.interval(Selector("other")) is None
    store.typical_interval = lambda *_: Unreadable(Reason.SOURCE_DOWN, "gone")
    with pytest.raises(Unavailable):
        looking.interval(Selector("llm_requests_total"))
    assert store.series_count(Selector("llm_requests_total"), NOW, Deadline(1)) == 3
