"""Points, transforms and the way between a picture and its aligned face crop.

Points are pixel coordinates with the centre of the top-left pixel at (0, 0), as in OpenCV. A transform is a 2x3 matrix
[A | t] that takes a column point p to A p + t. Images are float tensors [B, 3, H, W].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import overload

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import ArgumentError

# Eyes, nose tip and mouth corners of the 512-pixel FFHQ-style crop, as facexlib aligns faces.
FFHQ_TEMPLATE = ((192.98, 239.95), (318.90, 240.19), (256.63, 314.02), (201.26, 371.41), (313.09, 371.15))
# The same five points of the 112-pixel crop that ArcFace encoders expect (insightface).
ARCFACE_TEMPLATE = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))

_PADDINGS = ("zeros", "border", "reflection")
_MAX_OVERSAMPLING = 8  # beyond it the source is shrunk first, so that the samples stay few


def ffhq_template(size: int = 128) -> Tensor:
    """The five points [5, 2] of the FFHQ-style crop of ``size`` pixels."""
    return (torch.tensor(FFHQ_TEMPLATE, dtype=torch.float64) + 0.5) * (size / 512) - 0.5


def arcface_template(size: int = 112) -> Tensor:
    """The five points [5, 2] of the ArcFace crop of ``size`` pixels."""
    return (torch.tensor(ARCFACE_TEMPLATE, dtype=torch.float64) + 0.5) * (size / 112) - 0.5


# --- transforms -------------------------------------------------------------------------------------------------------


def check_pairs(source: Tensor, target: Tensor, least: int) -> None:
    """Raise ArgumentError unless both are [B, N, 2] with N >= least."""
    if source.shape != target.shape or source.ndim != 3 or source.shape[-1] != 2 or source.shape[1] < least:
        raise ArgumentError(
            "points",
            f"{tuple(source.shape)} and {tuple(target.shape)}",
            f"give two [B, N, 2] tensors with N >= {least}",
        )


def similarity_from_points(source: Tensor, target: Tensor) -> Tensor:
    """Rotation, uniform scale and shift that bring ``source`` closest to ``target`` (least squares, no reflection).

    In two dimensions the solution of Umeyama (1991) with the reflection excluded is a complex regression: the factor
    ``sum(conj(s) * t) / sum(|s|^2)`` of the centred points. Differentiable.

    Args:
        source, target: points [B, N, 2], N >= 2.

    Returns:
        [B, 2, 3], source -> target, in the points' dtype.
    """
    check_pairs(source, target, 2)
    source_mean, target_mean = source.mean(1, keepdim=True), target.mean(1, keepdim=True)
    s, t = source - source_mean, target - target_mean
    spread = s.square().sum((1, 2))
    if not bool((spread > 1e-12).all()):
        raise ArgumentError("points", "all in one place", "give points that differ")
    a = (s * t).sum((1, 2)) / spread
    b = (s[..., 0] * t[..., 1] - s[..., 1] * t[..., 0]).sum(1) / spread
    linear = torch.stack((torch.stack((a, -b), -1), torch.stack((b, a), -1)), 1)
    shift = target_mean[:, 0] - (linear @ source_mean[:, 0, :, None])[..., 0]
    return torch.cat((linear, shift[..., None]), -1)


def affine_from_points(source: Tensor, target: Tensor) -> Tensor:
    """The affine transform [B, 2, 3] that brings ``source`` closest to ``target`` (both [B, N, 2], N >= 3)."""
    check_pairs(source, target, 3)
    source_mean, target_mean = source.mean(1, keepdim=True), target.mean(1, keepdim=True)
    s, t = (source - source_mean).double(), (target - target_mean).double()
    covariance = s.mT @ s
    trace = covariance.diagonal(dim1=-2, dim2=-1).sum(-1)
    if not bool((torch.linalg.det(covariance) > 1e-10 * trace.square()).all()):
        raise ArgumentError("points", "all on one line", "give points that span a plane, or use a similarity")
    linear = torch.linalg.solve(covariance, s.mT @ t).mT.to(source.dtype)
    shift = target_mean[:, 0] - (linear @ source_mean[:, 0, :, None])[..., 0]
    return torch.cat((linear, shift[..., None]), -1)


def invert_affine(matrix: Tensor) -> Tensor:
    """The inverse [..., 2, 3] of a transform [..., 2, 3]."""
    inverse = torch.linalg.inv(matrix[..., :2])
    return torch.cat((inverse, -inverse @ matrix[..., 2:]), -1)


def compose_affine(second: Tensor, first: Tensor) -> Tensor:
    """The transform [..., 2, 3] that applies ``first`` and then ``second``."""
    linear = second[..., :2] @ first[..., :2]
    return torch.cat((linear, second[..., :2] @ first[..., 2:] + second[..., 2:]), -1)


def transform_points(matrix: Tensor, points: Tensor) -> Tensor:
    """Apply [..., 2, 3] to points [..., N, 2]."""
    return points @ matrix[..., :2].mT + matrix[..., 2].unsqueeze(-2)


def resize_matrix(source: float, target: float) -> np.ndarray:
    """The 2x3 transform between the pixel grids of one square seen at two sizes: p' = (p + .5) target / source - .5."""
    k = target / source
    return np.array([[k, 0, (k - 1) / 2], [0, k, (k - 1) / 2]], np.float64)


