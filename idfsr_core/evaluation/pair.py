"""Results beside their truth: the figures of a few pictures, and a sheet to look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from ..errors import ArgumentError, FaceNotFoundError
from ..geometry import Alignment
from ..identity.embedding import similarity
from ..references import FACE_SIZE, embed_face, largest_face
from .metrics import landmark_error, psnr, ssim

if TYPE_CHECKING:
    from ..faces.analyzer import FaceAnalyzer
    from ..faces.face import Face
    from ..identity.encoders import IdentityEncoder

LEAST_SSIM = 11  # pixels a side: the window of SSIM


@dataclass(frozen=True, kw_only=True)
class PairFigures:
    """One result against its truth; None: not measured."""

    psnr: float  # dB, of the whole picture; more is better
    ssim: float | None = None  # -1..1; more is better
    lr_psnr: float | None = None  # dB, of the result made small against the small picture; more is better
    face_psnr: float | None = None  # dB, of the face's 128 px crop; more is better
    identity: float | None = None  # cosine of the encoder, -1..1; more is better
    landmarks: float | None = None  # mean distance over the distance between the eyes; less is better


@dataclass(frozen=True, kw_only=True)
class PairReport:
    """The figures of a batch."""

    figures: tuple[PairFigures, ...]
    notes: tuple[str, ...]  # what was resized or left out

    @property
    def identity(self) -> float:
        """Mean identity similarity, 0 where it was not measured."""
        found = [each.identity for each in self.figures if each.identity is not None]
        return float(np.mean(found)) if found else 0.0

    def text(self) -> str:
        """One line a figure: the mean, and the range where there are several pictures."""
        lines = [f"{len(self.figures)} picture" + "s" * (len(self.figures) != 1)]
        for field in fields(PairFigures):
            values = [v for v in (getattr(each, field.name) for each in self.figures) if v is not None]
            if values:
                title, digits, unit = TITLES[field.name]
                spread = f" ({min(values):.{digits}f} to {max(values):.{digits}f})" if len(values) > 1 else ""
                lines.append(f"{title}: {np.mean(values):.{digits}f}{unit}{spread}")
        return "\n".join([*lines, *self.notes])


TITLES = {  # name, digits after the point, unit
    "psnr": ("PSNR", 2, " dB"),
    "ssim": ("SSIM", 3, ""),
    "lr_psnr": ("LR-PSNR", 2, " dB"),
    "face_psnr": ("PSNR of the face", 2, " dB"),
    "identity": ("identity similarity", 3, ""),
    "landmarks": ("landmark error", 3, " eye distances"),
}


def compare_pictures(
    result: Tensor,
    truth: Tensor,
    lr: Tensor | None = None,
    finder: FaceAnalyzer | None = None,
    encoder: IdentityEncoder | None = None,
    check: Callable[[], None] = lambda: None,
) -> PairReport:
    """Measure results against the truth.

    Args:
        result: [B, 3, H, W], 0..1.
        truth: [B or 1, 3, h, w] of the same field; another size of the same aspect is resized.
        lr: [B or 1, 3, h', w'], the small pictures that the results were made from; not larger than the results.
        finder, encoder: find the largest face of the truth and compare it; both or none.
        check: called before each picture; may raise to stop.

    Raises:
        ArgumentError: sizes or counts that do not fit.
        FaceNotFoundError: no face in any true picture.
    """
    truth, notes = _fitted(result, truth)
    truths = _repeated("ground_truth", truth, result)
    lrs = [None] * len(result) if lr is None else _repeated("lr", lr, result)
    if not _ssim_is_there():
        notes.append("SSIM was left out: it needs the package torchmetrics")
    figures, without = [], []
    for index, image in enumerate(result.split(1)):
        check()
        true, small = truths[index], lrs[index]
        face = largest_face(finder.analyze(true)) if finder else None
        figures.append(_measure(image.float().clamp(0, 1), true, small, finder, encoder, face))
        without += [index] if finder and face is None else []
    if finder and len(without) == len(result):
        size = f"no face found in {truth.shape[-1]}x{truth.shape[-2]} pixels"
        raise FaceNotFoundError("ground_truth", size, "give pictures with a clear face, or disconnect the analyzer")
    if without:
        notes.append(f"no face in ground_truth {', '.join(map(str, without))}: measured without it")
    return PairReport(figures=tuple(figures), notes=tuple(notes))


def _fitted(result: Tensor, truth: Tensor) -> tuple[Tensor, list[str]]:
    """The truth at the result's size, and what was done."""
    (height, width), (h, w) = result.shape[-2:], truth.shape[-2:]
    if (height, width) == (h, w):
        return truth.float(), []
    if abs(width / w - height / h) > 1 / w + 1 / h:
        value = f"{w}x{h} pixels, and result is {width}x{height}"
        raise ArgumentError("ground_truth", value, "give both the same field and aspect")
    resized = F.interpolate(truth.float(), (height, width), mode="bicubic", antialias=True).clamp(0, 1)
    return resized, [f"ground_truth was resized from {w}x{h} to {width}x{height} pixels"]


def _repeated(name: str, pictures: Tensor, result: Tensor) -> Sequence[Tensor]:
    """One picture for each result."""
    count = len(result)
    if len(pictures) not in (1, count):
        raise ArgumentError(name, f"{len(pictures)} pictures, and result has {count}", f"give {count} of them, or one")
    if pictures.shape[-1] > result.shape[-1] or pictures.shape[-2] > result.shape[-2]:
        sizes = f"{pictures.shape[-1]}x{pictures.shape[-2]} pixels, and result is {result.shape[-1]}x{result.shape[-2]}"
        raise ArgumentError(name, sizes, "give the small picture that the result was made from")
    return pictures.float().split(1) * (count if len(pictures) == 1 else 1)


def _ssim_is_there() -> bool:
    return find_spec("torchmetrics") is not None


def _measure(
    image: Tensor,
    truth: Tensor,
    lr: Tensor | None,
    finder: FaceAnalyzer | None,
    encoder: IdentityEncoder | None,
    face: Face | None,
) -> PairFigures:
    found: dict[str, float] = {"psnr": float(psnr(image, truth))}
    if _ssim_is_there() and min(image.shape[-2:]) >= LEAST_SSIM:
        found["ssim"] = float(ssim(image, truth))
    if lr is not None:
        found["lr_psnr"] = float(psnr(F.adaptive_avg_pool2d(image, (lr.shape[-2], lr.shape[-1])), lr))
    if finder and encoder and face is not None:
        found |= _of_the_face(image, truth, finder, encoder, face)
    return PairFigures(**found)


def _of_the_face(
    image: Tensor, truth: Tensor, finder: FaceAnalyzer, encoder: IdentityEncoder, face: Face
) -> dict[str, float]:
    """What is measured where the truth has its face."""
    place = Alignment.from_keypoints(face.keypoints, face.image_size, FACE_SIZE)
    vectors = [embed_face(encoder, each, face.keypoints)[0] for each in (image, truth)]
    points = [np.asarray(finder.landmarks(each, face.keypoints), np.float32)[None] for each in (image, truth)]
    return {
        "face_psnr": float(psnr(place.crop(image), place.crop(truth))),
        "identity": float(similarity(*vectors).clamp(-1, 1)),
        "landmarks": float(landmark_error(*points)[0]),
    }
