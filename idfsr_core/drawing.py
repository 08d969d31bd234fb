"""Figures as pictures: the similarity of photos, the curve of a fit, a comparison with a person.

Drawn with OpenCV, about 640 pixels wide, so that the text can be read where a node shows them at half that size. The
results are images [1, 3, H, W], RGB, 0..1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from torch import Tensor

from .errors import ArgumentError
from .images import to_tensor, to_uint8

if TYPE_CHECKING:
    from .fitting import FittingResult
    from .identity.pooling import PoolingReport

Colour = tuple[int, int, int]

WIDTH = 640
MOST_BARS = 16  # pictures shown one by one; more of them become a curve
_PAPER, _INK, _FAINT, _GRID = (250, 250, 248), (32, 34, 38), (110, 114, 120), (222, 223, 222)
_BLUE, _RED, _GREEN, _NOTHING = (33, 102, 172), (193, 60, 48), (30, 132, 73), (205, 206, 206)
_PAD, _SIZE, _SMALL = 12, 19, 16  # pixels; the sizes are heights of capitals
_READABLE = 40  # side of a cell that has room for figures
_CAPITAL = 22.0  # height of a capital in OpenCV's font at scale 1
_UNICODE = int(cv2.__version__.split(".")[0]) >= 5  # older versions write ASCII only


class _Page:
    """A sheet of paper to draw on; coordinates in pixels, y of a text is the middle of its line."""

    def __init__(self, width: int, height: int) -> None:
        self.pixels = np.full((height, width, 3), _PAPER, np.uint8)

    def text(
        self,
        text: str,
        x: float,
        y: float,
        *,
        size: float = _SIZE,
        ink: Colour = _INK,
        align: float = 0.0,
        room: float | None = None,
    ) -> None:
        """Write a line; ``align`` 0 begins, .5 centres and 1 ends it at x; with ``room`` it shrinks to that width."""
        text = text if _UNICODE else text.encode("ascii", "replace").decode()
        size = _fitting_size(text, size, room)
        place = (round(x - align * _text_width(text, size)), round(y + size / 2))
        weight = 2 if size >= _SMALL + 1 and not _UNICODE else 1
        cv2.putText(self.pixels, text, place, cv2.FONT_HERSHEY_SIMPLEX, size / _CAPITAL, ink, weight, cv2.LINE_AA)

    def box(self, x: float, y: float, width: float, height: float, colour: Colour, line: int = -1) -> None:
        """A rectangle; ``line`` -1 fills it."""
        far = (round(x + width) - 1, round(y + height) - 1)
        cv2.rectangle(self.pixels, (round(x), round(y)), far, colour, line)

    def line(self, points: Sequence[tuple[float, float]], colour: Colour, width: int = 1) -> None:
        """A line through points."""
        whole = np.round(np.asarray(points, np.float64)).astype(np.int32).reshape(-1, 1, 2)
        cv2.polylines(self.pixels, [whole], False, colour, width, cv2.LINE_AA)

    def dot(self, x: float, y: float, colour: Colour, radius: int = 6) -> None:
        """A filled circle."""
        cv2.circle(self.pixels, (round(x), round(y)), radius, colour, -1, cv2.LINE_AA)

    def face(self, picture: Tensor | None, x: float, y: float, side: float) -> None:
        """A square picture; an empty square for None."""
        left, top, side = round(x), round(y), round(side)
        if picture is None:
            return self.box(left, top, side, side, _NOTHING)
        pixels = cv2.resize(to_uint8(picture), (side, side), interpolation=cv2.INTER_AREA)
        self.pixels[top : top + side, left : left + side] = pixels
        return None

    def image(self) -> Tensor:
        """The sheet as an image."""
        return to_tensor(self.pixels)


def _fitting_size(text: str, size: float, room: float | None) -> float:
    """The size, or the smaller one at which the text is no wider than ``room``."""
    width = _text_width(text, size)
    return size if room is None or width <= room else size * room / width


def _text_width(text: str, size: float) -> int:
    return cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size / _CAPITAL, 1)[0][0]


# --- similarity of photos ---------------------------------------------------------------------------------------------


def draw_similarities(
    report: PoolingReport, faces: Sequence[Tensor | None] | None = None, *, stranger: float = 0.2
) -> Tensor:
    """The cosines between photos of one person as a table of colours, and the weight of each photo.

    Args:
        report: of :func:`idfsr_core.identity.pooling.pool`.
        faces: a square picture [1, 3, S, S] of each photo, or None.
        stranger: cosine at which the colours turn from red to blue.

    Returns:
        [1, 3, H, W]; the cells have figures where there are no more than 24 photos.
    """
    count = len(report.photos)
    faces = list(faces) if faces is not None else [None] * count
    if len(faces) != count:
        raise ArgumentError("faces", f"{len(faces)} for {count} photos", "give one picture or None for each photo")
    cell = round(min(max((WIDTH - 2 * _PAD) / (count + 2), 48 if count <= 24 else 18), 96))
    top, left = _PAD + 30, _PAD
    page = _Page(max((count + 2) * cell + 2 * _PAD, 320), top + (count + 1) * cell + 34)
    page.text("Similarity of the photos", left, _PAD + 9, room=page.pixels.shape[1] - 2 * _PAD)
    if cell >= _READABLE:
        page.text("weight", left + (count + 1.5) * cell, top + cell - 14, size=_SMALL, align=0.5, room=cell - 6)
    for place, photo in enumerate(report.photos):
        ahead = left + (place + 1) * cell, top + (place + 1) * cell
        _label(page, photo.name, faces[place], ahead[0], top, cell, photo.kept)
        _label(page, photo.name, faces[place], left, ahead[1], cell, photo.kept)
        _row(page, report, place, left, ahead[1], cell, stranger)
    told = f"1: the same picture; red: below {stranger:g}"
    page.text(told, left, page.pixels.shape[0] - 16, size=_SMALL, ink=_FAINT, room=page.pixels.shape[1] - 2 * _PAD)
    return page.image()


def _label(page: _Page, name: str, face: Tensor | None, x: float, y: float, cell: int, kept: bool) -> None:
    """A photo at the edge of the table: its face, its name, a red frame when it was left out."""
    page.face(face, x + 1, y + 1, cell - 2)
    if cell >= _READABLE:
        page.box(x + 1, y + cell - 21, cell - 2, 20, _PAPER if kept else _RED)
        ink = _INK if kept else _PAPER
        page.text(name, x + cell / 2, y + cell - 12, size=13, ink=ink, align=0.5, room=cell - 6)
    if not kept:
        page.box(x + 1, y + 1, cell - 2, cell - 2, _RED, 2)


def _row(page: _Page, report: PoolingReport, row: int, left: int, y: int, cell: int, stranger: float) -> None:
    """The cosines of one photo with all of them, and its weight."""
    size = _fitting_size("-0.00", _SIZE, cell - 10)  # one for all cells
    for column, value in enumerate(report.similarity[row].tolist()):
        colour, x = _shade(value, stranger), left + (column + 1) * cell
        page.box(x + 1, y + 1, cell - 2, cell - 2, colour)
        if cell >= _READABLE:
            ink = _PAPER if sum(colour) < 380 else _INK
            page.text(f"{value:.2f}", x + cell / 2, y + cell / 2, size=size, ink=ink, align=0.5)
    photo, x = report.photos[row], left + (len(report.photos) + 1.5) * cell
    if cell >= _READABLE:
        told, ink = (f"{photo.weight:.0%}", _INK) if photo.kept else ("left out", _RED)
        page.text(told, x, y + cell / 2, size=size, ink=ink, align=0.5, room=cell - 4)


def _shade(value: float, middle: float) -> Colour:
    """Blue above the middle, red below it, nearly white at it."""
    pale, end = (244, 242, 238), _BLUE if value >= middle else _RED
    share = (value - middle) / (1 - middle) if value >= middle else (middle - value) / max(middle + 0.2, 0.1)
    share = min(max(share, 0.0), 1.0)
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(pale, end, strict=True))
    return red, green, blue


# --- curves -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Axes:
    """A plot's place on the page and the values at its edges."""

    left: float
    top: float
    width: float
    height: float
    x: tuple[float, float]
    y: tuple[float, float]

    def __call__(self, x: float, y: float) -> tuple[float, float]:
        """A value's place in pixels."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return self.left + across * self.width, self.top + (1 - up) * self.height

    def draw(self, page: _Page, title: str, below: str = "") -> None:
        """Grid, figures at the edges, title above, name of the x axis below."""
        for value in _ticks(*self.y, 4):
            page.line([self(self.x[0], value), self(self.x[1], value)], _GRID)
            page.text(f"{value:.5g}", self.left - 8, self(0, value)[1], size=_SMALL, ink=_FAINT, align=1)
        for value in _ticks(*self.x, 6):
            if value == int(value):
                page.text(
                    f"{value:.0f}", self(value, 0)[0], self.top + self.height + 16, size=_SMALL, ink=_FAINT, align=0.5
                )
        page.line([self(self.x[0], self.y[0]), self(self.x[1], self.y[0])], _FAINT)
        page.text(title, self.left, self.top - 16, size=_SMALL, room=self.width)
        page.text(below, self.left + self.width, self.top + self.height + 36, size=_SMALL, ink=_FAINT, align=1)


def _ticks(low: float, high: float, count: int) -> list[float]:
    """About ``count`` round values between two."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    factors = (1, 2, 5, 10)
    place = next(place for place, factor in enumerate(factors) if factor * power >= rough * 0.999)
    # Of two values wanted, the step from 2 to 5 may leave none in the range.
    return _multiples(factors[place] * power, low, high) or _multiples(factors[place - 1] * power, low, high)


