"""A raw pair becomes a record: features of both sides, differences, and texts only where they differ and may be kept.

No file, no clock, no server but the one that a similarity measure asks.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from killswitch.router.shadow.raw_pair import RawAnswer, RawPair
from killswitch.shadow.answer_json import canonical
from killswitch.shadow.equivalence import Texts, equivalent, identical, texts_of
from killswitch.shadow.features import side_of
from killswitch.shadow.judge.texts import last_user_turn
from killswitch.shadow.record import PairRecord
from killswitch.shadow.redaction import Redact, redact_forms
from killswitch.shadow.similarity import Similarity
from killswitch.spend import PriceList

LONGEST_KEPT: Final = 8_000
"""Characters of a kept text; a longer one ends with how much was left out."""

_ANSWERED: Final = frozenset({"ok", "refused"})
_ASKED: Final = (
    "messages",
    "input",
    "instructions",
    "system",
    "prompt",
    "tools",
    "functions",
    "response_format",
    "text",
)


@dataclass(frozen=True, slots=True)
class Comparing:
    """How pairs are compared. ``key``: of the prompts' hashes; None keeps no hash of a prompt.

    ``keep_texts``: whether the texts of a pair are kept if it differs, after ``redact``. ``classify``: the class of a
    prompt whose service gave none.
    """

    similarity: Similarity
    key: bytes | None = None
    keep_texts: Callable[[RawPair], bool] = lambda pair: False  # noqa: ARG005
    redact: Redact = redact_forms
    prices: PriceList | None = None
    classify: Callable[[str], str] = lambda prompt: ""  # noqa: ARG005  the value of a field


def compare(pairs: Sequence[RawPair], by: Comparing) -> list[PairRecord]:
    """One record a pair, in their order. Raises what the similarity measure raises."""
    compared = [_texts(pair) for pair in pairs]
    wanted = {number: texts for number, texts in enumerate(compared) if texts is not None and not texts.same}
    measured = by.similarity.between([(texts.control, texts.other) for texts in wanted.values()])
    similarity = dict(zip(wanted, measured, strict=True))
    return [
        _record(pair, by, texts, similarity.get(number))
        for number, (pair, texts) in enumerate(zip(pairs, compared, strict=True))
    ]


def not_comparable(pair: RawPair) -> str:
    """Why two answers cannot be compared, "" if they can: ``control_timeout``, ``other_budget`` and so on."""
    sides: tuple[tuple[str, RawAnswer], ...] = (("control", pair.control), ("other", pair.other))
    return next((f"{name}_{side.outcome}" for name, side in sides if side.outcome not in _ANSWERED), "")


def _texts(pair: RawPair) -> Texts | None:
    """None where there is nothing to compare."""
    return None if not_comparable(pair) else texts_of(pair.control, pair.other)


def _record(pair: RawPair, by: Comparing, texts: Texts | None, measured: float | None) -> PairRecord:
    reason = not_comparable(pair)
    similarity, same = None, None
    if texts is not None:
        similarity = 1.0 if measured is None else measured
        same = equivalent(texts, similarity, by.similarity.threshold)
        if same is None:
            reason, similarity = "too_long_to_read", None
    wanted_format = pair.request.get("response_format") or pair.request.get("text") or pair.request.get("output_format")
    prompt = last_user_turn(pair.request)
    keep = same is False and by.keep_texts(pair)
    sides = [
        side_of(answer, at=pair.at, response_format=wanted_format, prices=by.prices, redact=by.redact)
        for answer in (pair.control, pair.other)
    ]
    return PairRecord(
        pair=pair.id,
        rollout=pair.rollout,
        generation=pair.generation,
        at=pair.at,
        kind=pair.kind,
        prompt_class=pair.prompt_class or by.classify(prompt),
        user=pair.user,
        prompt=hash_prompt(pair, by.key),
        turn=pair.turn,
        concurrent=pair.concurrent,
        streamed=pair.control.streamed,
        control=sides[0],
        other=sides[1],
        comparable=not reason,
        not_comparable=reason,
        identical=not reason and identical(pair.control, pair.other),
        similarity=similarity,
        equivalent=same,
        differences=texts.differences if texts is not None else (),
        prompt_text=kept_text(prompt, by.redact) if keep else None,
        control_text=kept_text(pair.control.text, by.redact) if keep else None,
        other_text=kept_text(pair.other.text, by.redact) if keep else None,
        similarity_by=f"{by.similarity.name}, from {by.similarity.threshold:g}",
        reused=pair.reused,
    )


def hash_prompt(pair: RawPair, key: bytes | None) -> str:
    """32 hexadecimal digits of HMAC-SHA256 of what was asked, whatever the model; "" without a key."""
    if key is None:
        return ""
    asked = {name: pair.request[name] for name in _ASKED if name in pair.request} or dict(pair.request)
    return hmac.digest(key, canonical(asked).encode(), "sha256").hex()[:32]


def kept_text(text: str, redact: Redact) -> str | None:
    """The text as it is kept: redacted, then cut. None if the redaction fails, because then it may say anything."""
    # cut first to bound what a hook reads, with room so that what it finds at the cut is whole
    try:
        redacted = redact(text[: 2 * LONGEST_KEPT])
    except Exception:  # noqa: BLE001  a user's hook; its failure costs the text, never the record
        return None
    whole = redacted.encode(errors="replace").decode()
    if len(whole) <= LONGEST_KEPT and len(text) <= 2 * LONGEST_KEPT:
        return whole
    return f"{whole[:LONGEST_KEPT]} [… of {len(text)} characters]"