# --- resampling -------------------------------------------------------------------------------------------------------


def pixel_grid(
    height: int,
    width: int,
    *,
    oversampling: int = 1,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Coordinates [height * k, width * k, 2] of the (sub)pixel centres of a picture, k = ``oversampling``."""
    k = oversampling
    x = (torch.arange(width * k, device=device, dtype=dtype) + 0.5) / k - 0.5
    y = (torch.arange(height * k, device=device, dtype=dtype) + 0.5) / k - 0.5
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def sample(image: Tensor, positions: Tensor, *, padding: str = "zeros", mode: str = "bilinear") -> Tensor:
    """Read ``image`` [B, C, H, W] at ``positions`` [B or 1, h, w, 2] in its pixel coordinates -> [B, C, h, w].

    Differentiable in both. ``padding`` ("zeros", "border", "reflection") says what lies outside the image, ``mode`` is
    "bilinear" or "bicubic". No anti-aliasing: see :func:`resample`.
    """
    if padding not in _PADDINGS:
        raise ArgumentError("padding", padding, f"use one of {', '.join(_PADDINGS)}")
    height, width = image.shape[-2:]
    size = positions.new_tensor((width, height))
    grid = ((2 * positions + 1) / size - 1).expand(image.shape[0], -1, -1, -1)
    out = F.grid_sample(image.to(grid.dtype), grid, mode=mode, padding_mode=padding, align_corners=False)
    return out.to(image.dtype)


def oversampling_for(shrink: float) -> int:
    """How many samples per side of an output pixel avoid aliasing when ``shrink`` source pixels fall into it."""
    return max(1, math.ceil(shrink - 0.25))


def preshrink(image: Tensor, shrink: float) -> tuple[Tensor, float]:
    """Area-average a picture that will be shrunk a lot, so that few samples per output pixel are enough.

    Returns:
        The picture, [B, C, ceil(H / f), ceil(W / f)], and the whole factor f; a point p of the old picture lies at
        ``(p + .5) / f - .5`` in the new one.
    """
    factor = int(shrink / (_MAX_OVERSAMPLING / 2)) if shrink > _MAX_OVERSAMPLING else 1
    if factor == 1:
        return image, 1.0
    height, width = image.shape[-2:]
    padded = F.pad(image, (0, -width % factor, 0, -height % factor), mode="replicate")
    return F.avg_pool2d(padded, factor), float(factor)


def warp_affine(
    image: Tensor, matrix: Tensor, size: int | tuple[int, int], *, padding: str = "zeros", mode: str = "bilinear"
) -> Tensor:
    """Draw ``image`` through a transform; anti-aliased where it shrinks, differentiable in image and matrix.

    Every output pixel is the mean of k x k samples, k chosen by the strongest shrinking in the batch, which is an area
    average for whole factors.

    Args:
        image: [B, C, H, W].
        matrix: [B or 1, 2, 3], image -> output pixels.
        size: side of a square output, or (height, width).
        padding: what lies outside the image: "zeros", "border" or "reflection".
        mode: "bilinear" or "bicubic".

    Returns:
        [B, C, height, width] in the image's dtype.
    """
    height, width = (size, size) if isinstance(size, int) else size
    wide = torch.float64 if image.dtype == torch.float64 else torch.float32
    inverse = invert_affine(matrix.to(image.device)).to(wide)
    step = float(inverse[..., :2].detach().square().sum(-2).sqrt().max())  # source pixels per output pixel
    image, factor = preshrink(image, step)
    k = oversampling_for(step / factor)
    grid = pixel_grid(height, width, oversampling=k, device=image.device, dtype=wide)
    positions = transform_points(inverse, grid.view(1, -1, 2)).view(-1, height * k, width * k, 2)
    if factor > 1:
        positions = (positions + 0.5) / factor - 0.5
    out = sample(image, positions, padding=padding, mode=mode)
    return F.avg_pool2d(out, k) if k > 1 else out


# --- picture <-> crop -------------------------------------------------------------------------------------------------


def border_window(size: int, feather: float) -> Tensor:
    """A [1, 1, S, S] window: 1 inside, falling smoothly to 0 at the border over ``feather`` (fraction of the side)."""
    distance = torch.minimum(torch.arange(size) + 0.5, size - 0.5 - torch.arange(size))
    ramp = (distance / max(feather * size, 1e-6)).clamp(0, 1)
    ramp = ramp * ramp * (3 - 2 * ramp)
    return (ramp[:, None] * ramp[None, :])[None, None]


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Where a face crop lies in its picture; :meth:`crop` and :meth:`paste` are the two directions.

    Args:
        matrix: [2, 3] float64, picture pixels -> crop pixels.
        size: side of the crop in pixels.
        image_size: (width, height) of the picture.
    """

    matrix: np.ndarray
    size: int
    image_size: tuple[int, int]

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, np.float64)
        if matrix.shape != (2, 3) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:, :2])) < 1e-12:
            raise ArgumentError("Alignment.matrix", matrix.tolist(), "give a finite, invertible 2x3 matrix")
        if self.size < 1 or min(self.image_size) < 1:
            raise ArgumentError("Alignment", f"crop {self.size}, picture {self.image_size}", "give positive sizes")
        matrix.setflags(write=False)
        object.__setattr__(self, "matrix", matrix)

    @classmethod
    def from_keypoints(
        cls,
        keypoints: np.ndarray | Tensor,
        image_size: tuple[int, int],
        size: int = 128,
        template: Tensor | None = None,
    ) -> Alignment:
        """Align five keypoints [5, 2] of a picture (width, height) to the FFHQ template, or to ``template`` [5, 2]."""
        points = torch.as_tensor(keypoints, dtype=torch.float64).cpu()
        target = ffhq_template(size) if template is None else template.double().cpu()
        matrix = similarity_from_points(points[None], target[None])[0]
        return cls(matrix=matrix.numpy(), size=size, image_size=image_size)

    @property
    def scale(self) -> float:
        """Crop pixels per picture pixel."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix[:, :2]))))

    @property
    def corners(self) -> np.ndarray:
        """The crop's outer corners [4, 2] in picture pixels, clockwise from the top left."""
        low, high = -0.5, self.size - 0.5
        return self.to_image(np.array([[low, low], [high, low], [high, high], [low, high]]))

    def resized(self, size: int) -> Alignment:
        """The same crop at another size."""
        to_size = resize_matrix(self.size, size)
        matrix = to_size[:, :2] @ self.matrix
        matrix[:, 2] += to_size[:, 2]
        return Alignment(matrix=matrix, size=size, image_size=self.image_size)

    def in_resized(self, image_size: tuple[int, int]) -> Alignment:
        """The place of the same crop once its picture is resized to ``image_size`` (width, height)."""
        fx, fy = (old / new for old, new in zip(self.image_size, image_size, strict=True))
        back = torch.tensor([[fx, 0, (fx - 1) / 2], [0, fy, (fy - 1) / 2]], dtype=torch.float64)
        matrix = compose_affine(torch.from_numpy(self.matrix.copy()), back).numpy()
        return Alignment(matrix=matrix, size=self.size, image_size=image_size)

    @overload
    def to_crop(self, points: np.ndarray) -> np.ndarray: ...
    @overload
    def to_crop(self, points: Tensor) -> Tensor: ...
    def to_crop(self, points):
        """Points [..., 2] of the picture in crop pixels."""
        return _apply(self.matrix, points)

    @overload
    def to_image(self, points: np.ndarray) -> np.ndarray: ...
    @overload
    def to_image(self, points: Tensor) -> Tensor: ...
    def to_image(self, points):
        """Points [..., 2] of the crop in picture pixels."""
        return _apply(_inverse(self.matrix), points)

    def crop(self, image: Tensor, *, padding: str = "reflection", mode: str = "bicubic") -> Tensor:
        """Cut the aligned face out of its picture [B, C, H, W] -> [B, C, S, S] in 0..1.

        Where the crop reaches beyond the picture, the picture is continued by ``padding``; see :meth:`coverage`.
        """
        self._check(image)
        matrix = torch.from_numpy(self.matrix.copy())[None].to(image.device, _matrix_dtype(image))
        return warp_affine(image, matrix, self.size, padding=padding, mode=mode).clamp(0, 1)

    def coverage(self) -> Tensor:
        """How much of each crop pixel lies inside the picture, [1, 1, S, S] in 0..1."""
        grid = transform_points(torch.from_numpy(_inverse(self.matrix)), pixel_grid(self.size, self.size).double())
        limit = torch.tensor(self.image_size, dtype=torch.float64)
        distance = torch.minimum(grid + 0.5, limit - 0.5 - grid).amin(-1) * self.scale
        return (distance + 0.5).clamp(0, 1).float()[None, None]

    def paste(self, image: Tensor, crop: Tensor, mask: Tensor | None = None, *, feather: float = 0.06) -> Tensor:
        """Lay a crop over its picture without a seam.

        Args:
            image: the picture, [B, C, H, W].
            crop: [B, C, S, S] for any S: it shows the field of this alignment.
            mask: [B or 1, 1, S', S'] in 0..1, what to take from the crop; None takes all of it.
            feather: fraction of the crop's side over which it fades at its border, with a mask too.

        Returns:
            A new picture. Pixels where the mask is 0 are those of ``image``, bit for bit.
        """
        self._check(image)
        x0, y0, x1, y1 = self._region()
        if x0 >= x1 or y0 >= y1:
            return image.clone()
        weight = border_window(crop.shape[-1], feather).to(crop)
        if mask is not None:
            mask = F.interpolate(mask.to(crop), crop.shape[-2:], mode="bilinear", align_corners=False, antialias=True)
            weight = weight * mask.clamp(0, 1)
        matrix = self._crop_to_region(crop, x0, y0)
        drawn = warp_affine(crop, matrix, (y1 - y0, x1 - x0), padding="border", mode="bicubic").clamp(0, 1)
        weight = warp_affine(weight, matrix, (y1 - y0, x1 - x0), padding="zeros").clamp(0, 1)
        out = image.clone()
        old = image[..., y0:y1, x0:x1]
        out[..., y0:y1, x0:x1] = torch.where(weight > 0, old + weight * (drawn.to(old) - old), old).to(image.dtype)
        return out

    def _check(self, image: Tensor) -> None:
        if image.ndim != 4 or (image.shape[-1], image.shape[-2]) != tuple(self.image_size):
            width, height = self.image_size
            raise ArgumentError("picture", tuple(image.shape), f"give the {width}x{height} picture as [B, C, H, W]")

    def _region(self) -> tuple[int, int, int, int]:
        """The part of the picture that the crop can touch: x0, y0, x1, y1, ends excluded."""
        low = np.maximum(np.floor(self.corners.min(0)), 0)
        high = np.minimum(np.ceil(self.corners.max(0)) + 1, self.image_size)
        return int(low[0]), int(low[1]), int(high[0]), int(high[1])

    def _crop_to_region(self, crop: Tensor, x0: int, y0: int) -> Tensor:
        matrix = _inverse(self.resized(crop.shape[-1]).matrix)
        matrix[:, 2] -= (x0, y0)
        return torch.from_numpy(matrix)[None].to(crop.device, _matrix_dtype(crop))


def _matrix_dtype(image: Tensor) -> torch.dtype:
    return torch.float32 if image.device.type == "mps" else torch.float64


def _inverse(matrix: np.ndarray) -> np.ndarray:
    linear = np.linalg.inv(matrix[:, :2])
    return np.concatenate((linear, -linear @ matrix[:, 2:]), 1)


def _apply(matrix: np.ndarray, points):
    if isinstance(points, Tensor):
        return transform_points(torch.from_numpy(matrix.copy()).to(points), points)
    points = np.asarray(points)
    moved = points.astype(np.float64) @ matrix[:, :2].T + matrix[:, 2]
    return moved.astype(points.dtype if points.dtype == np.float32 else np.float64)