def _multiples(step: float, low: float, high: float) -> list[float]:
    """All multiples of a step between two values."""
    first = math.ceil(low / step - 1e-9)
    return [round(place * step, 10) for place in range(first, math.floor(high / step + 1e-9) + 1)]


def _span(values: Sequence[float], least: float) -> tuple[float, float]:
    """The range of some values with air around them, no narrower than ``least``."""
    low, high = min(values), max(values)
    air = max((high - low) * 0.15, (least - (high - low)) / 2)
    return low - air, high + air


def draw_fitting(result: FittingResult) -> Tensor:
    """The course of a fit: similarity on the photo kept out, and training loss, over steps; [1, 3, H, 640].

    The step whose vector is returned is marked. Without a photo kept out there is the loss alone.
    """
    seen = [(point.step, point.similarity) for point in result.curve if point.similarity is not None]
    losses = [(point.step, point.loss) for point in result.curve if point.loss is not None]
    steps = (0.0, float(max(result.steps, 1)))
    page = _Page(WIDTH, 480 if seen else 320)
    ink = _INK if not seen else _GREEN if result.best_step else _RED
    page.text(_headline(result), _PAD, _PAD + 10, ink=ink, room=WIDTH - 2 * _PAD)
    frame = {"left": 78.0, "width": WIDTH - 78.0 - 24, "x": steps}
    if seen:
        _draw_similarity(page, seen, result, _Axes(top=74, height=190, y=_span([v for _, v in seen], 0.02), **frame))
    top, height = (326.0, 94.0) if seen else (74.0, 180.0)
    low_high = _span([value for _, value in losses] or [0.0], 0.01)
    axes = _Axes(top=top, height=height, y=(max(low_high[0], 0.0), low_high[1]), **frame)
    axes.draw(page, "training loss", "step")
    _curve(page, axes, losses, _FAINT)
    return page.image()


