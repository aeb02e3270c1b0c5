"""A histogram of both sides as inline SVG: two bars a bin, the share of each side's answers that is in it."""

from __future__ import annotations

from killswitch.shadow.report.document import Spread

_WIDTH, _HEIGHT = 360, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 8, 8, 22, 26
_LABELS = 5
_LEAST_SHARE = 0.001


def histogram(spread: Spread) -> str:
    """The picture; "" without data. Every text in it is a number of ours. Medians are marked by lines above."""
    control, candidate, edges = spread.control_bins, spread.candidate_bins, spread.edges
    first, last = _shown(control, candidate)
    if last <= first:
        return ""
    control, candidate, edges = control[first:last], candidate[first:last], edges[first : last + 1]
    totals = [max(sum(bins), 1) for bins in (spread.control_bins, spread.candidate_bins)]
    shares = [[count / total for count in bins] for bins, total in zip((control, candidate), totals, strict=True)]
    top = max(*shares[0], *shares[1]) or 1.0
    wide = (_WIDTH - _LEFT - _RIGHT) / len(control)
    high = _HEIGHT - _TOP - _BOTTOM
    floor = _HEIGHT - _BOTTOM
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="histogram">',
        f'<text class="tick" x="{_LEFT}" y="12">up to {top * 100:.0f}% of answers in a bin</text>',
        f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{floor}" y2="{floor}"></line>',
    ]
    for place in range(len(control)):
        for side, name in enumerate(("control", "canary")):
            tall = shares[side][place] / top * high
            if tall > 0:
                x = _LEFT + place * wide + (0.08 + 0.42 * side) * wide
                parts.append(
                    f'<rect class="{name}" x="{x:.1f}" y="{floor - tall:.1f}" width="{wide * 0.42:.1f}"'
                    f' height="{max(tall, 0.5):.1f}"></rect>'
                )
    every = max(1, -(-len(edges) // _LABELS))
    for place in range(0, len(edges), every):
        x = _LEFT + place * wide
        anchor = "start" if place == 0 else "end" if place == len(edges) - 1 else "middle"
        label = short(edges[place])
        parts.append(f'<text class="tick" x="{x:.1f}" y="{floor + 16}" text-anchor="{anchor}">{label}</text>')
    return "".join([*parts, "</svg>"])


def short(value: float) -> str:
    """``1468`` -> ``1.5k``, ``0.215`` -> ``0.21``."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}" if value < 10 * size else f"{value / size:.0f}{letter}"
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def _shown(control: tuple[int, ...], candidate: tuple[int, ...]) -> tuple[int, int]:
    """From the first to the last bin with at least `_LEAST_SHARE` of a side: one extreme answer flattens no picture."""
    totals = (max(sum(control), 1), max(sum(candidate), 1))
    held = [
        place
        for place, counts in enumerate(zip(control, candidate, strict=True))
        if any(count >= _LEAST_SHARE * total and count for count, total in zip(counts, totals, strict=True))
    ]
    return (held[0], held[-1] + 1) if held else (0, 0)
