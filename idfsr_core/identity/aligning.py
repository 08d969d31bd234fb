"""Faces as the encoders want them: 112x112 pixels, five keypoints on the ArcFace template."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ArgumentError
from ..geometry import arcface_template, similarity_from_points, warp_affine
from .network import FACE_SIZE


def align_faces(image: Tensor, keypoints: Tensor, *, padding: str = "border") -> Tensor:
    """Cut aligned faces out of pictures; gradients reach the picture and the keypoints.

    Bilinear where the face grows, an area average where it shrinks.

    Args:
        image: [B, 3, H, W] float, RGB, 0..1.
        keypoints: [B, 5, 2], or [5, 2] for every picture: eyes, nose tip, mouth corners in pixels of ``image``.
        padding: what continues a picture that ends within the face: "border", "zeros" or "reflection".

    Returns:
        [B, 3, 112, 112].

    Raises:
        ArgumentError: wrong shapes, numbers that are not finite, or five points in one place.
    """
    if image.ndim != 4 or image.shape[1] != 3 or not image.is_floating_point():
        raise ArgumentError("picture", f"{image.dtype} {tuple(image.shape)}", "give floats of shape [B, 3, H, W]")
    points = torch.as_tensor(keypoints, device=image.device)
    points = points.to(torch.float64 if points.dtype == torch.float64 and image.device.type != "mps" else torch.float32)
    if points.ndim == 2:
        points = points.expand(len(image), *points.shape)
    if points.shape != (len(image), 5, 2) or not bool(points.isfinite().all()):
        raise ArgumentError("keypoints", tuple(points.shape), f"give finite numbers of shape [{len(image)}, 5, 2]")
    target = arcface_template(FACE_SIZE).to(points).expand_as(points)
    return warp_affine(image, similarity_from_points(points, target), FACE_SIZE, padding=padding)


def jittered_keypoints(
    keypoints: Tensor, generator: torch.Generator | None, pixels: float, *, same: bool = False
) -> Tensor:
    """Keypoints moved as by an alignment that is 2 degrees, 3 percent and some pixels off (standard deviations, ours).

    Args:
        keypoints: [B, 5, 2].
        generator: of the draws, on the CPU; None takes torch's own.
        pixels: by which the middle is off, across and down.
        same: all faces are moved alike; else each by itself.
    """
    count = 1 if same else len(keypoints)
    middle = keypoints.mean(1, keepdim=True)
    grow, turn, right, down = torch.randn(4, count, 1, 1, generator=generator).to(keypoints) * keypoints.new_tensor(
        [0.03, 0.035, pixels, pixels]
    ).view(4, 1, 1, 1)
    rest = keypoints - middle
    turned = torch.stack((-rest[..., 1], rest[..., 0]), -1)
    return middle + rest * (1 + grow) + turned * turn + torch.cat((right, down), -1)