def _headline(result: FittingResult) -> str:
    """What the fit brought, in one line."""
    if result.before is None or result.after is None:
        return f"{result.steps} step{'s' * (result.steps != 1)}; no photo kept out"
    if not result.best_step:
        return f"no gain: the start is returned ({result.before:.3f})"
    return f"similarity {result.before:.3f} to {result.after:.3f} at step {result.best_step}"


def _draw_similarity(page: _Page, seen: list[tuple[int, float]], result: FittingResult, axes: _Axes) -> None:
    """The curve of similarities, the start as a level, the best as a dot."""
    axes.draw(page, f"similarity of {result.kept_out}, kept out; red: the start")
    start = seen[0][1]
    page.line([axes(axes.x[0], start), axes(axes.x[1], start)], _RED)
    _curve(page, axes, seen, _BLUE)
    best = next(((step, value) for step, value in seen if step == result.best_step), seen[0])
    page.dot(*axes(*best), _GREEN if result.best_step else _RED, 7)


def _curve(page: _Page, axes: _Axes, points: Sequence[tuple[float, float]], colour: Colour) -> None:
    places = [axes(x, y) for x, y in points]
    if len(places) > 1:
        page.line(places, colour, 2)
    for place in places if len(places) <= 40 else []:
        page.dot(*place, colour, 3)


