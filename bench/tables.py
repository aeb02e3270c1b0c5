"""Tables for docs: printed, and written between markers of a page so that prose and figures never mix."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from scipy.stats import beta


def upper_bound(trips: int, runs: int, confidence: float = 0.95) -> float:
    """Clopper and Pearson's upper bound on the share of runs that trip."""
    return 1.0 if trips == runs else float(beta.ppf(confidence, trips + 1, runs - trips))


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_between_markers(page: Path, name: str, text: str) -> None:
    """Replace what stands between ``<!-- name: begin -->`` and ``… end -->``. Raises ValueError without them."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{page} has no markers {begin} … {end}; add them where the table belongs")
    page.write_text(f"{before}{begin}\n{_wrapped(text)}\n{end}{after}", encoding="utf-8")


def _wrapped(text: str) -> str:
    """Prose in lines of at most 120 characters, as all docs; rows of tables stay whole."""
    return "\n".join(line if line.startswith("|") else textwrap.fill(line, 120) for line in text.splitlines())
