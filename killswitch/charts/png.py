"""Charts as one PNG picture, for chat, where no SVG is shown. Drawn by Pillow, which is loaded at the first picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from killswitch.charts.chart import Chart
from killswitch.charts.geometry import TEXT, Dot, Label, Paint, Point, Stroke, Wedge, drawing

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

MOST_CHARTS: Final = 6  # in one picture
WIDTH: Final = 480.0
HEIGHT: Final = 220.0
_LIGHT: dict[Paint | str, str] = {
    "ground": "#ffffff", "text": "#1b1b1b", "dim": "#5c5c5c", "canary": "#a84300", "control": "#0b57a4",
    "limit": "#1b1b1b", "trip": "#b3261e", "step": "#5c5c5c", "grid": "#dddddd",
}  # fmt: skip
_DARK: dict[Paint | str, str] = {
    "ground": "#1a1d21", "text": "#ececec", "dim": "#a8a8a8", "canary": "#ffb077", "control": "#82b7ff",
    "limit": "#ececec", "trip": "#ff8a80", "step": "#a8a8a8", "grid": "#3a3d41",
}  # fmt: skip
_THICK: dict[Paint, float] = {"canary": 2.2, "control": 1.6, "limit": 1.6, "trip": 1.4}
_DASHES: dict[Paint, tuple[float, float]] = {"control": (5.0, 3.0), "limit": (1.5, 3.0), "step": (2.0, 2.0)}


def png(*charts: Chart, dark: bool = False, scale: float = 2.0) -> bytes:
    """The charts below each other as a PNG; the first six of them. ``scale``: pixels for each unit of the drawing.

    Raises ValueError without a chart, ImportError without Pillow (extra ``daemon``).
    """
    from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415

    if not charts:
        raise ValueError("a picture needs a chart")
    drawn = [drawing(chart, titled=True, width=WIDTH, height=HEIGHT) for chart in charts[:MOST_CHARTS]]
    size = (round(WIDTH * scale), round(HEIGHT * len(drawn) * scale))
    paints = _DARK if dark else _LIGHT
    image = Image.new("RGB", size, paints["ground"])
    brush = _Brush(ImageDraw.Draw(image), ImageFont.load_default(TEXT * scale), paints, scale)
    for number, one in enumerate(drawn):
        brush.below = number * HEIGHT
        for shape in one.shapes:
            brush.draw(shape)
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


class _Brush:
    """Draws shapes at a scale, ``below`` units further down."""

    def __init__(
        self, on: ImageDraw, font: FreeTypeFont | ImageFont, paints: dict[Paint | str, str], scale: float
    ) -> None:
        self._on, self._font, self._paints, self._scale = on, font, paints, scale
        self.below = 0.0

    def draw(self, shape: Stroke | Dot | Wedge | Label) -> None:
        colour = self._paints[shape.paint]
        match shape:
            case Stroke(points, paint):
                width = max(1, round(_THICK.get(paint, 1.0) * self._scale))
                dash = _DASHES.get(paint)
                for part in [points] if dash is None else _dashed(points, *dash):
                    self._on.line([self._at(point) for point in part], fill=colour, width=width, joint="curve")
            case Dot(at, _):
                (x, y), radius = self._at(at), 2.5 * self._scale
                self._on.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
            case Wedge(points, _):
                self._on.polygon([self._at(point) for point in points], fill=colour)
            case Label(at, text, _, anchor):
                where: Any = {"start": "ls", "middle": "ms", "end": "rs"}[anchor]
                self._on.text(self._at(at), _drawable(text), fill=colour, font=self._font, anchor=where)

    def _at(self, point: Point) -> Point:
        return point[0] * self._scale, (point[1] + self.below) * self._scale


def _drawable(text: str) -> str:
    """The text in the letters that Pillow's own font has; others become a question mark, not an empty box."""
    return "".join(letter if letter.isascii() or letter in "…éèäöüßñçàâêîôûå" else "?" for letter in text)


def _dashed(points: Sequence[Point], on: float, off: float) -> list[tuple[Point, Point]]:
    """A line in dashes. They run on through its corners, or a line of short parts would have none."""
    found: list[tuple[Point, Point]] = []
    along, period = 0.0, on + off
    for (x1, y1), (x2, y2) in pairwise(points):
        length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
        done = 0.0
        while done < length:
            phase = (along + done) % period
            until = min(length, done + ((on if phase < on else period) - phase) + 1e-6)
            if phase < on:
                begin, end = done / length, until / length
                found.append((
                    (x1 + (x2 - x1) * begin, y1 + (y2 - y1) * begin), (x1 + (x2 - x1) * end, y1 + (y2 - y1) * end)
                ))  # fmt: skip
            done = until
        along += length
    return found
