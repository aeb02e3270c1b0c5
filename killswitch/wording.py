"""Numbers in words, one way everywhere: the log line, the page, the status table and the tests."""

from __future__ import annotations

import math
import re
import unicodedata
from datetime import UTC, datetime

from killswitch.model import Reason, Unit
from killswitch.timestamps import to_iso

MAX_LINE = 1000  # characters

_NAMES = "|".join(Reason)
# only where a judge puts one: a model or label may have such a name
_REASONS = re.compile(rf"(?<=unknown \()(?:{_NAMES})(?=\))|(?<=rules )(?:{_NAMES})(?=: )|\A(?:{_NAMES})\Z")
_TAG = re.compile(r"\[[^\]\n]{1,120}\]: ")


def value_in_words(value: float | None, unit: Unit) -> str:
    """``0.087`` -> ``8.7%``, ``0.82`` s -> ``820 ms``, None -> ``-``."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        return "over the last bucket" if value > 0 else "not a number"
    if unit is Unit.FRACTION:
        return _percent(value) + "%"
    if unit is Unit.SECONDS:
        return duration_in_words(value)
    return f"{value:.4g}"


def points_in_words(value: float) -> str:
    """A difference of rates: ``0.05`` -> ``5.0 pp``."""
    return _percent(value) + " pp"


def _percent(value: float) -> str:
    percent = value * 100.0
    if percent == 0.0 or abs(percent) >= 1.0:
        return f"{percent:.1f}"
    return f"{percent:.2f}" if abs(percent) >= 0.1 else f"{percent:.2g}"


def duration_in_words(seconds: float) -> str:
    """``0.82`` -> ``820 ms``, ``2.4`` -> ``2.40 s``, ``300`` -> ``5m``, ``5400`` -> ``1h30m``."""
    if abs(seconds) < 1.0:
        return f"{seconds * 1000:.0f} ms" if abs(seconds) >= 0.01 or seconds == 0 else f"{seconds * 1000:.2g} ms"
    if abs(seconds) < 60.0:
        return f"{seconds:.2f} s" if seconds % 1 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "m"), (rest, "s")]
    return "".join(f"{count}{letter}" for count, letter in parts if count)


def span_in_words(seconds: float) -> str:
    """A length of hours or days in its two largest units: ``93600`` -> ``1d2h``, ``45`` -> ``45s``."""
    rest = max(round(seconds), 0)
    parts: list[str] = []
    for length, letter in ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")):
        count, rest = divmod(rest, length)
        if count and len(parts) < 2:
            parts.append(f"{count}{letter}")
        elif parts:
            break
    return "".join(parts) or "0s"


def count_in_words(count: float | None) -> str:
    """``35160.4`` -> ``35,160``; None -> ``-``."""
    return "-" if count is None or not math.isfinite(count) else f"{count:,.0f}"


def counted(count: int, thing: str) -> str:
    """``1, "rule"`` -> ``1 rule``; ``12345, "tick"`` -> ``12,345 ticks``."""
    return f"{count:,} {thing}" + ("" if count == 1 else "s")


def odds_in_words(one_in: float) -> str:
    """``43210`` -> ``1 in 43,000``: two significant digits, never rounded to something luckier."""
    if not math.isfinite(one_in) or one_in >= 1e12:
        return "1 in a million million"
    if one_in < 10:
        return f"1 in {math.floor(max(one_in, 1.0) * 10) / 10:g}"
    step = 10 ** (math.floor(math.log10(one_in)) - 1)
    return f"1 in {math.floor(one_in / step) * step:,.0f}"


def evidence_in_words(evidence: float | None, needed: float) -> str:
    """``1 in 30 (trips at 1 in 400)``: how far the evidence has come, so that a person sees a trip coming."""
    so_far = "none yet" if evidence is None or evidence <= 1.0 else odds_in_words(evidence)
    return f"{so_far} (trips at {odds_in_words(needed)})"


def time_of_day(seconds: float) -> str:
    """Unix seconds -> ``14:08:11`` UTC."""
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%H:%M:%S")


def reasons_in_words(text: str) -> str:
    """The text with each reason's name in plain words: ``TOO_FEW_REQUESTS`` -> ``too few requests``."""
    return _REASONS.sub(lambda found: found[0].replace("_", " ").lower(), text)


def untagged(sentence: str) -> str:
    """A rollout's sentence without the flag's tag: ``[armed g1 ramp_5 5%]: …`` -> ``…``, where the flag is shown."""
    return _TAG.sub("", sentence, count=1) if sentence.startswith("[") else sentence


def labelled(label: str, problem: str) -> str:
    """``flag store: no quorum``; a problem that already begins with the label is not changed."""
    return problem if problem.startswith(label) else f"{label}: {problem}"


def plain(text: str, limit: int = MAX_LINE) -> str:
    """One line of at most ``limit`` characters, without control, format or surrogate characters."""
    kept = text[: limit * 4]
    if not kept.isprintable():
        kept = "".join(
            " " if character.isspace() else character
            for character in kept
            if character.isspace() or unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Cn"}
        )
    kept = " ".join(kept.split())
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"


def date_and_time(at: float) -> str:
    """Unix seconds as ``2026-04-19 14:22:11 UTC``."""
    return f"{to_iso(math.floor(at))[:19].replace('T', ' ')} UTC"


def money_in_words(micros: int) -> str:
    """Micro-dollars in dollars: ``41_200_000`` -> ``$41.20``, ``-1_500`` -> ``-$0.0015``; no digit is lost."""
    dollars, rest = divmod(abs(micros), 1_000_000)
    digits = f"{rest:06d}".rstrip("0").ljust(2, "0")
    return f"{'-' if micros < 0 else ''}${dollars:,}.{digits}"
