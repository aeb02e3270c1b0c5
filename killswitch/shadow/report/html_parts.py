"""The parts of the page: tables, bars, chips, and the numbers in them. Every text goes through `in_html`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from killswitch.model import Unit
from killswitch.shadow.report.document import SharePart
from killswitch.shadow.report.hostile_text import in_html
from killswitch.wording import duration_in_words, points_in_words, value_in_words

CSP = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
STYLE = """
:root { color-scheme: light dark; --page: #fff; --text: #1c2126; --dim: #667079; --line: #d9dee3; --tint: #f4f6f8;
  --bad: #c62828; --warn: #9a5b00; --good: #2e7d32; --control: #4b6584; --canary: #e07b1a; --floor: #9aa5b1;
  --less: #fde2e1; --more: #dcf3de; }
@media (prefers-color-scheme: dark) { :root { --page: #14181c; --text: #e4e8ec; --dim: #98a3ad; --line: #333c45;
  --tint: #1d232a; --bad: #ff8a80; --warn: #ffca6b; --good: #81c784; --control: #7fa3cc; --canary: #f59b42;
  --floor: #6b7680; --less: #5a2626; --more: #1f4a26; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1.2rem 1rem 3rem;
  background: var(--page); color: var(--text); overflow-wrap: anywhere; }
h1 { font-size: 1.35rem; margin: 0 0 .3rem; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .3rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; } p { margin: .2rem 0 .6rem; } .dim { color: var(--dim); }
.chip { display: inline-block; padding: .05rem .55rem; border-radius: 1rem; border: 1px solid currentColor;
  font-weight: 600; white-space: nowrap; }
.GO, .PASS { color: var(--good); } .NO_GO, .FAIL { color: var(--bad); } .NOT_YET { color: var(--warn); }
.NOT_GATED { color: var(--dim); } .worse { color: var(--bad); font-weight: 600; }
.verdict { border-left: 5px solid currentColor; padding: .5rem .9rem; background: var(--tint); margin: .8rem 0; }
.verdict p, .verdict ul { color: var(--text); margin: .2rem 0; } .verdict ul { padding-left: 1.2rem; }
.verdict strong { font-size: 1.25rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .6rem; border-top: 1px solid var(--line); vertical-align: top;
  overflow-wrap: normal; }
th { color: var(--dim); font-weight: 500; border-top: 0; white-space: nowrap; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.wide { min-width: 14rem; width: 30%; }
td.said { min-width: 8rem; }
.bar { display: block; height: .45rem; border-radius: 2px; min-width: 1px; margin: .12rem 0; }
td.bars { min-width: 7rem; width: 22%; }
.bar.control { background: var(--control); } .bar.canary { background: var(--canary); }
.bar.floor { background: var(--floor); }
.key { display: inline-block; width: .7rem; height: .7rem; border-radius: 2px; margin: 0 .3rem 0 .8rem; }
.key.control { background: var(--control); } .key.canary { background: var(--canary); }
.key.floor { background: var(--floor); }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); gap: .4rem 1.6rem; }
.grid > * { min-width: 0; }
svg { display: block; width: 100%; max-width: 30rem; height: auto; } svg .control { fill: var(--control); }
svg .canary { fill: var(--canary); } svg .axis { stroke: var(--dim); } svg .tick { fill: var(--dim); font-size: 11px; }
.pair { border: 1px solid var(--line); border-radius: 6px; margin: .8rem 0; padding: .5rem .8rem; }
.text { white-space: pre-wrap; unicode-bidi: isolate; overflow: hidden; background: var(--tint); border-radius: 4px;
  padding: .5rem .6rem; max-height: 24rem; overflow-y: auto; }
bdi { unicode-bidi: isolate; }
del { background: var(--less); text-decoration: none; } ins { background: var(--more); text-decoration: none; }
@media (max-width: 44rem) { body { padding: .8rem .7rem 2rem; } .plain th, .plain td { padding: .25rem .3rem; }
  .plain { font-size: 14px; } .of { display: block; } td.bars { min-width: 4rem; } td.wide { min-width: 9rem; }
  .cards, .cards tbody, .cards tr { display: block; } .cards tr:first-child { display: none; }
  .cards tr { border-top: 1px solid var(--line); padding: .5rem 0; }
  .cards td { display: inline-block; border: 0; padding: 0; width: auto; margin-right: 1rem; }
  .cards td.n { text-align: left; white-space: normal; }
  .cards td.wide, .cards td.bars, .cards td:first-child { display: block; }
  .cards .of { display: inline; } .cards td.none { display: none; }
  .cards td:first-child { font-weight: 600; } .cards td::before { content: attr(data-label); color: var(--dim); }
  .cards td:first-child::before, .cards td.standing::before { content: ""; } }
.odd { font-size: .75em; border: 1px solid var(--bad); color: var(--bad); border-radius: 3px; padding: 0 .15em; }
"""


@dataclass(frozen=True, slots=True)
class Html:
    """What is HTML already; any other text is escaped."""

    text: str


Cell = str | Html


@dataclass(frozen=True, slots=True)
class Column:
    """``kind``: "" for texts, n for numbers, bars, wide, or standing, which needs no name on a phone."""

    name: str
    kind: str = ""


def html_of(cell: Cell) -> str:
    return cell.text if isinstance(cell, Html) else f"<bdi>{in_html(cell)}</bdi>"


def table(columns: Sequence[Column], rows: Iterable[Sequence[Cell]], *, cards: bool = False) -> str:
    """A table that scrolls by itself where the screen is narrow; "" without rows.

    ``cards``: on a phone each row is a card instead, each cell with its column's name. For many columns.
    """
    head = "".join(f'<th class="{"n" if one.kind == "n" else ""}">{in_html(one.name)}</th>' for one in columns)
    body = "".join(
        "<tr>" + "".join(_cell(one, cell) for one, cell in zip(columns, row, strict=True)) + "</tr>" for row in rows
    )
    kind = "cards" if cards else "plain"
    return f'<div class="scroll"><table class="{kind}"><tr>{head}</tr>{body}</table></div>' if body else ""


def _cell(column: Column, cell: Cell) -> str:
    label = f"{in_html(column.name)}: " if column.name else ""
    kind = f"{column.kind} none".strip() if cell in ("", "-") else column.kind
    return f'<td class="{kind}" data-label="{label}">{html_of(cell)}</td>'


def chip(word: str) -> Html:
    """One of the verdicts, in its colour."""
    name = word if word.replace("_", "").isalpha() and word.isascii() else ""
    return Html(f'<span class="chip {name}">{in_html(word.replace("_", " "))}</span>')


def bars(*shares: tuple[str, float | None]) -> Html:
    """One bar a share; the first of each pair is control, canary or floor."""
    return Html(
        "".join(
            f'<span class="bar {name}" style="width:{min(max(share, 0.0), 1.0) * 100:.1f}%"></span>'
            for name, share in shares
            if share is not None
        )
    )


def key(*names: tuple[str, str]) -> str:
    """What the colours mean: class and words."""
    return "".join(f'<span class="key {name}"></span>{in_html(words)}' for name, words in names)


def percent(value: float | None) -> str:
    return value_in_words(value, Unit.FRACTION)


def points(value: float | None) -> str:
    """``+5.2 pp``."""
    return "-" if value is None else f"{'+' if value >= 0 else ''}{points_in_words(value)}"


def share_of(part: SharePart) -> Html:
    """``8.7% (120 of 1,380)``, on a phone in two lines."""
    if part.share is None:
        return Html("-")
    return Html(f'{percent(part.share)} <span class="of">({part.events:,} of {part.trials:,})</span>')


def number(value: float | None, unit: str = "") -> str:
    """``1,234``; seconds in words; ``-`` where unknown."""
    if value is None:
        return "-"
    if unit == "s":
        return duration_in_words(value)
    return f"{value:,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:,.3g}"


def signed(value: float | None, unit: str = "") -> str:
    return "-" if value is None else f"{'+' if value >= 0 else '-'}{number(abs(value), unit)}"


def dollars(micros: float | None) -> str:
    """Micro-dollars as ``$0.0123`` or ``$1,234``."""
    if micros is None:
        return "unknown"
    value = micros / 1e6
    return f"${value:,.0f}" if value >= 100 else f"${value:,.2f}" if value >= 1 else f"${value:.3g}"
