"""Pairs of answers side by side, with the words marked that only one of them has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from killswitch.shadow.report.document import Example
from killswitch.shadow.report.hostile_text import in_html
from killswitch.shadow.report.word_differences import Piece, word_differences
from killswitch.wording import counted, date_and_time

_MOST_SHOWN = 30


def pairs_side_by_side(examples: Sequence[Example], *, texts_left_out: bool) -> Iterator[str]:
    """The section; nothing without examples."""
    if not examples:
        return
    yield "<h2>Pairs that differ materially</h2>"
    shown = [one for one in examples if one.control is not None or one.candidate is not None][:_MOST_SHOWN]
    hidden = [one for one in examples if one not in shown]
    for one in shown:
        yield _pair(one)
    if hidden:
        listed = ", ".join(f"<bdi>{in_html(one.pair)}</bdi>" for one in hidden[:_MOST_SHOWN])
        why = "their texts are too large to be read here" if texts_left_out else "keep_text: differences keeps answers"
        yield f'<p class="dim">{counted(len(hidden), "more pair")} without texts ({why}): {listed}.</p>'


def _pair(one: Example) -> str:
    facts = [f"differ in {', '.join(one.differences)}"] if one.differences else []
    if one.similarity is not None:
        facts.append(f"similarity {one.similarity:.2f}")
    head = f"<bdi>{in_html(one.pair)}</bdi>, {date_and_time(one.at)}"
    if one.prompt_class:
        head += f", <bdi>{in_html(one.prompt_class)}</bdi>"
    asked = "" if one.prompt is None else f'<h3>Asked</h3><div class="text" dir="auto">{in_html(one.prompt)}</div>'
    control, candidate = word_differences(one.control or "", one.candidate or "")
    return (
        f'<div class="pair"><p class="dim">{head}</p><p>{in_html("; ".join(facts))}</p>{asked}<div class="grid">'
        f'<div><h3>Control</h3><div class="text" dir="auto">{_marked(control, "del", one.control)}</div></div>'
        f'<div><h3>Canary</h3><div class="text" dir="auto">{_marked(candidate, "ins", one.candidate)}</div></div>'
        "</div></div>"
    )


def _marked(pieces: Sequence[Piece], tag: str, text: str | None) -> str:
    if text is None:
        return '<span class="dim">not kept</span>'
    if not text:
        return '<span class="dim">empty</span>'
    return "".join(f"<{tag}>{in_html(piece)}</{tag}>" if differ else in_html(piece) for piece, differ in pieces)
