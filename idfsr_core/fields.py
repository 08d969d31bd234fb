"""Fields: where in a reference photo every pixel of the target is read from.

A field is a tensor [B, S, S, 2] of positions in the photo's pixels. Fields are differentiable in the landmarks they
are made of, live on their device, and several images can share one (see :func:`idfsr_core.geometry.sample`). With
``oversampling`` k they hold k x k positions per target pixel, [B, kS, kS, 2].
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from .errors import ArgumentError
from .geometry import (
    affine_from_points,
    check_pairs,
    invert_affine,
    pixel_grid,
    similarity_from_points,
    transform_points,
)

METHODS = ("similarity", "affine", "tps", "piecewise")
SMOOTHING = 6.0  # of the spline: it bends no more than landmark noise allows, and keeps a person's own proportions
_ANCHORS = 8  # points on a ring around the face, moved rigidly, so that the far field stays calm
_RING = 1.6  # its radius over that of the landmarks
_STEP = 4  # the spline is computed every so many pixels, and interpolated by cubics between


def _bending(distance2: Tensor) -> Tensor:
    """The radial function r^2 log r^2 of the thin-plate spline, 0 at 0, with a finite gradient there."""
    return distance2 * (distance2 + 1e-12).log()


@dataclass(frozen=True, kw_only=True)
class ThinPlateSpline:
    """A smooth map of the plane through given pairs of points; made by :func:`thin_plate_spline`."""

    centres: Tensor  # [B, N, 2] where the map is given, normalised
    weights: Tensor  # [B, N + 3, 2] of the radial functions, then of 1, x, y
    origin: Tensor  # [B, 1, 2] of the normalisation
    unit: Tensor  # [B, 1, 1] length of the normalisation in pixels

    def __call__(self, points: Tensor) -> Tensor:
        """Map points [B or 1, M, 2] -> [B, M, 2]."""
        q = (points.to(self.weights.dtype) - self.origin) / self.unit
        x, y = self.centres[:, None, :, 0] - q[..., :1], self.centres[:, None, :, 1] - q[..., 1:]
        n = self.centres.shape[1]
        bent = _bending(x.square_().add_(y.square_()) if not x.requires_grad else x.square() + y.square())
        return bent @ self.weights[:, :n] + self.weights[:, n : n + 1] + q @ self.weights[:, n + 1 :]

    def to(self, dtype: torch.dtype) -> ThinPlateSpline:
        """The same map computed in another precision."""
        return ThinPlateSpline(
            centres=self.centres.to(dtype),
            weights=self.weights.to(dtype),
            origin=self.origin.to(dtype),
            unit=self.unit.to(dtype),
        )


def thin_plate_spline(points: Tensor, values: Tensor, *, smoothing: float = 0.0) -> ThinPlateSpline:
    """The map of least bending with ``points`` -> ``values`` (Bookstein 1989; smoothing as in Wahba 1990).

    Args:
        points, values: [B, N, 2], N >= 3; no two points of one item in the same place.
        smoothing: 0 goes through every pair; larger values bend less and forgive noise. It is without unit, as lengths
            are counted in the points' root-mean-square distance from their mean; 0.01 takes off the jitter of single
            points, 10 leaves little more than an affine transform.

    Returns:
        The map, differentiable in both arguments; solved in double precision where the device has it.
    """
    check_pairs(points, values, 3)
    wide = torch.float32 if points.device.type == "mps" else torch.float64
    points, values = points.to(wide), values.to(wide)
    batch, n = points.shape[:2]
    origin = points.mean(1, keepdim=True)
    unit = (points - origin).square().sum(-1).mean(1).sqrt().view(-1, 1, 1)
    c = (points - origin) / unit
    distance2 = (c[:, :, None] - c[:, None]).square().sum(-1)
    _check_spread(c, distance2, smoothing)
    kernel = _bending(distance2) + smoothing * torch.eye(n).to(c)
    linear = torch.cat((torch.ones_like(c[..., :1]), c), -1)
    top, bottom = torch.cat((kernel, linear), 2), torch.cat((linear.mT, linear.new_zeros(batch, 3, 3)), 2)
    right = torch.cat((values, values.new_zeros(batch, 3, 2)), 1)
    solution = torch.linalg.solve(torch.cat((top, bottom), 1), right)
    return ThinPlateSpline(centres=c, weights=solution, origin=origin, unit=unit)


def _check_spread(points: Tensor, distance2: Tensor, smoothing: float) -> None:
    """Raise ArgumentError where normalised points [B, N, 2] have no spline."""
    n = points.shape[1]
    if not bool((torch.linalg.det(points.mT @ points / n) > 1e-10).all()):
        raise ArgumentError("points", "all in one place or on one line", "give points that span a plane")
    if smoothing == 0 and bool((distance2 + torch.eye(n).to(points) < 1e-14).any()):
        raise ArgumentError("points", "two in one place", "give distinct points, or a smoothing above 0")


def matrix_field(matrix: Tensor, size: int, *, oversampling: int = 1) -> Tensor:
    """The field [B, kS, kS, 2] of a transform photo -> target [B, 2, 3]."""
    inverse = invert_affine(matrix)
    grid = pixel_grid(size, size, oversampling=oversampling, device=matrix.device, dtype=matrix.dtype)
    return transform_points(inverse, grid.view(1, -1, 2)).view(-1, *grid.shape)


def thin_plate_spline_field(
    source_points: Tensor,
    target_points: Tensor,
    size: int,
    *,
    smoothing: float = SMOOTHING,
    oversampling: int = 1,
    step: int = _STEP,
) -> Tensor:
    """The field of the thin-plate spline that takes the photo's landmarks to those of the target.

    Outside the landmarks the spline is held by a ring of points that move with the best similarity.

    Args:
        source_points, target_points: [B, N, 2], N >= 3, in pixels of the photo and of the target.
        size: side S of the target.
        smoothing: how much landmark noise is forgiven, see :func:`thin_plate_spline`.
        oversampling: samples k per pixel side.
        step: the spline is evaluated every ``step`` pixels and interpolated by cubic convolution; 0 evaluates it
            everywhere. At 4 the difference stays below a tenth of a pixel with the default smoothing; with little
            smoothing it reaches a pixel where a closed mouth is to open.

    Returns:
        Positions in the photo, [B, kS, kS, 2].
    """
    similarity = similarity_from_points(source_points, target_points)
    ring = _ring(target_points)
    to_source = invert_affine(similarity)
    points = torch.cat((target_points, ring), 1)
    values = torch.cat((source_points, transform_points(to_source, ring)), 1)
    spline = thin_plate_spline(points, values, smoothing=smoothing).to(target_points.dtype)
    if not step:
        grid = pixel_grid(size, size, oversampling=oversampling, device=points.device, dtype=points.dtype)
        return spline(grid.view(1, -1, 2)).view(-1, *grid.shape)
    count = math.ceil(size / step) + 3
    nodes = (torch.arange(count, device=points.device, dtype=points.dtype) - 1.5) * step - 0.5 + step / 2
    grid = torch.stack(torch.meshgrid(nodes, nodes, indexing="xy"), -1)
    coarse = spline(grid.view(1, -1, 2)).view(-1, count, count, 2)
    return _interpolate_field(coarse, nodes, step, size, oversampling)


def _ring(points: Tensor) -> Tensor:
    centre = points.mean(1, keepdim=True)
    radius = (points - centre).square().sum(-1).amax(1).sqrt().view(-1, 1, 1) * _RING
    angle = torch.arange(_ANCHORS, device=points.device, dtype=points.dtype) * (2 * math.pi / _ANCHORS)
    return centre + radius * torch.stack((angle.cos(), angle.sin()), -1)


def _interpolate_field(coarse: Tensor, nodes: Tensor, step: int, size: int, oversampling: int) -> Tensor:
    """Cubic convolution (Keys 1981, a = -1/2, exact for quadratics) from the nodes to every (sub)pixel."""
    fine = pixel_grid(1, size, oversampling=oversampling, device=coarse.device, dtype=coarse.dtype)[0, :, 0]
    d = ((fine[:, None] - nodes[None]) / step).abs()
    near = (1.5 * d - 2.5) * d * d + 1
    far = ((-0.5 * d + 2.5) * d - 4) * d + 2
    weights = torch.where(d <= 1, near, torch.where(d < 2, far, torch.zeros_like(d)))
    return torch.einsum("yj,bjic,xi->byxc", weights, coarse, weights)


def piecewise_affine_field(source_points: Tensor, target_points: Tensor, size: int, *, oversampling: int = 1) -> Tensor:
    """The field [B, kS, kS, 2] that is affine on every triangle between landmarks (Delaunay, on the target).

    Beyond the landmarks the triangles reach to a frame around the target whose corners move with the best similarity.
    Which triangle a pixel lies in is found on the CPU; positions are computed on the points' device and are
    differentiable in both arguments.
    """
    similarity = similarity_from_points(source_points, target_points)
    frame = _frame(target_points, size)
    target = torch.cat((target_points, frame), 1)
    source = torch.cat((source_points, transform_points(invert_affine(similarity), frame)), 1)
    fields = [_piecewise_one(s, t, size, oversampling) for s, t in zip(source, target, strict=True)]
    return torch.stack(fields)


def _frame(points: Tensor, size: int) -> Tensor:
    """Twelve points around both the target and its landmarks, [B, 12, 2]."""
    margin = size / 8
    low = torch.minimum(points.amin(1), torch.zeros_like(points[:, 0])) - margin
    high = torch.maximum(points.amax(1), torch.full_like(points[:, 0], size - 1)) + margin
    t = torch.arange(4, device=points.device, dtype=points.dtype) / 4
    zero, one = torch.zeros_like(t), torch.ones_like(t)
    unit = torch.cat((torch.stack((t, zero), 1), torch.stack((one, t), 1), torch.stack((1 - t, one), 1)))
    unit = torch.cat((unit, torch.stack((zero, 1 - t), 1)))
    return low[:, None] + unit * (high - low)[:, None]


def _triangles(points: np.ndarray) -> np.ndarray:
    """Delaunay triangles [T, 3] of points [N, 2]; a repeated point is used once."""
    low, high = points.min(0) - 8, points.max(0) + 8
    plane = cv2.Subdiv2D()
    plane.initDelaunay((int(low[0]), int(low[1]), int(high[0] - low[0]) + 2, int(high[1] - low[1]) + 2))
    for x, y in points:
        plane.insert((float(x), float(y)))
    corners = np.asarray(plane.getTriangleList(), np.float32).reshape(-1, 3, 2)
    distance = np.abs(corners[:, :, None] - points[None, None]).max(-1)
    triangles = distance.argmin(-1)[(distance.min(-1) < 1e-3).all(-1)]
    edges = points[triangles[:, 1:]] - points[triangles[:, :1]]
    return triangles[np.abs(np.linalg.det(edges)) > 1e-6]


def _piecewise_one(source: Tensor, target: Tensor, size: int, oversampling: int) -> Tensor:
    triangles = _triangles(target.detach().float().cpu().numpy())
    labels = _label_map(target.detach().float().cpu().numpy()[triangles], size, oversampling).to(target.device)
    t, s = target[torch.from_numpy(triangles).to(target.device)], source[torch.from_numpy(triangles).to(target.device)]
    edges = t[:, 1:] - t[:, :1]
    # rows: p = t0 + [a, b] @ edges, so position = s0 + (p - t0) @ edges^-1 @ (source edges)
    linear = torch.linalg.solve(edges.double(), (s[:, 1:] - s[:, :1]).double()).to(target.dtype)
    shift = s[:, 0] - (t[:, :1] @ linear)[:, 0]
    grid = pixel_grid(size, size, oversampling=oversampling, device=target.device, dtype=target.dtype)
    a = linear[labels]
    return grid[..., :1] * a[..., 0, :] + grid[..., 1:] * a[..., 1, :] + shift[labels]


def _label_map(triangles: np.ndarray, size: int, oversampling: int) -> Tensor:
    """Which triangle [T, 3, 2] each (sub)pixel lies in, [kS, kS] int64."""
    bits = 6
    corners = ((triangles + 0.5) * oversampling - 0.5) * (1 << bits)
    labels = np.zeros((size * oversampling, size * oversampling), np.int32)
    for i, corner in enumerate(np.round(corners).astype(np.int32)):
        cv2.fillConvexPoly(labels, corner, i, lineType=cv2.LINE_8, shift=bits)
    _correct_outlines(labels, triangles, pixel_grid(size, size, oversampling=oversampling).numpy())
    return torch.from_numpy(labels).long()


def _correct_outlines(labels: np.ndarray, triangles: np.ndarray, grid: np.ndarray) -> None:
    """Give pixels on an outline, which OpenCV paints for both sides, to the triangle that they lie in."""
    inverse = np.linalg.inv(triangles[:, 1:] - triangles[:, :1]).astype(np.float32)
    square = np.ones((3, 3), np.uint8)
    places = labels.astype(np.float32)
    edge = np.nonzero(cv2.dilate(places, square) != cv2.erode(places, square))
    kind, points = labels[edge], grid[edge]
    wrong = _depth(points, triangles[kind, 0], inverse[kind]) < -1e-4
    kind[wrong] = _depth(points[wrong][:, None], triangles[None, :, 0], inverse[None]).argmax(-1)
    labels[edge] = kind


def _depth(points: np.ndarray, corner: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """The smallest barycentric coordinate of points [..., 2] in triangles given by a corner and inverted edges."""
    x, y = points[..., 0] - corner[..., 0], points[..., 1] - corner[..., 1]
    a = x * inverse[..., 0, 0] + y * inverse[..., 1, 0]
    b = x * inverse[..., 0, 1] + y * inverse[..., 1, 1]
    return np.minimum(np.minimum(a, b), 1 - a - b)


def warp_field(
    source_points: Tensor,
    target_points: Tensor,
    size: int,
    method: str = "tps",
    *,
    smoothing: float = SMOOTHING,
    oversampling: int = 1,
) -> Tensor:
    """The field [B, kS, kS, 2] of one of :data:`METHODS` for landmarks [B, N, 2] of photo and target."""
    if method == "similarity":
        return matrix_field(similarity_from_points(source_points, target_points), size, oversampling=oversampling)
    if method == "affine":
        return matrix_field(affine_from_points(source_points, target_points), size, oversampling=oversampling)
    if method == "tps":
        return thin_plate_spline_field(
            source_points, target_points, size, smoothing=smoothing, oversampling=oversampling
        )
    if method == "piecewise":
        return piecewise_affine_field(source_points, target_points, size, oversampling=oversampling)
    raise ArgumentError("method", method, f"use one of {', '.join(METHODS)}")
