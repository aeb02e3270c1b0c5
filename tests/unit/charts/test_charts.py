"""Charts: what a line, a gap, a mark and a hostile text become, in both kinds of picture."""

from __future__ import annotations

import io
import math
import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from killswitch.charts import svg as svg_module
from killswitch.charts.chart import MOST_MARKS, Chart, ChartMark, LineRole, MarkKind, Scale, Series, description
from killswitch.charts.geometry import Dot, Label, Stroke, Wedge, drawing, time_ticks
from killswitch.charts.png import HEIGHT, WIDTH, png
from killswitch.charts.svg import svg

BEGAN = 1_776_600_000.0
HOUR = 3600.0


def chart(*values: float | None, scale: Scale = Scale.FRACTION, marks: tuple[ChartMark, ...] = ()) -> Chart:
    """A canary with these values, evenly spread over an hour."""
    points = [(BEGAN + HOUR * at / max(len(values) - 1, 1), value) for at, value in enumerate(values)]
    return Chart("error_rate", scale, BEGAN, BEGAN + HOUR, (Series("canary", LineRole.CANARY, points),), marks)


def lines(of: Chart) -> list[Stroke]:
    """The strokes of the canary, but for its sample in the legend."""
    return [one for one in drawing(of, titled=False).shapes if isinstance(one, Stroke) and one.paint == "canary"][1:]


def test_a_gap_is_a_gap_and_a_lonely_value_a_dot() -> None:
    drawn = drawing(chart(0.01, 0.02, None, 0.03, None, 0.02, 0.02), titled=False).shapes
    assert [len(one.points) for one in lines(chart(0.01, 0.02, None, 0.03, None, 0.02, 0.02))] == [2, 2]
    assert len([one for one in drawn if isinstance(one, Dot)]) == 1


def test_nothing_known_is_said_and_no_line_is_drawn() -> None:
    drawn = drawing(chart(None, None), titled=False).shapes
    assert lines(chart(None, None)) == []
    assert "no values" in [one.text for one in drawn if isinstance(one, Label)]


def test_a_greater_value_is_higher_and_later_is_further_right() -> None:
    (line,) = lines(chart(0.01, 0.02, 0.04))
    assert [x for x, _ in line.points] == sorted(x for x, _ in line.points)
    assert [y for _, y in line.points] == sorted((y for _, y in line.points), reverse=True)


def test_evidence_is_on_a_logarithmic_axis() -> None:
    """Ten times the evidence is always the same way up."""
    (line,) = lines(chart(1.0, 10.0, 100.0, scale=Scale.ODDS))
    heights = [y for _, y in line.points]
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2])


def test_stairs_hold_a_value_until_the_next() -> None:
    stairs = Series("canary", LineRole.CANARY, [(BEGAN, 1.0), (BEGAN + HOUR, 5.0)], stairs=True)
    (line,) = lines(Chart("percent", Scale.PERCENT, BEGAN, BEGAN + HOUR, (stairs,)))
    assert line.points[1][1] == line.points[0][1]
    assert line.points[1][0] == line.points[2][0]


def test_a_trip_has_a_sign_and_the_newest_percent_is_left_of_it() -> None:
    """Which percent tripped is what a person looks for; where there is room for one percent only, it is the newest."""
    steps = [ChartMark(BEGAN + at, MarkKind.STEP, text) for at, text in ((1770, "1%"), (1790, "5%"))]
    trip = ChartMark(BEGAN + 1800, MarkKind.TRIP, "trip")
    drawn = drawing(chart(0.01, 0.02, marks=(*steps, trip)), titled=False).shapes
    assert len([one for one in drawn if isinstance(one, Wedge)]) == 1
    marks = {one.text: one.at[0] for one in drawn if isinstance(one, Label) and one.paint in ("trip", "step")}
    assert set(marks) in ({"5%", "trip"}, {"1%", "5%", "trip"})
    assert marks["trip"] - 40 < marks["5%"] < marks["trip"] - 15
    assert marks.get("1%", 0.0) < marks["5%"] - 15


@given(st.lists(st.integers(0, 3600), min_size=1, max_size=20), st.integers(0, 3600))
def test_no_text_of_a_mark_covers_another(steps: list[int], tripped: int) -> None:
    marks = (*(ChartMark(BEGAN + at, MarkKind.STEP, "12.5%") for at in steps),
             ChartMark(BEGAN + tripped, MarkKind.TRIP, "trip"))  # fmt: skip
    drawn = drawing(chart(0.01, marks=marks), titled=False)
    texts = [one for one in drawn.shapes if isinstance(one, Label) and one.paint in ("trip", "step")]
    assert "trip" in [one.text for one in texts]
    edges = sorted((one.at[0] - 3.1 * len(one.text), one.at[0] + 3.1 * len(one.text)) for one in texts)
    assert all(one[1] < other[0] for one, other in pairwise(edges))
    assert edges[0][0] >= 0.0
    assert edges[-1][1] <= drawn.width


def test_marks_outside_the_chart_are_not_drawn() -> None:
    marks = (ChartMark(BEGAN - 1, MarkKind.TRIP, "trip"), ChartMark(BEGAN + HOUR + 1, MarkKind.STEP, "5%"))
    drawn = drawing(chart(0.01, marks=marks), titled=False).shapes
    assert not [one for one in drawn if isinstance(one, Wedge)]
    assert description(chart(0.01, marks=marks)).count("%") == 1


