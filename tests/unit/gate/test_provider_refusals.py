"""What providers' error responses mean: their own bodies, as they were in 2025 and 2026."""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any

import pytest

from killswitch.gate.call_failures import CallFailure, FailedCall
from killswitch.gate.clients.refusals import failed_response, retry_after
from killswitch.roles.absence import Absence

SENT = ("temperature", "top_p", "seed", "response_format", "reasoning_effort", "max_tokens")


def failed(status: int, body: Any, headers: Mapping[str, str] | None = None, *, model: str = "m-1") -> FailedCall:
    text = body if isinstance(body, str) else json.dumps(body)
    return failed_response(status, text, headers or {}, model=model, sent=SENT, secrets=("sk-secret-key",))


def openai(message: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def anthropic(message: str, kind: str = "invalid_request_error") -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}}


def gemini(message: str, status: str = "INVALID_ARGUMENT", code: int = 400, **more: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status, **more}}


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        (
            openai(
                "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is "
                "supported.",
                "unsupported_value",
                "temperature",
            ),
            "temperature",
        ),
        (
            openai(
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
                "instead.",
                "unsupported_parameter",
                "max_tokens",
            ),
            "max_tokens",
        ),
        (openai("Unknown parameter: 'seed'.", "unknown_parameter", "seed"), "seed"),
        (openai("Unrecognized request argument supplied: reasoning_effort"), "reasoning_effort"),
        (openai("Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
                None, "response_format"), "response_format"),
        (openai("json_schema is not supported.", None, "response_format.json_schema"), "response_format"),
        (anthropic("`temperature` is deprecated for this model."), "temperature"),
        (
            anthropic("`temperature` and `top_p` cannot both be specified for this model. Please use only one."),
            "top_p",
        ),
        (anthropic("seed: Extra inputs are not permitted"), "seed"),
        (
            gemini('Invalid JSON payload received. Unknown name "responseFormat": Cannot find field.'),
            "response_format",
        ),
        (gemini("topP is not supported for this model."), "top_p"),
        ({"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}, "seed"),
        ({"object": "error", "message": "seed is not supported", "type": "BadRequestError", "code": 400}, "seed"),
        (openai("litellm.UnsupportedParamsError: openai does not support parameters: ['temperature'], for model=o3"),
         "temperature"),
    ],
)  # fmt: skip
def test_a_parameter_that_a_model_refuses_is_named(body: dict[str, Any], parameter: str) -> None:
    """It can then be left out."""
    found = failed(400, body)
    assert (found.kind, found.refused, found.billed) == (CallFailure.BAD_REQUEST, parameter, False)


