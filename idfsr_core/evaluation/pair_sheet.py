"""A sheet of results, truths, small pictures and differences, drawn with OpenCV."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from ..images import to_tensor, to_uint8
from .pair import PairFigures

MOST_ROWS = 8
GAIN = 4  # the difference is shown this many times as large
_TILE, _GAP, _LINE = 256, 6, 22  # pixels
_PAPER, _INK = 250, (30, 30, 30)


def draw_pairs(result: Tensor, truth: Tensor, lr: Tensor | None, figures: Sequence[PairFigures]) -> Tensor:
    """One row a picture: result, truth, what it was made from, difference; of many pictures every n-th.

    Args:
        result: [B, 3, H, W], 0..1.
        truth: [B or 1, 3, h, w], resized to the result's size for the difference.
        lr: [B or 1, 3, h', w'], shown with hard pixels, so that one sees how little is known; None leaves it out.
        figures: of the B pictures, written below them.

    Returns:
        [1, 3, h, w], 0..1.
    """
    rows = []
    for index in shown(len(result)):
        image, true = result[index].float().clamp(0, 1), truth[min(index, len(truth) - 1)].float()
        if true.shape != image.shape:
            true = torch.nn.functional.interpolate(true[None], image.shape[-2:], mode="bicubic", antialias=True)[0]
        tiles = [("result", image), ("ground truth", true)]
        if lr is not None:
            tiles.append(("made from", lr[min(index, len(lr) - 1)].float()))
        tiles.append((f"difference x{GAIN}", ((image - true).abs() * GAIN).clamp(0, 1)))
        rows.append(_row(tiles, _words(index, figures[index])))
    return to_tensor(np.concatenate(rows))


def shown(count: int) -> list[int]:
    """Which of ``count`` pictures are drawn: at most eight, the first and the last among them."""
    return sorted({round(float(place)) for place in np.linspace(0, count - 1, min(count, MOST_ROWS))})


def _words(index: int, figures: PairFigures) -> str:
    parts = [f"{index}: PSNR {figures.psnr:.1f} dB"]
    if figures.ssim is not None:
        parts.append(f"SSIM {figures.ssim:.3f}")
    if figures.lr_psnr is not None:
        parts.append(f"LR-PSNR {figures.lr_psnr:.1f} dB")
    if figures.identity is not None:
        parts.append(f"identity {figures.identity:.3f}")
    if figures.landmarks is not None:
        parts.append(f"landmarks {figures.landmarks:.3f}")
    return ", ".join(parts)


def _row(tiles: Sequence[tuple[str, Tensor]], words: str) -> np.ndarray:
    """Tiles side by side, their names above, the figures below, [h, w, 3] uint8."""
    height = 2 * _LINE + _TILE + _GAP
    page = np.full((height, len(tiles) * (_TILE + _GAP) + _GAP, 3), _PAPER, np.uint8)
    for column, (name, image) in enumerate(tiles):
        x = _GAP + column * (_TILE + _GAP)
        _write(page, name, x, _LINE - 6)
        pixels = _fitted(to_uint8(image))
        top, left = _LINE + (_TILE - pixels.shape[0]) // 2, x + (_TILE - pixels.shape[1]) // 2
        page[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    _write(page, words, _GAP, _LINE + _TILE + _LINE - 5)
    return page


def _write(page: np.ndarray, text: str, x: int, y: int) -> None:
    cv2.putText(page, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.5, _INK, 1, cv2.LINE_AA)


def _fitted(pixels: np.ndarray) -> np.ndarray:
    """The picture in its tile, whole: a small one keeps its hard pixels."""
    height, width = pixels.shape[:2]
    factor = _TILE / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    way = cv2.INTER_NEAREST if factor > 3 else cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
    return cv2.resize(pixels, size, interpolation=way)
