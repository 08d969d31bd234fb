"""Faces on which a gradient through the encoder would end, so that the teacher can be asked about exactly those.

Fitting and guidance follow the encoder's gradient. Away from all photos that leads to where the encoder sees a person
and its teacher does not. So the encoder leads itself there while it learns, and hears what its teacher thinks of it:
examples from the learner's own course, as in DAgger (arXiv 1011.0686).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..identity.network import FACE_SIZE, EncoderNetwork

# All figures are ours.
_GRIDS = (14, 28, 28, 56)  # sides of the grid at which the face changes: coarse, as what a denoiser changes
_STEP = (0.005, 0.04)  # root mean square of the change by one step, in grey values 0..1
_MOST_STEPS = 2


def steered(network: EncoderNetwork, faces: Tensor, goals: Tensor, rng: np.random.Generator) -> Tensor:
    """Faces moved by one or two small steps along the network's own gradient towards other people.

    Args:
        network: the learner, as it is now.
        faces: [B, 3, 112, 112] in 0..1.
        goals: [B, D], unit norm: the vectors towards which each of them moves.
        rng: draws the grid, the size of the steps and whether they are grey or of limited height.

    Returns:
        Faces [B, 3, 112, 112] in 0..1, without gradients.
    """
    grid = int(rng.choice(_GRIDS))
    for _ in range(int(rng.integers(1, _MOST_STEPS + 1))):
        slope = _slope(network, faces, goals, grid)
        if rng.random() < 0.5:
            slope = slope.mean(1, keepdim=True).expand_as(slope)
        slope = slope / slope.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-12)
        if rng.random() < 0.5:
            slope = slope.clamp(-1, 1)  # else few places take the most of it
        faces = (faces + float(rng.uniform(*_STEP)) * _enlarged(slope)).clamp(0, 1).detach()
    return faces


def _slope(network: EncoderNetwork, faces: Tensor, goals: Tensor, grid: int) -> Tensor:
    """[B, 3, grid, grid]: the gradient of the cosine to the goals with respect to a change at that grid."""
    change = torch.zeros(len(faces), 3, grid, grid, device=faces.device, requires_grad=True)
    embedding = network((faces + _enlarged(change)).clamp(0, 1))[0]
    (slope,) = torch.autograd.grad((functional.normalize(embedding) * goals).sum(), change)
    return slope


def _enlarged(change: Tensor) -> Tensor:
    return functional.interpolate(change, size=(FACE_SIZE, FACE_SIZE), mode="bicubic")
