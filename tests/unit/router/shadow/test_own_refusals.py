"""A refusal without a provider's signal counts for both models alike, or for neither."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from killswitch.router import CohortMetrics, Phrases
from killswitch.router.instruments import PrometheusInstruments
from killswitch.router.shadow import Asking, Shadow
from killswitch.router.shadow.answers import read
from killswitch.router.shadow.asking import Kind
from killswitch.router.shadow.call import Came, Sampled, ShadowCall
from killswitch.router.shadow.drops import Drop
from killswitch.router.shadow.own_refusals import rule_of
from tests.doubles.finished_requests import chat_answer, finished, pairs
from tests.doubles.held_split import router_over, shadowed
from tests.doubles.shadow_calls import Shadowing

_REFUSAL = "I'm sorry, but I can't help with that."


def recorded(shadowing: Shadowing, control: object, other: str, *, served: str, kind: Kind = "candidate") -> None:
    request = finished(answer=control, served_outcome=served)
    sampled = Sampled(request, shadowing.split, shadowing.clock.monotonic(), shadowing.settings)
    call = ShadowCall(sampled, kind, shadowing.settings)
    call.prepare()
    call.record(Came(read(chat_answer(other)), None, 1.0))


@pytest.mark.parametrize("kind", ["candidate", "noise"])
def test_an_own_rule_reads_both_models_answers(kind: Kind) -> None:
    shadowing = Shadowing(refusal_rule=lambda text: "can't help" in text)
    recorded(shadowing, chat_answer(_REFUSAL), _REFUSAL, served="refused", kind=kind)
    recorded(shadowing, chat_answer("good day"), _REFUSAL, served="ok", kind=kind)
    recorded(shadowing, chat_answer("good day"), "good day", served="ok", kind=kind)
    assert [(pair.control.refused, pair.other.refused) for pair in shadowing.pairs] == [
        (True, True),
        (False, True),
        (False, False),
    ]
    assert [pair.other.outcome for pair in shadowing.pairs] == ["refused", "refused", "ok"]
    assert [counted.refused for counted in shadowing.counted] == [True, True, False]
    assert not shadowing.warnings


def test_a_rule_that_the_shadow_lacks_favours_no_model() -> None:
    """The service called `refused()`; the canary's same words are no refusal, so control's are none either."""
    shadowing = Shadowing()
    recorded(shadowing, chat_answer(_REFUSAL), _REFUSAL, served="refused")
    (pair,) = shadowing.pairs
    assert (pair.control.refused, pair.control.outcome, pair.other.refused) == (False, "ok", False)
    ((kind, said),) = shadowing.warnings
    assert kind == "refusals"
    assert "of support-copilot: " in said
    assert "`Shadow(…, refused=…)`" in said


def test_what_was_refused_without_a_word_stays_refused() -> None:
    """An error of a content filter says so for both models, by whichever signal."""
    shadowing = Shadowing()
    recorded(shadowing, None, "good day", served="refused")
    (pair,) = shadowing.pairs
    assert (pair.control.refused, pair.control.outcome) == (True, "refused")
    assert not shadowing.warnings


def test_a_rule_that_fails_records_no_pair() -> None:
    """What cannot be read is counted as dropped, and is not taken for an answer."""

    def broken(text: str) -> bool:
        raise ValueError(text)

    shadowing = Shadowing(refusal_rule=broken)
    recorded(shadowing, chat_answer("good day"), "good day", served="ok")
    assert not shadowing.pairs
    assert shadowing.dropped == [Drop.FAILED]
    assert shadowing.complaints == ["a pair could not be recorded"]


def test_a_refusal_by_either_rule_is_one() -> None:
    own, phrases = (lambda text: text == "no"), Phrases()
    assert rule_of(None, None) is None
    found = {
        text: tuple(rule is not None and rule(text) for rule in (rule_of(own, None), rule_of(None, phrases)))
        for text in ("no", _REFUSAL, "good day")
    }
    assert found == {"no": (True, False), _REFUSAL: (False, True), "good day": (False, False)}
    both = rule_of(own, phrases)
    assert both is not None
    assert [both(text) for text in found] == [True, True, False]


def test_phrases_of_the_metrics_read_the_canary(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A service with `Phrases` needs no second setting: the canary's refusals are counted as control's are."""
    caplog.set_level(logging.WARNING)
    router, _ = router_over(shadowed(100.0))
    registry = CollectorRegistry()
    metrics = CohortMetrics(router, instruments=PrometheusInstruments(registry), phrases=Phrases())

    def ask(asking: Asking) -> object:
        return chat_answer(_REFUSAL if asking.kind == "candidate" else "good day")

    shadow = Shadow(router, ask=ask, spool=tmp_path, metrics=metrics, noise=0.0)
    shadow.offer(finished(answer=chat_answer(_REFUSAL), served_outcome="refused"))
    shadow.offer(finished("request-2"))
    shadow.close(5.0)
    assert sorted((pair.control.refused, pair.other.refused) for pair in pairs(tmp_path)) == [
        (False, True),
        (True, True),
    ]
    counted = registry.get_sample_value("llm_refusals_total", {"cohort": "shadow", "model": "model-new"})
    assert counted == 2
    assert "rule of its own" not in caplog.text
