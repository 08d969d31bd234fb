"""Figures for restored faces, one number per face. Pictures are float tensors [B, 3, S, S], RGB, 0..1."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..diffusion.conditioning import downsample
from ..errors import ArgumentError

PSNR_LIMIT = 100.0  # dB, reported where two pictures are equal to the last digit
SHRINKAGE = 0.1  # of the covariances of a Fréchet distance, see frechet_distance


def psnr(image: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, [B]: ``-10 log10(mean squared error)``, at most :data:`PSNR_LIMIT`."""
    _check_pair(image, truth)
    error = (image.clamp(0, 1) - truth).square().flatten(1).mean(1)
    return -10 * error.clamp_min(10 ** (-PSNR_LIMIT / 10)).log10()


def lr_psnr(image: Tensor, lr: Tensor) -> Tensor:
    """How well a result agrees with the pixels it was made from, in dB, [B]: it is degraded again (area average).

    Args:
        image: [B, 3, S, S], the result.
        lr: [B, 3, h, h], the low-resolution face.
    """
    return psnr(downsample(image.clamp(0, 1), lr.shape[-1]), lr)


def ssim(image: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004) with an 11 px Gaussian window, mean over the colours, [B], -1..1."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    _check_pair(image, truth)
    value = structural_similarity_index_measure(image.clamp(0, 1), truth, data_range=1.0, reduction="none")
    return torch.as_tensor(value).reshape(len(image))


def identity_similarity(vectors: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Cosine of two sets of embeddings [B, D] -> [B], -1..1; a vector of length zero has similarity 0."""
    if vectors.shape != truth.shape or vectors.ndim != 2:
        raise ArgumentError("embeddings", f"{vectors.shape} and {truth.shape}", "give two [B, D] arrays")
    length = np.linalg.norm(vectors, axis=1) * np.linalg.norm(truth, axis=1)
    return (vectors * truth).sum(1) / np.maximum(length, 1e-12)


def landmark_error(points: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Mean distance of corresponding landmarks [B, 68, 2] over the true distance between the eyes' centres, [B]."""
    if points.shape != truth.shape or points.shape[1:] != (68, 2):
        raise ArgumentError("landmarks", f"{points.shape} and {truth.shape}", "give two [B, 68, 2] arrays")
    eyes = truth[:, 36:42].mean(1) - truth[:, 42:48].mean(1)
    return np.linalg.norm(points - truth, axis=-1).mean(1) / np.maximum(np.linalg.norm(eyes, axis=-1), 1e-6)


def grid_excess(image: Tensor, period: int = 4) -> Tensor:
    """Whether a pattern that repeats with the patches is printed into a picture, [B].

    About 1 is none, above 2 it begins to show, from 10 on it is plain.
    The power of the second difference at the frequencies that repeat with ``period`` pixels, over that of frequencies
    beside them, along rows and columns; the largest of these ratios. Real photos give 1.3, as the largest of several is
    above their mean. The formula is ours.
    """
    side = image.shape[-1]
    if period < 2 or side < 16 * period or side % period:
        raise ArgumentError("period", period, "use 2 pixels to a sixteenth of the picture's side, a divisor of it")
    window = torch.hann_window(side - 2, periodic=False, device=image.device)
    ratios = []
    for picture in (image, image.mT):
        bend = picture[..., 2:] - 2 * picture[..., 1:-1] + picture[..., :-2]
        power = torch.fft.rfft(bend * window, n=side, dim=-1).abs().square().mean((1, 2))
        for harmonic in range(side // period, side // 2 + 1, side // period):
            beside = [*range(harmonic - 6, harmonic - 3), *range(harmonic + 4, min(harmonic + 7, side // 2))]
            peak = power[:, harmonic - 1 : harmonic + 2].amax(1)
            ratios.append(peak / power[:, beside].mean(1).clamp_min(1e-12))
    return torch.stack(ratios).amax(0)


def frechet_distance(features: np.ndarray, truth: np.ndarray, shrinkage: float = SHRINKAGE) -> float:
    """Fréchet distance of two sets of face features [N, D], [M, D] (FID with a face encoder's embedding as feature).

    ``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2)`` (Heusel et al. 2017, arXiv 1706.08500). With fewer faces
    than features the covariances have no full rank, so each is drawn towards the sphere of the same trace:
    ``(1 - a) S + a tr(S) / D`` with a = ``shrinkage``. Small sets overstate the distance: compare figures of equal N
    only.
    """
    if features.ndim != 2 or truth.ndim != 2 or features.shape[1] != truth.shape[1]:
        raise ArgumentError("features", f"{features.shape} and {truth.shape}", "give [N, D] and [M, D] arrays")
    if min(len(features), len(truth)) < 2:
        raise ArgumentError("features", f"{len(features)} and {len(truth)} faces", "give at least two faces each")
    a, b = features.astype(np.float64), truth.astype(np.float64)
    s1, s2 = _covariance(a, shrinkage), _covariance(b, shrinkage)
    root = _root(s1)
    cross = np.sqrt(np.linalg.eigvalsh(root @ s2 @ root).clip(min=0)).sum()
    return float(max(np.square(a.mean(0) - b.mean(0)).sum() + np.trace(s1) + np.trace(s2) - 2 * cross, 0.0))


def _covariance(values: np.ndarray, shrinkage: float) -> np.ndarray:
    covariance = np.atleast_2d(np.cov(values, rowvar=False))
    size = len(covariance)
    return (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / size * np.eye(size)


def _root(matrix: np.ndarray) -> np.ndarray:
    """Square root of a symmetric matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T


def _check_pair(image: Tensor, truth: Tensor) -> None:
    if image.shape != truth.shape or image.ndim != 4:
        raise ArgumentError("pictures", f"{tuple(image.shape)} and {tuple(truth.shape)}", "give two [B, 3, S, S]")
