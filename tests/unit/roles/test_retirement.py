"""Which models are retired or gone, and when a retirement is warned about."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.registry.role_health import retirements
from killswitch.roles.absence import Absence, absence_of
from killswitch.roles.health import Lifecycle, ModelHealth, Probe
from killswitch.roles.retirement import RetirementDate, Retirements
from killswitch.timestamps import DAY, HOUR, from_iso

AT = from_iso("2026-11-20T09:00:00Z")
MODEL = "gpt-4o-2024-08-06"
FILE = RetirementDate(MODEL, AT, "retirements.yaml", "gpt-5-2025-08-07")


def test_a_model_is_retired_from_its_date_on() -> None:
    known = Retirements([FILE])
    assert known.retired(MODEL, AT - 1) is None
    assert known.retired(MODEL, AT) == (
        "gpt-4o-2024-08-06 was retired on 2026-11-20 (retirements.yaml); use gpt-5-2025-08-07 instead"
    )
    assert known.retired("another", AT) is None


def test_a_model_that_answers_after_its_date_is_not_retired() -> None:
    health = ModelHealth(MODEL).after(Probe(AT + HOUR))
    assert Retirements([FILE], {MODEL: health}).retired(MODEL, AT + DAY) is None


@pytest.mark.parametrize(
    ("left", "days"), [(31 * DAY, None), (30 * DAY, 30), (8 * DAY, 30), (7 * DAY, 7), (DAY, 1), (1.0, 1), (0.0, None)]
)
def test_warnings_come_30_7_and_1_days_ahead(left: float, days: int | None) -> None:
    warning = Retirements([FILE]).ahead(MODEL, AT - left)
    assert (None if warning is None else warning.days) == days


def test_of_two_dates_the_earlier_counts() -> None:
    later = RetirementDate(MODEL, AT + DAY, "the list of its provider")
    assert Retirements([later, FILE]).retires_at(MODEL) == FILE


def test_one_clear_absence_is_enough_and_an_answer_ends_it() -> None:
    health = ModelHealth(MODEL).after(Probe(AT, "404: no such model", Absence.CLEAR))
    assert Retirements((), {MODEL: health}).retired(MODEL, AT) == (
        "gpt-4o-2024-08-06 does not exist for our key, its provider said on 2026-11-20: 404: no such model"
    )
    assert health.after(Probe(AT + 1)).gone is None


def test_an_unclear_absence_counts_on_the_second_day() -> None:
    once = ModelHealth(MODEL).after(Probe(AT, "404", Absence.UNCLEAR))
    assert once.gone is None
    assert once.after(Probe(AT + HOUR, "404", Absence.UNCLEAR)).gone is None
    assert once.after(Probe(AT + DAY - 60, "404", Absence.UNCLEAR)).gone is not None
    answered_between = once.after(Probe(AT + HOUR)).after(Probe(AT + DAY, "404", Absence.UNCLEAR))
    assert answered_between.gone is None


@given(st.lists(st.sampled_from(["429: slow down", "500", "timed out", "401: bad key"]), min_size=1, max_size=60))
def test_a_provider_that_is_down_never_makes_a_model_gone(failures: list[str]) -> None:
    health = ModelHealth(MODEL)
    for day, failure in enumerate(failures):
        health = health.after(Probe(AT + day * DAY, failure))
    assert health.gone is None
    assert Retirements((), {MODEL: health}).retired(MODEL, AT + 90 * DAY) is None


def test_days_without_an_answer_make_a_model_unknown() -> None:
    health = ModelHealth(MODEL).after(Probe(AT, "503")).after(Probe(AT + DAY, "503: overloaded"))
    assert health.unknown(AT + DAY) is None
    assert health.unknown(AT + 3 * DAY) == ("gpt-4o-2024-08-06 has not answered a probe for 3 days: 503: overloaded")
    assert health.after(Probe(AT + 2 * DAY)).unknown(AT + 9 * DAY) is None


def test_an_older_probe_changes_nothing() -> None:
    health = ModelHealth(MODEL).after(Probe(AT))
    assert health.after(Probe(AT - 1, "404", Absence.CLEAR)) == health


def test_a_clock_that_was_ahead_silences_no_later_probe() -> None:
    ahead = AT + 900 * DAY
    gone = ModelHealth(MODEL).after(Probe(ahead, "404", Absence.CLEAR))
    assert gone.after(Probe(AT)).gone is None
    answered = ModelHealth(MODEL).after(Probe(ahead))
    assert answered.after(Probe(AT - DAY)).answered_since(AT) is False
    failing = ModelHealth(MODEL).after(Probe(ahead, "503")).after(Probe(AT, "503"))
    assert failing.after(Probe(AT + DAY, "503")).unknown(AT + 3 * DAY) is not None


def test_a_retired_entry_of_a_list_counts_unless_it_answers() -> None:
    listed = ModelHealth(MODEL).after_list(AT, Lifecycle.RETIRED, None)
    assert listed.gone == "gpt-4o-2024-08-06 is retired, the list of its provider says"
    assert listed.after(Probe(AT)).gone is None


def test_a_model_that_leaves_the_list_is_not_gone() -> None:
    left = ModelHealth(MODEL).after_list(AT, Lifecycle.LISTED, None).after_list(AT + DAY, None, None)
    assert left.lifecycle is Lifecycle.GONE
    assert left.gone is None
    assert ModelHealth(MODEL).after_list(AT, None, None).lifecycle is Lifecycle.NEVER_LISTED


def test_a_model_still_listed_after_its_date_is_not_retired() -> None:
    overdue = ModelHealth(MODEL).after_list(AT + DAY, Lifecycle.DEPRECATED, AT)
    assert retirements([overdue], ()).retired(MODEL, AT + DAY) is None
    due = ModelHealth(MODEL).after_list(AT - DAY, Lifecycle.DEPRECATED, AT)
    assert retirements([due], ()).retired(MODEL, AT + DAY) is not None


OPENAI = (
    '{"error": {"message": "The model `gpt-4o-2024-08-06` does not exist or you do not have access to it.", '
    '"code": "model_not_found"}}'
)
ANTHROPIC = '{"type": "error", "error": {"type": "not_found_error", "message": "model: claude-2.0"}}'
GEMINI = (
    '[{"error": {"code": 404, "status": "NOT_FOUND", "message": "This model models/gemini-2.5-flash is no longer '
    'available to new users."}}]'
)
AZURE = '{"error": {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}}'
VLLM = '{"object": "error", "message": "The model `llama` does not exist.", "type": "NotFoundError", "code": 404}'


@pytest.mark.parametrize(
    ("status", "body", "model", "expected"),
    [
        (404, OPENAI, MODEL, Absence.CLEAR),
        (404, ANTHROPIC, "claude-2.0", Absence.CLEAR),
        (404, GEMINI, "gemini-2.5-flash", Absence.CLEAR),
        (404, GEMINI, "gemini/gemini-2.5-flash", Absence.CLEAR),
        (404, AZURE, "my-deployment", Absence.CLEAR),
        (404, VLLM, "llama", Absence.CLEAR),
        (410, '{"message": "gone"}', MODEL, Absence.UNCLEAR),
        (404, "<html>Not Found</html>", MODEL, Absence.UNCLEAR),
        (404, '{"detail": "Not Found"}', MODEL, Absence.UNCLEAR),
        (404, '{"error": {"message": "Invalid URL (POST /v1/chat)"}}', MODEL, Absence.UNCLEAR),
        (404, ANTHROPIC, "claude-2", Absence.UNCLEAR),
        (404, '{"message": "Route POST:/v1beta/models/m:generateContent not found"}', "m", Absence.UNCLEAR),
        (404, "[" * 100_000, MODEL, Absence.UNCLEAR),
        (429, OPENAI, MODEL, None),
        (500, OPENAI, MODEL, None),
        (401, "", MODEL, None),
    ],
)  # fmt: skip
def test_only_a_404_that_names_the_model_is_clear(status: int, body: str, model: str, expected: Absence | None) -> None:
    assert absence_of(status, body, model) is expected
