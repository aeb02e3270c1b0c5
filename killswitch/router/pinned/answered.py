"""Compares the model that an answer names with the pin it was asked of, and counts those that differ.

A pinned id is not a pinned model: an alias moves at night, a provider falls back, a gateway rewrites. The verdict on
each (role, pin, answered model) is made once; after that a call looks it up, and one that differs adds to a counter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from killswitch.roles.role import MAX_MODEL
from killswitch.router.lock_free_count import LockFreeCount
from killswitch.wording import plain

OTHER = "other"
MAX_ANSWERED = 20  # models that answer for one role, and pins of one role, told apart; the rest is `OTHER`
_MAX_ROLES = 200  # roles told apart; the rest is `OTHER`
_MAX_ANSWERED = 1000  # characters of a name that are looked at: an answer may name a model of megabytes
_MAX_VERDICTS = 4096  # remembered; a provider that names a new model in each answer must not fill the memory
# Before a model's id where a client names the provider, or a provider the kind of thing.
_PREFIXES = (
    "models/", "openai/", "azure/", "azure_ai/", "anthropic/", "gemini/", "google/", "vertex_ai/", "bedrock/",
    "openrouter/", "litellm_proxy/", "mistral/", "groq/", "deepseek/", "xai/", "hosted_vllm/", "together_ai/",
    "fireworks_ai/", "publishers/google/models/",
)  # fmt: skip


class MismatchSeries(Protocol):
    """A series of a counter."""

    def inc(self, amount: float = 1) -> None: ...


def bare(model: str) -> str:
    """The id without the names of providers in front: ``openai/gpt-5-2026-01-10`` -> ``gpt-5-2026-01-10``."""
    found = model.strip()
    while True:
        prefix = next((one for one in _PREFIXES if found.startswith(one)), "")
        if not prefix:
            return found
        found = found[len(prefix) :]


def matches(pinned: str, answered: str) -> bool:
    """Whether ``answered`` names the pinned model. An organisation's name may be in front of one of them."""
    ours, theirs = bare(pinned), bare(answered)
    if ours == theirs:
        return True
    if "/" not in ours:
        return theirs.rpartition("/")[2] == ours and theirs.count("/") == 1
    return "/" not in theirs and ours.rpartition("/")[2] == theirs


@dataclass(slots=True)
class ModelMismatch:
    """Another model than the pinned one answers for a role. ``number`` of answers so far; ``seen_at``: the newest.

    ``seen_at`` is in the seconds of the reporting thread's clock, 0 before it has looked.
    """

    role: str
    pinned: str
    answered: str
    series: MismatchSeries | None
    new: LockFreeCount = field(default_factory=LockFreeCount)
    number: int = 0
    seen_at: float = 0.0

    def count(self) -> None:
        self.new.add()
        if self.series is not None:
            self.series.inc()

    def look(self, now: float) -> None:
        """Take in what was counted; for one thread."""
        found = self.new.take()
        if found:
            self.number += found
            self.seen_at = now


class Mismatches:
    """All that one process has seen. ``series`` gives the counter of a role, pin and answered model, None: not counted.

    ``deployments``: for each name that a service asks for by another name than the model's, such as a deployment of
    Azure, the model that is to answer.
    """

    def __init__(
        self,
        *,
        deployments: Mapping[str, str] | None = None,
        series: Callable[[str, str, str], MismatchSeries] | None = None,
    ) -> None:
        self._deployments = dict(deployments or {})
        self._series = series
        self.begin()

    def begin(self) -> None:
        """Forget what was seen: in the child of a fork it is the parent's."""
        self._verdicts: dict[tuple[str, str, str], ModelMismatch | None] = {}
        self._seen: dict[tuple[str, str, str], ModelMismatch] = {}
        self._told_apart: dict[str, tuple[set[str], set[str]]] = {}

    def answered(self, role: str, pinned: str, answered: object) -> None:
        """One answer names ``answered`` as its model. Never raises, never blocks; microseconds."""
        try:
            verdict = self._verdicts[role, pinned, answered]  # type: ignore[index]  # what is no text is not there
        except (KeyError, TypeError):
            if not isinstance(answered, str) or not answered.strip() or not isinstance(pinned, str):
                return
            verdict = self._judged(str(role), pinned, answered)
        if verdict is not None:
            verdict.count()

    def seen(self) -> tuple[ModelMismatch, ...]:
        """What differed so far; bounded."""
        return tuple(self._seen.values())

    def _judged(self, role: str, pinned: str, answered: str) -> ModelMismatch | None:
        answered = answered[:_MAX_ANSWERED]
        expected = self._deployments.get(pinned, pinned)
        named = self._deployments.get(answered, answered)
        verdict = None if matches(expected, named) else self._mismatch(role, pinned, answered)
        if len(self._verdicts) >= _MAX_VERDICTS:
            self._verdicts = {}
        self._verdicts[role, pinned, answered] = verdict
        return verdict

    def _mismatch(self, role: str, pinned: str, answered: str) -> ModelMismatch:
        if role not in self._told_apart and len(self._told_apart) >= _MAX_ROLES:
            role = OTHER
        pins, models = self._told_apart.setdefault(role, (set(), set()))
        pin, model = _apart(plain(pinned, MAX_MODEL), pins), _apart(plain(answered, MAX_MODEL), models)
        series = None if self._series is None else self._series(role, pin, model)
        return self._seen.setdefault((role, pin, model), ModelMismatch(role, pin, model, series))


def _apart(name: str, known: set[str]) -> str:
    """The name as a label: itself, or `OTHER` where too many are known."""
    if name in known:
        return name
    if len(known) >= MAX_ANSWERED:
        return OTHER
    known.add(name)
    return name


def answered_model(payload: object) -> str | None:
    """The model that an answer, or the chunk of a stream, says it is of; None where it does not say.

    OpenAI's and Anthropic's answers have ``model``, their events have it in ``response`` or ``message``; Gemini's have
    ``model_version``.
    """
    found = _text(payload, "model") or _text(payload, "model_version") or _text(payload, "modelVersion")
    if found is not None:
        return found
    for name in ("response", "message"):
        inner = _member(payload, name)
        if inner is not None and (found := _text(inner, "model")) is not None:
            return found
    return None


def _member(payload: object, name: str) -> object:
    try:
        return payload.get(name) if isinstance(payload, Mapping) else getattr(payload, name, None)
    except Exception:  # noqa: BLE001  # a foreign object whose attribute raises says nothing
        return None


def _text(payload: object, name: str) -> str | None:
    found = _member(payload, name)
    return found if isinstance(found, str) and found else None