def test_of_very_many_marks_the_newest_are_drawn_and_every_trip_first() -> None:
    steps = [ChartMark(BEGAN + number / 10, MarkKind.STEP, f"{number % 90}%") for number in range(10_000)]
    trips = [ChartMark(BEGAN + 1.0, MarkKind.TRIP, "trip"), ChartMark(BEGAN + 900.0, MarkKind.TRIP, "trip")]
    one = chart(0.01, 0.02, marks=(*steps, *trips))
    shown = one.shown_marks
    assert len(shown) == MOST_MARKS
    assert [mark for mark in shown if mark.kind is MarkKind.TRIP] == trips
    assert [mark for mark in shown if mark.kind is MarkKind.STEP] == steps[-MOST_MARKS + 2 :]
    assert "And 9982 more marks." in description(one)


@pytest.mark.parametrize("span", [300.0, HOUR, 6 * HOUR, 24 * HOUR, 7 * 24 * HOUR])
def test_times_are_round_and_few(span: float) -> None:
    ticks, _ = time_ticks(BEGAN + 17, BEGAN + 17 + span)
    assert 1 <= len(ticks) <= 6
    assert all(tick % 300 == 0 for tick in ticks)


VALUES = st.one_of(st.none(), st.floats(min_value=0.0, allow_infinity=True), st.just(math.nan))


@given(st.lists(VALUES, min_size=1, max_size=30), st.sampled_from(Scale))
def test_whatever_is_measured_stays_inside_the_picture(measured: list[float | None], scale: Scale) -> None:
    shown = chart(*measured, scale=scale)
    drawn = drawing(shown, titled=True)
    for shape in drawn.shapes:
        points = shape.points if isinstance(shape, Stroke | Wedge) else (shape.at,)
        for x, y in points:
            assert 0.0 <= x <= drawn.width
            assert 0.0 <= y <= drawn.height
    ET.fromstring(_as_xml(svg(shown, "x")))
    assert description(shown)


@given(st.lists(st.floats(-1e9, 1e9, allow_nan=False), min_size=1, max_size=10))
def test_values_below_zero_are_drawn_too(measured: list[float]) -> None:
    drawn = drawing(chart(*measured, scale=Scale.NUMBER), titled=False)
    assert all(0.0 <= y <= drawn.height for one in drawn.shapes if isinstance(one, Stroke) for _, y in one.points)


def test_the_description_says_ranges_marks_and_what_is_missing() -> None:
    shown = chart(0.01, None, 0.087, marks=(ChartMark(BEGAN + 1800, MarkKind.TRIP, "trip"),))
    said = description(Chart(shown.title, shown.scale, shown.since, shown.until, shown.series, shown.marks, "a gap"))
    assert "canary: 1.0% to 8.7%, newest 8.7%" in said
    assert "trip at 12:30:00" in said
    assert said.endswith("a gap")


HOSTILE = '</title><script>alert(1)</script>&quot;" onload=x \x00\u202e'


def test_hostile_texts_are_text_and_nothing_else() -> None:
    shown = Chart(
        HOSTILE, Scale.FRACTION, BEGAN, BEGAN + HOUR,
        (Series(HOSTILE, LineRole.CANARY, [(BEGAN, 0.1)]),), (ChartMark(BEGAN + 60, MarkKind.STEP, HOSTILE),), HOSTILE,
    )  # fmt: skip
    made = svg(shown, HOSTILE)
    assert "<script" not in made
    root = ET.fromstring(_as_xml(made))
    assert {element.tag for element in root.iter()} <= {"svg", "title", "desc", "polyline", "polygon", "circle", "text"}
    assert not [name for element in root.iter() for name in element.attrib if name.startswith("on")]


def test_an_svg_is_named_and_described_for_screen_readers() -> None:
    root = ET.fromstring(_as_xml(svg(chart(0.01, 0.02), "a rule/name")))
    assert root.attrib["role"] == "img"
    ids = {element.attrib["id"]: element.tag for element in root.iter() if "id" in element.attrib}
    assert (ids[root.attrib["aria-labelledby"]], ids[root.attrib["aria-describedby"]]) == ("title", "desc")


def test_an_svg_has_no_style_of_its_own() -> None:
    """The page's policy forbids inline styles; colours are the sheet's."""
    assert "style" not in svg(chart(0.01, 0.02), "x")


@pytest.mark.parametrize("colours", [svg_module.COLOURS_LIGHT, svg_module.COLOURS_DARK])
def test_each_line_differs_by_more_than_colour(colours: str) -> None:
    assert all(f"--{role.value}:" in colours for role in LineRole)
    dashes = [f".chart .{role.value}" for role in (LineRole.CONTROL, LineRole.LIMIT)]
    assert all("stroke-dasharray" in svg_module.STYLE.split(one, 1)[1].split("}", 1)[0] for one in dashes)


def test_a_png_shows_the_charts_below_each_other() -> None:
    with Image.open(io.BytesIO(png(chart(0.01, 0.02), chart(None), dark=True, scale=1.0))) as picture:
        assert picture.size == (round(WIDTH), round(2 * HEIGHT))
        assert picture.getpixel((0, 0)) == (0x1A, 0x1D, 0x21)


def test_a_png_of_hostile_texts_is_a_picture() -> None:
    shown = Chart(HOSTILE * 50, Scale.NUMBER, BEGAN, BEGAN, (Series("模型", LineRole.CONTROL, [(BEGAN, 1.0)]),))
    assert png(shown)[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_picture_needs_a_chart() -> None:
    with pytest.raises(ValueError, match="needs a chart"):
        png()


def _as_xml(made: str) -> str:
    """HTML leaves out the quotes of simple attributes."""
    return re.sub(r"<(\w+)([^>]*?)(/?)>", lambda found: f"<{found[1]}{_quoted(found[2])}{found[3]}>", made)


def _quoted(attributes: str) -> str:
    return re.sub(r'([\w-]+)=([^\s"/>]+)', r'\1="\2"', attributes)
