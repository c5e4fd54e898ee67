from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from membrane.report.numbers import area, percent, percent_range, points
from membrane.report.palette import DARK, INK_DARK, INK_LIGHT, LIGHT, SHAPES, colour_index, outline, shape
from membrane.report.svg import Scale, around, tag, words


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(
    ("colour", "ground"), [*((c, "#ffffff") for c in (*LIGHT, INK_LIGHT)), *((c, "#1c1f23") for c in (*DARK, INK_DARK))]
)
def test_every_colour_stands_out_from_its_card(colour: str, ground: str) -> None:
    assert contrast(colour, ground) >= 3


def test_neighbours_never_share_colour_and_shape() -> None:
    marks = [(colour_index(i, 0), shape(i)) for i in range(40)]
    assert len(set(marks)) == len(marks)
    assert marks[0] == (None, "circle")


@pytest.mark.parametrize("kind", SHAPES)
def test_marks_are_closed_paths(kind: str) -> None:
    assert outline(kind, 10, 10, 5).startswith("M")
    assert outline(kind, 10, 10, 5).endswith("Z")


@given(st.floats(0, 1))
def test_a_share_is_never_rounded_to_a_certainty(value: float) -> None:
    written = float(percent(value).removesuffix(" %"))
    assert abs(written - 100 * value) <= 0.05 + 1e-9
    if 1e-8 < value < 1 - 1e-7:
        assert 0 < written < 100


@given(st.floats(1e-6, 1 - 1e-6, exclude_max=True))
def test_an_area_is_never_rounded_to_a_perfect_one(value: float) -> None:
    assert 0 < float(area(value)) < 1


def test_absent_numbers_and_ends() -> None:
    assert percent(None) == area(None) == points(None) == "–"
    assert percent_range(None, 0.5) == ""
    assert percent_range(0.9976, 1.0) == "99.8–100.0"
    assert points(-0.0312) == "−3.1"


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_ticks_lie_inside_and_are_few(low: float, width: float) -> None:
    scale = Scale(low, low + width, 0, 100)
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 8
    assert all(low - 1e-6 * abs(width) <= tick <= low + width * (1 + 1e-6) for tick in ticks)


def test_logarithmic_scales_have_decades_and_hold_zero_at_the_edge() -> None:
    scale = Scale(1e-4, 1, 0, 400, log=True)
    assert scale.ticks() == [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
    assert scale(0) == 0
    assert math.isclose(scale(1e-2), 200)


def test_a_range_around_one_value_has_width() -> None:
    low, high = around([0.5])
    assert low < 0.5 < high


def test_tags_escape_attributes_and_text() -> None:
    assert tag("g", words("a<b"), data_x='"><script>') == '<g data-x="&quot;&gt;&lt;script&gt;">a&lt;b</g>'