@pytest.mark.parametrize(
    "body",
    [
        openai("Invalid 'temperature': 3.0 is over the maximum of 2.", "decimal_above_max_value", "temperature"),
        anthropic("temperature: Input should be less than or equal to 1"),
        openai("This model's maximum context length is 128000 tokens.", "context_length_exceeded", "messages"),
        openai("The parameter 'logit_bias' is not supported with this model.", "unsupported_parameter", "logit_bias"),
        gemini("The input token count exceeds the maximum number of tokens allowed."),
        anthropic("messages: text content blocks must be non-empty"),
    ],
)  # fmt: skip
def test_another_mistake_leaves_no_parameter_out(body: dict[str, Any]) -> None:
    """A value out of range is for a person to correct, and what was not sent cannot be left out."""
    found = failed(400, body)
    assert (found.kind, found.refused) == (CallFailure.BAD_REQUEST, None)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, openai("Incorrect API key provided: sk-secret-key.", "invalid_api_key"), CallFailure.NO_ACCESS),
        (403, anthropic("Your API key does not have permission", "permission_error"), CallFailure.NO_ACCESS),
        (400, gemini("API key not valid. Please pass a valid API key."), CallFailure.NO_ACCESS),
        (404, openai("The model `m-1` does not exist or you do not have access to it.", "model_not_found"),
         CallFailure.UNKNOWN_MODEL),
        (404, anthropic("model: m-1", "not_found_error"), CallFailure.UNKNOWN_MODEL),
        (404, gemini("models/m-1 is not found for API version v1beta, or is not supported for generateContent.",
                     "NOT_FOUND", 404), CallFailure.UNKNOWN_MODEL),
        (404, "<html>Not Found</html>", CallFailure.UNKNOWN_MODEL),
        (402, openai("Payment required"), CallFailure.NO_MONEY),
        (429, openai("You exceeded your current quota, please check your plan.", "insufficient_quota"),
         CallFailure.NO_MONEY),
        (400, anthropic("Your credit balance is too low to access the Anthropic API."), CallFailure.NO_MONEY),
        (429, gemini("Your prepayment credits are depleted.", "RESOURCE_EXHAUSTED", 429), CallFailure.NO_MONEY),
        (429, gemini("You exceeded your current quota, please check your plan and billing details.",
                     "RESOURCE_EXHAUSTED", 429), CallFailure.RATE_LIMITED),
        (429, openai("Rate limit reached for m-1", "rate_limit_exceeded"), CallFailure.RATE_LIMITED),
        (429, openai("Request too large for m-1 on tokens per min (TPM): Limit 30000, Requested 41000. The input or"
                     " output tokens must be reduced in order to run successfully.", "rate_limit_exceeded"),
         CallFailure.BAD_REQUEST),
        (529, anthropic("Overloaded", "overloaded_error"), CallFailure.TRANSIENT),
        (502, "<html>Bad gateway</html>", CallFailure.TRANSIENT),
        (500, "", CallFailure.TRANSIENT),
    ],
)  # fmt: skip
def test_each_refusal_has_its_kind(status: int, body: Any, kind: CallFailure) -> None:
    """What a run may do about it follows from the kind alone."""
    found = failed(status, body)
    assert found.kind is kind
    assert found.sentence.isprintable()
    assert "sk-secret-key" not in found.sentence


def test_a_refusal_that_did_work_may_be_billed() -> None:
    """503 and 529 are refused before any work; other failures of a server may come after it."""
    billed = {status: failed(status, "").billed for status in (400, 401, 404, 408, 429, 500, 502, 503, 504, 529)}
    assert {status for status, paid in billed.items() if paid} == {500, 502, 504}


def test_a_missing_model_is_told_from_a_wrong_address() -> None:
    """A 404 that names the model is clear; a page of HTML may come from a proxy."""
    clear = failed(404, openai("The model `m-1` does not exist.", "model_not_found"))
    assert clear.absence is Absence.CLEAR
    assert "does not exist; is the model's id right? If it is asked at another provider, name that under `models`" in (
        clear.sentence
    )
    unclear = failed(404, "<html>nginx</html>")
    assert unclear.absence is Absence.UNCLEAR
    assert "`url`" in unclear.sentence


def test_an_answer_that_did_not_fit_shows_the_model_is_there() -> None:
    """Reasoning models answer 400 to a limit of one token."""
    said = "Could not finish the message because max_tokens or model output limit was reached. Please try again."
    found = failed(400, openai(said))
    assert (found.cut_short, found.billed) == (True, True)


@pytest.mark.parametrize(
    ("headers", "errors", "seconds"),
    [
        ({"Retry-After": "7"}, [], 7.0),
        ({"retry-after": "0.5"}, [], 0.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, [], 1.5),
        ({}, [{"details": [{"@type": "x"}, {"retryDelay": "34.5s"}]}], 34.5),
        ({"Retry-After": "soon"}, [], None),
        ({"Retry-After": "-3"}, [], None),
        ({"Retry-After": "9" * 500}, [], None),
        ({}, [{"details": "none"}], None),
    ],
)
def test_a_wait_is_read_in_each_form(headers: dict[str, str], errors: Any, seconds: float | None) -> None:
    """Milliseconds are OpenAI's, the delay in the body is Gemini's."""
    assert retry_after(headers, errors) == seconds


def test_a_wait_may_be_a_date() -> None:
    """One in the past is no wait."""
    assert retry_after({"Retry-After": formatdate(0, usegmt=True)}) == 0.0


def test_a_hostile_body_is_one_short_line() -> None:
    """Errors repeat what they were sent, and stand in terminals and reports."""
    found = failed(400, openai("\x1b[2J\u202ex\n" * 1000))
    assert found.sentence.isprintable()
    assert len(found.sentence) < 400
