"""How a request ended, in one of five words.

=============================================================================  ===========
how the block that served the request was left                                 outcome
=============================================================================  ===========
normally                                                                       ok
normally, after ``refused()`` or a provider's refusal signal                   refused
an exception of a content filter (``code`` or type says so)                    refused
``TimeoutError``, or a type named ``…Timeout…`` or ``DeadlineExceeded``, or     timeout
one with status 408 or 504
cancelled: ``CancelledError``, ``GeneratorExit`` (the client closed the         cancelled
stream), ``ClientDisconnect``, ``KeyboardInterrupt``, ``SystemExit``
a stream that ended without its provider's finish mark, or an answer that      error
says itself that it failed (``status: failed``, ``finish_reason: error``)
any other exception                                                            error
=============================================================================  ===========

A refusal already seen stays ``refused`` when the client then leaves; it becomes ``error`` or
``timeout`` when the provider then breaks. An answer that has said that it failed stays ``error``, and a
stream that is left after its finish mark, as many consumers do, had its whole answer: ``ok``.

Latency is recorded for every outcome: a canary that hangs until its users leave is a latency regression,
and nothing else would show it. A timeout put *around* the block arrives in it as a cancellation and is
counted as one: put the timeout inside.
"""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    REFUSED = "refused"
    CANCELLED = "cancelled"


_CANCELLED = (GeneratorExit, KeyboardInterrupt, SystemExit)
# types of libraries that need not be installed, or loaded (asyncio), are known by name
_CANCELLED_NAMES = frozenset({"CancelledError", "ClientDisconnect", "Cancelled"})
_FILTERED_NAMES = frozenset(
    {
        "ContentPolicyViolationError",
        "ContentFilterFinishReasonError",  # what `parse` of the OpenAI client raises; it has no code
        "BlockedPromptException",
        "StopCandidateException",
    }
)
_FILTERED_CODES = frozenset({"content_filter", "content_policy_violation"})


def outcome_of(error: BaseException) -> Outcome:
    """The outcome of a request that ``error`` ended; the module's table, for exceptions."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, _CANCELLED) or names & _CANCELLED_NAMES:
        return Outcome.CANCELLED
    if _attribute(error, "code") in _FILTERED_CODES or names & _FILTERED_NAMES:
        return Outcome.REFUSED
    if isinstance(error, TimeoutError) or any("Timeout" in name or name == "DeadlineExceeded" for name in names):
        return Outcome.TIMEOUT
    if _attribute(error, "status_code") in ("408", "504"):
        return Outcome.TIMEOUT
    return Outcome.ERROR


def outcome_of_status(status: int) -> Outcome:
    """The outcome that an HTTP status means, if nothing else is known.

    4xx are the caller's mistakes and count as ``ok``: both cohorts get them alike. 408 and 504 are
    timeouts, 499 (a proxy's word for a client that left) is cancelled, 429 and 5xx are errors.
    """
    if status in (408, 504):
        return Outcome.TIMEOUT
    if status == 499:
        return Outcome.CANCELLED
    if status == 429 or status >= 500:
        return Outcome.ERROR
    return Outcome.OK


def _attribute(error: BaseException, name: str) -> str:
    try:
        return str(getattr(error, name, ""))
    except Exception:  # noqa: BLE001  # a property of a foreign exception
        return ""
