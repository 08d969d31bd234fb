"""Contact sheets: people in rows, the LR face, references, methods and truth in columns, each with its figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from ..errors import ArgumentError
from ..images import to_tensor, to_uint8, write_image
from ..pretraining.data import MARGIN
from .harness import load_pictures
from .protocol import Subject
from .report import encoders_of
from .results import Evaluation, ResultSet

TILE = 128
_GAP, _TITLE, _HEAD = 4, 16, 22
_INK, _PAPER = (30, 30, 30), 250


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One picture of a sheet."""

    pixels: np.ndarray  # [h, w, 3] uint8 RGB, any size: it is fitted into 128x128
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Rows of tiles under column headings."""

    headings: Sequence[str]
    rows: Sequence[Sequence[Tile]]
    title: str = ""

    def draw(self) -> np.ndarray:
        """The whole sheet, [H, W, 3] uint8 RGB."""
        if not self.rows or any(len(row) != len(self.headings) for row in self.rows):
            raise ArgumentError(
                "contact sheet", [len(row) for row in self.rows], "give rows of one length, at least one"
            )
        height = 2 * _HEAD + len(self.rows) * (TILE + _TITLE + _GAP)
        page = np.full((height, len(self.headings) * (TILE + _GAP) + _GAP, 3), _PAPER, np.uint8)
        _write(page, self.title, _GAP, _HEAD - 7, 0.45)
        for column, heading in enumerate(self.headings):
            _write(page, heading, _GAP + column * (TILE + _GAP), 2 * _HEAD - 7, 0.42)
        for place, row in enumerate(self.rows):
            for column, tile in enumerate(row):
                y, x = 2 * _HEAD + place * (TILE + _TITLE + _GAP), _GAP + column * (TILE + _GAP)
                page[y : y + TILE, x : x + TILE] = _fitted(tile.pixels)
                _write(page, tile.title, x, y + TILE + _TITLE - 4, 0.38)
        return page

    def save(self, path: Path) -> None:
        """Write the sheet as PNG or JPEG."""
        write_image(path, to_tensor(self.draw()))


def _write(page: np.ndarray, text: str, x: int, y: int, size: float) -> None:
    cv2.putText(page, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, _INK, 1, cv2.LINE_AA)


def _fitted(pixels: np.ndarray) -> np.ndarray:
    """Any picture at 128x128: small ones keep their hard pixels, so that one sees how little is known."""
    way = cv2.INTER_NEAREST if pixels.shape[0] < TILE else cv2.INTER_AREA
    return cv2.resize(np.ascontiguousarray(pixels), (TILE, TILE), interpolation=way)


def extremes(results: ResultSet, encoder: str, count: int = 6) -> tuple[list[int], list[int]]:
    """Places of the ``count`` worst and best faces by identity similarity, worst first and best first."""
    order = np.argsort(results.figures[f"identity.{encoder}"], kind="stable")
    count = min(count, max(len(order) // 2, 1))
    return [int(i) for i in order[:count]], [int(i) for i in order[::-1][:count]]


def comparison(
    evaluation: Evaluation,
    pictures: Mapping[str, np.ndarray],
    subjects: Sequence[Subject],
    places: Sequence[int],
    *,
    scale: int,
    landmarks: str,
    methods: Sequence[str],
    encoder: str,
    title: str = "",
) -> Sheet:
    """A sheet of some faces of a run.

    Args:
        evaluation: the run.
        pictures: results [N, 3, 128, 128] uint8 by method.
        subjects: the N people, in the order of the sets.
        places: which of them to show.
        scale, landmarks: which block of the run.
        methods: columns between the references and the truth.
        encoder: whose identity similarity stands under the pictures.
        title: written above.
    """
    sets = {name: evaluation.get(name, scale, landmarks) for name in methods}
    missing = [name for name, found in sets.items() if found is None or name not in pictures]
    if missing:
        raise ArgumentError("contact sheet", f"{', '.join(missing)} at {scale}x {landmarks}", "measure these first")
    rows = []
    for place in places:
        row = _known_tiles(subjects[place], scale)
        for name in methods:
            results = sets[name]
            assert results is not None
            value, error = results.figures[f"identity.{encoder}"][place], results.failures[place]
            shown = f"{value:.2f}" + (f" ({error.split(':')[0]})" if error else "")
            row.append(Tile(pixels=pictures[name][place].transpose(1, 2, 0), title=shown))
        rows.append([*row, _truth_tile(subjects[place])])
    references = len(subjects[places[0]].references)
    headings = [f"{scale}x", *(f"reference {n + 1}" for n in range(references)), *methods, "truth"]
    return Sheet(headings=headings, rows=rows, title=title or f"{scale}x, landmarks {landmarks}, {encoder}")


def _known_tiles(subject: Subject, scale: int) -> list[Tile]:
    crop = _inner(subject.target.image)
    lr = torch.nn.functional.avg_pool2d(crop, scale)
    tiles = [Tile(pixels=to_uint8(lr), title=f"person {subject.case.number}, {lr.shape[-1]} px")]
    return tiles + [Tile(pixels=to_uint8(_inner(photo.image))) for photo in subject.references]


def _truth_tile(subject: Subject) -> Tile:
    return Tile(pixels=to_uint8(_inner(subject.target.image)))


def _inner(image: torch.Tensor) -> torch.Tensor:
    return image[..., MARGIN:-MARGIN, MARGIN:-MARGIN]


def save_sheets(evaluation: Evaluation, subjects: Sequence[Subject], output: Path, count: int) -> list[Path]:
    """For every scale and kind of landmarks: the first ``count`` people, the six worst and the six best.

    Args:
        evaluation: a run whose pictures lie in ``output/sets``.
        subjects: its people.
        output: where the sheets go.
        count: people on the first sheet.

    Returns:
        The files, named ``sheet-16x-found-first.png`` and so on.
    """
    encoder = encoders_of(evaluation.sets)[0]
    paths = []
    for scale, landmarks in dict.fromkeys((each.scale, each.landmarks) for each in evaluation.sets if each.scale):
        block = [each for each in evaluation.sets if (each.scale, each.landmarks) == (scale, landmarks)]
        methods = [name for name in _SHOWN if any(each.method == name for each in block)]
        judged = evaluation.get(methods[-1], scale, landmarks) if methods else None
        if judged is None:
            continue
        pictures = {name: load_pictures(output / "sets", f"{name}-{scale}x-{landmarks}") for name in methods}
        worst, best = extremes(judged, encoder)
        for kind, places in (("first", list(range(min(count, len(subjects))))), ("worst", worst), ("best", best)):
            sheet = comparison(
                evaluation,
                pictures,
                subjects,
                places,
                scale=scale,
                landmarks=landmarks,
                methods=methods,
                encoder=encoder,
                title=f"{scale}x, landmarks {landmarks}, {kind} by {judged.method}, identity similarity by {encoder}",
            )
            paths.append(output / f"sheet-{scale}x-{landmarks}-{kind}.png")
            sheet.save(paths[-1])
    return paths


_SHOWN = ("composite_best", "paper", "other_person", "pooled", "fitted")  # the last one measured is the judged one
