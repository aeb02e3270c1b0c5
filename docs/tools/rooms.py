"""Draws the rooms of the package as one picture, ``docs/rooms.svg``, from the layer contract in pyproject.toml.

``python -m docs.tools.rooms`` in the repository's root writes it; ``--check`` says whether it is current, which a unit
test asks, too. The contract says who stands above whom. What a room is for is said here, in a few words.
"""

from __future__ import annotations

import re
import sys
import tomllib
from html import escape
from pathlib import Path

from killswitch.generated_files import write_or_check

COMMAND = "python -m docs.tools.rooms"
DRAWING = Path("docs/rooms.svg")
CONTRACT = "rooms"  # how the contract's name begins

ABOUT = {
    "cli": "one file a command",
    "demo": "a world to try it in",
    "daemon": "builds everything, and runs it",
    "controller": "one cycle: read, judge, act, report",
    "preflight": "before users meet a canary",
    "web": "the daemon over HTTP",
    "gate": "may a model be promoted?",
    "gateway": "a flag in a route's weights",
    "interaction": "Slack's buttons and command",
    "alerts": "other systems' alarms act",
    "drill": "a trip, rehearsed",
    "incidents": "one incident told in order",
    "trips": "taking traffic away",
    "fleet": "what replicas know of each other",
    "status": "what the newest cycle says",
    "ramps": "giving traffic",
    "shadow": "pairs of answers, compared",
    "slow": "outcomes of days",
    "pages": "what a page says, and its delivery",
    "verdicts": "readings to findings, findings to decisions",
    "router": "what a service imports",
    "spend": "one ledger of money",
    "trends": "cohorts over time",
    "registry": "moving a role's pins",
    "roles": "which model is in production",
    "rules": "YAML in, rollouts out",
    "sources": "metric stores",
    "stores": "flag stores",
    "net": "HTTP that ends, secrets, TLS",
    "flags": "what a flag may become",
    "charts": "SVG and PNG",
}

WIDTH, ROW, GAP, MARGIN = 960, 58, 14, 16


def rows(pyproject: str) -> list[list[str]]:
    """The rooms of each row, from the top, as the layer contract names them. Raises ValueError without it."""
    for contract in tomllib.loads(pyproject)["tool"]["importlinter"]["contracts"]:
        if contract["name"].startswith(CONTRACT):
            found = [re.findall(r"\w+", layer) for layer in contract["layers"]]
            return [[room for room in row if room != "__main__"] for row in found]
    raise ValueError(f"pyproject.toml has no layer contract whose name begins with {CONTRACT!r}")


def drawing(pyproject: str) -> str:
    """The picture: a row of boxes for each layer. A box may use what is below it, never what is next to it or above."""
    *upper, lowest = rows(pyproject)
    height = 2 * MARGIN + (len(upper) + 1) * (ROW + GAP) - GAP + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" role="img">',
        "<title>The rooms of the package, from entry points at the top to words at the bottom</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for at, row in enumerate(upper):
        each = (WIDTH - 2 * MARGIN - GAP * (len(row) - 1)) / len(row)
        for place, room in enumerate(row):
            parts += _box(MARGIN + place * (each + GAP), _top(at), each, room, ABOUT[room], "#e8f0fb")
    parts += _box(MARGIN, _top(len(upper)), WIDTH - 2 * MARGIN, "words", ", ".join(lowest), "#f3f0e6")
    said = "Imports run downwards only: a room may use what is below it, never what is next to it or above it."
    parts.append(f'<text x="{MARGIN}" y="{height - 12}" font-size="13" fill="#444444">{said}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _top(row: int) -> float:
    return MARGIN + row * (ROW + GAP)


def _box(left: float, top: float, width: float, name: str, about: str, colour: str) -> list[str]:
    centred = f'text-anchor="middle" x="{left + width / 2:g}"'
    return [
        f'<rect x="{left:g}" y="{top:g}" width="{width:g}" height="{ROW}" rx="6" fill="{colour}" stroke="#6b7a90"/>',
        f'<text {centred} y="{top + 25:g}" font-size="17" font-weight="bold" fill="#1b2a41">{escape(name)}</text>',
        f'<text {centred} y="{top + 45:g}" font-size="13" fill="#444444">{escape(about)}</text>',
    ]


def main(arguments: list[str]) -> int:
    """Write, or with ``--check`` compare; the exit code."""
    current = {DRAWING: drawing(Path("pyproject.toml").read_text("utf-8"))}
    return write_or_check(current, command=COMMAND, check="--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
