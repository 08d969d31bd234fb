"""Tiny but real networks with random weights, and pictures to put through them: seconds become milliseconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from idfsr_core.bundle import ModelCard, save_bundle
from idfsr_core.diffusion.config import DenoiserConfig
from idfsr_core.diffusion.denoiser import Denoiser
from idfsr_core.faces.compact import AnalyzerNetworks
from idfsr_core.faces.face import Face
from idfsr_core.faces.networks import DetectorConfig, LandmarkConfig
from idfsr_core.identity.network import EncoderConfig, EncoderNetwork

DENOISER = DenoiserConfig(
    size=128,
    channels=(16, 32),
    attention=(False, True),
    heads=2,
    groups=8,
    token_dim=16,
    identity_dim=32,
    identity_tokens=2,
    style_dim=16,
    photo_channels=8,
)
ENCODER = EncoderConfig(
    widths=(8, 16),
    outputs=(8, 16),
    depths=(1, 1),
    kernels=(3, 3),
    strides=(8, 2),
    expansions=(2, 2),
    attention=(False, True),
    heads=2,
    dim=32,
)
FFHQ_128 = np.array([[47.87, 59.61], [79.35, 59.67], [63.78, 78.13], [49.94, 92.48], [77.9, 92.41]], np.float32)


def networks(seed: int = 0, size: int = 128) -> dict[str, torch.nn.Module]:
    """All parts of a bundle, random but the same for one seed; faces of ``size`` pixels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        points = LandmarkConfig(crop=32, widths=(4, 8, 8, 8))
        analyzer = AnalyzerNetworks(DetectorConfig(widths=(4, 8, 8, 8)), points, points)
        denoiser = Denoiser(replace(DENOISER, size=size))
        with torch.no_grad():  # layers that start at zero would make every result the same
            for parameter in denoiser.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        return {"denoiser": denoiser, "analyzer": analyzer, "encoder": EncoderNetwork(ENCODER)}


def write_bundle(path: Path, seed: int = 0, size: int = 128) -> Path:
    """A whole bundle of :func:`networks`."""
    return save_bundle(path, networks(seed, size), ModelCard(name="tiny", data="none", notes="random weights"))


def portrait(side: int = 160, seed: int = 0) -> Tensor:
    """A smooth coloured picture [1, 3, side, side] with a face-like blob; another seed looks otherwise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 6, 6, generator=generator)
    picture = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)
    y, x = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    blob = torch.exp(-4 * (x.square() + y.square()))
    return (picture * (1 - blob) + blob * torch.tensor([0.8, 0.6, 0.5]).view(1, 3, 1, 1)).clamp(0, 1)


class StubAnalyzer:
    """An analyzer that finds faces where it is told, as fractions of the picture: (centre x, centre y, width)."""

    name = "stub"

    def __init__(self, *places: tuple[float, float, float]) -> None:
        self.places = places

    def analyze(self, image: Tensor, threshold: float | None = None) -> list[Face]:
        """One face per place."""
        height, width = image.shape[-2:]
        return [stub_face(x * width, y * height, w * width, (width, height)) for x, y, w in self.places]

    def landmarks(self, image: Tensor, rough: np.ndarray) -> np.ndarray:
        """Points of a face that fills the box."""
        rough = np.asarray(rough, np.float32).reshape(-1, 2)
        centre, width = rough.mean(0), float(np.ptp(rough[:, 0]))
        face = stub_face(float(centre[0]), float(centre[1]), width, (image.shape[-1], image.shape[-2]))
        assert face.landmarks is not None
        return face.landmarks


def stub_face(x: float, y: float, width: float, image_size: tuple[int, int]) -> Face:
    """A frontal face of average proportions, about (x, y), in pixels."""
    unit = width / 64
    keypoints = (FFHQ_128 - [63.8, 76]) * unit + [x, y]
    landmarks = (dense_template() - [63.8, 76]) * unit + [x, y]
    box = np.array([x - width / 2, y - 0.65 * width, x + width / 2, y + 0.65 * width])
    return Face(box=box, score=0.9, keypoints=keypoints, landmarks=landmarks, image_size=image_size)


def dense_template() -> np.ndarray:
    """68 landmarks of a schematic face in the 128-pixel FFHQ crop, in the 300-W order."""

    def arc(cx: float, cy: float, rx: float, ry: float, start: float, stop: float, count: int) -> np.ndarray:
        angle = np.deg2rad(np.linspace(start, stop, count))
        return np.stack([cx + rx * np.cos(angle), cy + ry * np.sin(angle)], 1)

    eye = np.deg2rad([180, 240, 300, 0, 60, 120])
    rim = np.stack([5 * np.cos(eye), 2.5 * np.sin(eye)], 1)
    parts = [
        arc(63.8, 70, 33, 44, 180, 0, 17),  # jaw
        arc(47.9, 54, 9, 5, 200, 340, 5),
        arc(79.4, 54, 9, 5, 200, 340, 5),
        np.stack([np.full(4, 63.8), np.linspace(60, 78, 4)], 1),
        arc(63.8, 82, 7, 2, 180, 0, 5),
FFHQ_128[0] + rim,
        FFHQ_128[1] + rim,
        arc(63.9, 92.4, 14, 6, 180, 510, 12),
        arc(63.9, 92.4, 10, 3, 180, 495, 8),
    ]  # fmt: skip
    return np.concatenate(parts).astype(np.float32)
