"""The frame of every page of the daemon: one style sheet, tables that become cards on a phone, and the policy.

No script, no inline style and nothing from outside: `POLICY` allows this one sheet and nothing else. Colour is never
the only sign: each verdict and state is a word, each line of a chart has dashes of its own.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from killswitch.charts.svg import COLOURS_DARK, COLOURS_LIGHT
from killswitch.charts.svg import STYLE as CHART_STYLE
from killswitch.wording import plain

REFRESH: Final = 10  # seconds after which the browser asks again

# Every pair of colour and ground has a contrast of 4.5 or more.
STYLE: Final = (
    f":root {{ color-scheme: light dark; {COLOURS_LIGHT} --ground: #ffffff; --warn: #8a5200; --good: #1e6b2a;"
    f" --link: #0b57a4; --line: #0000002b; --soft: #f1f2f4; }}\n"
    f"@media (prefers-color-scheme: dark) {{ :root {{ {COLOURS_DARK} --ground: #14171a; --warn: #e3b341;"
    f" --good: #7bd88f; --link: #82b7ff; --line: #ffffff33; --soft: #23272c; }} }}\n"
    """
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--ground);
  max-width: 76rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
a { color: var(--link); } :focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.skip { position: absolute; left: -99rem; } .skip:focus { position: static; }
h1 { font-size: 1.4rem; margin: .4rem 0; } h2 { font-size: 1.2rem; margin: 2rem 0 .4rem; }
h3 { font-size: 1.05rem; margin: 1.4rem 0 .3rem; } p { margin: .2rem 0 .6rem; }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: .4rem 0; }
nav [aria-current] { font-weight: 700; color: var(--text); text-decoration: none; }
p.next { line-height: 2; } p.why { margin: .4rem 0; } .dim, p.caption { color: var(--dim); }
.BREACH, .tripped, .pinned, .unreadable, .unknown, .problem { color: var(--bad); font-weight: 600; }
.SUSPECT, .watch { color: var(--warn); font-weight: 600; }
.HEALTHY, .armed, .complete { color: var(--good); } .UNKNOWN, .absent { color: var(--dim); }
code { background: var(--soft); border: 1px solid var(--line); padding: .1rem .35rem; border-radius: 4px;
  box-decoration-break: clone; -webkit-box-decoration-break: clone; }
table { border-collapse: collapse; width: 100%; margin: .3rem 0; }
caption { text-align: left; color: var(--dim); padding: .3rem 0; }
th, td { text-align: left; padding: .3rem .6rem .3rem 0; vertical-align: top; font-weight: 400; }
thead th { color: var(--dim); overflow-wrap: break-word; } tbody > tr > * { border-top: 1px solid var(--line); }
.word, .BREACH, .SUSPECT, .HEALTHY, .UNKNOWN { overflow-wrap: break-word; }
.n { text-align: right; font-variant-numeric: tabular-nums; } tr.now > * { font-weight: 600; }
tr.far { content-visibility: auto; contain-intrinsic-size: auto 3rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)); gap: 1rem; }
.charts > * { max-width: 40rem; min-width: 0; } figure { margin: 0; }
figcaption { font-weight: 600; } summary { cursor: pointer; }
@media (max-width: 44rem) {
  table, tbody, caption { display: block; }
  thead { position: absolute; left: -99rem; }
  tbody > tr { display: block; border: 1px solid var(--line); border-radius: 6px; padding: .3rem .6rem;
    margin: 0 0 .6rem; }
  tbody > tr > * { display: flex; justify-content: space-between; gap: 1rem; border: 0; padding: .15rem 0; }
  tbody > tr > ::before { content: attr(data-label); color: var(--dim); flex: none; font-weight: 400; }
  tbody > tr > th { font-weight: 600; } tbody > tr > :empty { display: none; }
  tbody > tr > * > span { text-align: right; } .n { text-align: right; }
}
""" + CHART_STYLE
)
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


POLICY_OF_A_FILE: Final = POLICY.partition("; frame-ancestors")[0]  # which a file cannot say
_MOST_TEXT: Final = 2000


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table. ``html`` is escaped already; ``css``: its class, such as a verdict's name."""

    html: str
    css: str = ""


def text(value: object, css: str = "") -> Cell:
    """A cell of any text, which is escaped here: one line, without hidden signs."""
    return Cell(escape(plain(str(value), _MOST_TEXT)), css)


def word(value: str) -> Cell:
    """A cell of a short word of ours, which no narrow column breaks in two."""
    return text(value, "word")


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of one row; the first names the row."""

    cells: Sequence[Cell]
    css: str = ""


def table(caption: str, heads: Sequence[str], rows: Sequence[Row], *, right: Sequence[str] = ()) -> str:
    """A table whose rows are cards on a narrow screen: each cell then says its column. "" without rows.

    The roles are said again, because browsers forget them where the style sheet takes a table apart.
    """
    if not rows:
        return ""
    numbers = [" class=n" if head in right else "" for head in heads]
    head = "".join(
        f"<th role=columnheader scope=col{css}>{escape(name)}</th>" for name, css in zip(heads, numbers, strict=True)
    )
    body = "".join(_row(row, heads, right) for row in rows)
    said = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f"<table role=table>{said}<thead role=rowgroup><tr role=row>{head}</tr></thead>"
        f"<tbody role=rowgroup>{body}</tbody></table>"
    )


def _row(row: Row, heads: Sequence[str], right: Sequence[str]) -> str:
    cells = []
    for number, (cell, head) in enumerate(zip(row.cells, heads, strict=True)):
        css = " ".join(filter(None, ("n" if head in right else "", cell.css)))
        classes = f' class="{css}"' if css else ""
        label = f' data-label="{escape(head)}"'
        inside = f"<span>{cell.html}</span>" if cell.html else ""
        if number == 0:
            cells.append(f"<th role=rowheader scope=row{classes}{label}>{inside}</th>")
        else:
            cells.append(f"<td role=cell{classes}{label}>{inside}</td>")
    classes = f' class="{row.css}"' if row.css else ""
    return f"<tr role=row{classes}>{''.join(cells)}</tr>"


def document(title: str, body: Sequence[str], *, refresh: bool = False, a_file: bool = False) -> str:
    """The whole page; ``body`` is escaped already. ``refresh``: the browser asks again after ten seconds.

    ``a_file``: to be saved, so that it must carry its policy itself.
    """
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY_OF_A_FILE}">' if a_file else ""
    again = f'<meta http-equiv="refresh" content="{REFRESH}">' if refresh else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{policy}{again}'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(plain(title))}</title><style>{STYLE}</style></head><body>"
        f'<a class="skip" href="#main">Skip to the content</a><main id="main">{"".join(body)}</main></body></html>'
    )


def utc(iso: object) -> str:
    """``2026-04-19 14:22:11 UTC`` of an ISO time, escaped; "" without one."""
    return escape(f"{iso[:19].replace('T', ' ')} UTC") if isinstance(iso, str) else ""


def with_commands(sentence: str) -> str:
    """The sentence, escaped; what it has in backticks becomes code."""
    parts = escape(sentence).split("`")
    if len(parts) % 2 == 0:  # a backtick without its pair, from a name or from a server's text
        return "`".join(parts)
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))