# --- comparison with a person -----------------------------------------------------------------------------------------


def draw_comparison(
    names: Sequence[str],
    similarities: Sequence[float],
    faces: Sequence[Tensor | None] | None = None,
    *,
    title: str = "Similarity with the person",
) -> Tensor:
    """How like a person some pictures are: a bar from 0 to 1 for each, or a curve where there are more than 16.

    Args:
        names: what to call them.
        similarities: cosines, -1..1.
        faces: a square picture [1, 3, S, S] of each, or None.
        title: written above.
    """
    if not names or len(names) != len(similarities):
        value = f"{len(names)} names and {len(similarities)} figures"
        raise ArgumentError("comparison", value, "give one figure for each name, at least one")
    if len(names) > MOST_BARS:
        return _comparison_curve(similarities, title)
    faces = list(faces) if faces is not None else [None] * len(names)
    tile, gap = (72 if len(names) <= 6 else 44), 8
    top = _PAD + 32
    page = _Page(WIDTH, top + len(names) * (tile + gap) + 34)
    page.text(title, _PAD, _PAD + 10, room=WIDTH - 2 * _PAD)
    left = _PAD + (tile + gap if any(face is not None for face in faces) else 0)
    label = min(max(_text_width(name, _SMALL) for name in names), 150) + 12
    axes = _Axes(left=left + label, top=top, width=WIDTH - left - label - 100, height=1, x=(0.0, 1.0), y=(0.0, 1.0))
    for place, (name, value, face) in enumerate(zip(names, similarities, faces, strict=True)):
        y = top + place * (tile + gap)
        if face is not None:
            page.face(face, _PAD, y, tile)
        page.text(name, left, y + tile / 2, size=_SMALL, room=150)
        _bar(page, axes, value, y, tile)
    for value in (0.0, 0.5, 1.0):
        x, _ = axes(value, 0)
        page.text(f"{value:g}", x, page.pixels.shape[0] - 16, size=_SMALL, ink=_FAINT, align=0.5)
    return page.image()


def _bar(page: _Page, axes: _Axes, value: float, y: float, tile: float) -> None:
    """One similarity as a bar; what is below 0 has none."""
    page.box(axes.left, y + tile * 0.25, axes.width, tile * 0.5, _GRID)
    length = min(max(value, 0.0), 1.0) * axes.width
    if length >= 1:
        page.box(axes.left, y + tile * 0.25, length, tile * 0.5, _BLUE)
    page.text(f"{value:.3f}", axes.left + axes.width + 10, y + tile / 2, size=_SMALL + 1)


def _comparison_curve(similarities: Sequence[float], title: str) -> Tensor:
    """Many pictures: similarity over the picture's number, and the mean as a level."""
    page, mean = _Page(WIDTH, 340), float(np.mean(similarities))
    page.text(title, _PAD, _PAD + 10, room=WIDTH - 2 * _PAD)
    low_high = _span([*similarities, mean], 0.1)
    axes = _Axes(left=78, top=74, width=WIDTH - 78 - 24, height=204, x=(1.0, float(len(similarities))), y=low_high)
    axes.draw(page, f"each picture; red: the mean, {mean:.3f}", "number of the picture")
    _curve(page, axes, [(place + 1, value) for place, value in enumerate(similarities)], _BLUE)
    page.line([axes(axes.x[0], mean), axes(axes.x[1], mean)], _RED)
    return page.image()
