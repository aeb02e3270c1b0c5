"""One compared pair as it is kept: features and differences, and texts only where that was asked for.

Everything later (statistics, report, go/no-go) is computed from these records alone. A record is flat in storage: the
fields of `Side` are prefixed ``control_`` and ``other_``. Money is in micro-dollars, times in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Side:
    """One answer's features. None means unknown, and is never 0.

    ``opening``: the first words, at most 60 characters. ``language``: ISO 639-1, "" where the text does not say.
    ``json``: none, parses, broken (looks like JSON and does not parse), valid or invalid (against a stated schema).
    ``citations``: none, inline, footnotes. ``outcome``: as in `killswitch.router.shadow.raw_pair`.
    """

    model: str
    outcome: str
    seconds: float
    first_token_seconds: float | None
    refused: bool
    finish_reason: str
    error: str
    status: int | None
    input_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    cost_micros: int | None
    characters: int
    words: int
    opening: str
    language: str
    headings: int
    tables: int
    list_items: int
    code_blocks: int
    citations: str
    json: str
    tool_calls: int


@dataclass(frozen=True, slots=True)
class PairRecord:
    """Control's answer and another: the canary's (``kind`` ``candidate``) or control's second one (``noise``).

    ``comparable``: both have an answer and it may be compared; else the reason is in ``not_comparable``.
    ``similarity``: 0 to 1, by the measure ``similarity_by``. ``equivalent``: similar, with no difference in facts.
    Both None where not comparable.
    ``differences``: kinds of difference, of number, date, money, percent, url, identifier, name, negation, order,
    language, format, refusal, tool_call, length. ``prompt``: a keyed hash. ``concurrent``: both ran at once in the
    same mode. Texts are None unless they were to be kept. ``reused``: the other answer is that of an earlier pair, and
    no model was asked for it.
    """

    pair: str
    rollout: str
    generation: int
    at: float
    kind: str
    prompt_class: str
    user: str
    prompt: str
    turn: int
    concurrent: bool
    streamed: bool
    control: Side
    other: Side
    comparable: bool
    not_comparable: str
    identical: bool
    similarity: float | None
    equivalent: bool | None
    differences: tuple[str, ...]
    prompt_text: str | None = None
    control_text: str | None = None
    other_text: str | None = None
    similarity_by: str = ""
    reused: bool = False
    format: int = FORMAT
