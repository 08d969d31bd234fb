"""The sample people, who do not exist, by name: see ``assets/samples/README.md``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .errors import ArgumentError
from .geometry import warp_affine
from .images import down, list_images, read_image
from .options import SAMPLE_PEOPLE as PEOPLE

SAMPLES = Path(__file__).parent / "assets" / "samples"
PORTRAIT_SCALE = 8.0
FRAMES = 12
FRAME_SIZE = (160, 120)  # width, height


def photos(name: str) -> list[Path]:
    """The photo files of a person; the first is the truth, the others are references.

    Raises:
        ArgumentError: nobody of that name.
    """
    if name not in PEOPLE:
        raise ArgumentError("person", name, f"choose one of {', '.join(PEOPLE)}")
    return list_images(SAMPLES / name)


def references(name: str) -> Tensor:
    """The person's good photos, [5, 3, 192, 192]."""
    return torch.cat([read_image(path) for path in photos(name)[1:]])


def truth(name: str) -> Tensor:
    """The portrait that all bad pictures of the person were made from, [1, 3, 192, 192]."""
    return read_image(photos(name)[0])


def small_portrait(name: str, scale: float = PORTRAIT_SCALE) -> Tensor:
    """The truth made smaller by area average, [1, 3, 192 / scale, 192 / scale]: at 8x a face of about 8 px."""
    return down(truth(name), scale)


def group() -> Tensor:
    """All three in one picture, [1, 3, 176, 256]; the faces are about 16 px wide."""
    return read_image(SAMPLES / "scene.jpg")


def frames(name: str, count: int = FRAMES) -> Tensor:
    """A short film [count, 3, 120, 160]: the camera turns over the group and comes nearer; the person stays in view."""
    scene = group()
    matrices = torch.from_numpy(np.stack([_view(name, place, scene.shape[-1]) for place in np.linspace(0, 1, count)]))
    width, height = FRAME_SIZE
    return torch.cat([warp_affine(scene, each[None], (height, width), mode="bicubic") for each in matrices]).clamp(0, 1)


def _view(name: str, place: float, scene_width: int) -> np.ndarray:
    """Scene -> frame, [2, 3], at ``place`` of the way: pans from right to left of the person, zooms by a sixth."""
    if name not in PEOPLE:
        raise ArgumentError("person", name, f"choose one of {', '.join(PEOPLE)}")
    keypoints = np.array(json.loads((SAMPLES / "samples.json").read_text(encoding="utf-8"))["scene"][name])
    x, y = keypoints.mean(0)
    zoom = 0.9 + 0.15 * place
    width, height = np.array(FRAME_SIZE) / zoom
    left = np.clip(x - width * (0.7 - 0.4 * place), 0, scene_width - width)
    top = max(0.0, y - height * (0.45 + 0.05 * np.sin(2 * np.pi * place)))
    return np.array([[zoom, 0, -zoom * left], [0, zoom, -zoom * top]])
