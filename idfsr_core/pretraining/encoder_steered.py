"""Small steps along a gradient through an encoder, and what they change: the learner is to see the same change.

Steering and fitting follow the gradient of the encoder. One that learned its teacher's vectors alone has gradients of
its own, which please it and nobody else. So faces are led a small step towards other people, and the learner's vector
is to move as the teacher's does: a derivative in one direction, learned by a finite difference (Sobolev training,
arXiv 1706.04859).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..identity.network import FACE_SIZE

# All figures are ours.
_GRIDS = (20, 28, 28, 40)  # sides of the grid at which the face changes: coarse, as what steering changes
_STEP = (0.004, 0.012)  # root mean square of the change, in grey values 0..1
_GREY = 0.8  # share of the batches where lightness alone changes
_MOST = 3.0  # times the root mean square: largest change of one cell
_LEAST_CHANGE = 1e-4  # of a unit vector, squared: below it the teacher sees nothing that could be learned

Embed = Callable[[Tensor], Tensor]
"""Aligned faces [B, 3, 112, 112] in 0..1 -> embeddings [B, D] of any length, with gradients."""


def steered(embed: Embed, faces: Tensor, goals: Tensor, rng: np.random.Generator) -> Tensor:
    """Faces moved by one small step along an encoder's gradient towards other people.

    Args:
        embed: whose gradient it is.
        faces: [B, 3, 112, 112] in 0..1.
        goals: [B, D], unit norm: the vectors towards which each of them moves.
        rng: draws the grid, the size of the step and whether it is grey.

    Returns:
        Faces [B, 3, 112, 112] in 0..1, without gradients.
    """
    grid, channels = int(rng.choice(_GRIDS)), 1 if rng.random() < _GREY else 3
    change = torch.zeros(len(faces), channels, grid, grid, device=faces.device, requires_grad=True)
    seen = functional.normalize(embed((faces + _enlarged(change)).clamp(0, 1)).float())
    (slope,) = torch.autograd.grad((seen * goals).sum(), change)
    slope = slope / slope.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-12)
    step = float(rng.uniform(*_STEP)) * _enlarged(slope.clamp(-_MOST, _MOST))
    return (faces + step).clamp(0, 1).detach()


def difference_loss(found: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor]) -> Tensor:
    """Squared error of the change of the unit vector, over the square of the teacher's change; 1 for no change at all.

    Args:
        found: the learner's unit vectors [B, D] before and after the step.
        wanted: the teacher's.

    Returns:
        A scalar, the mean over the faces.
    """
    mine, theirs = found[1] - found[0], wanted[1] - wanted[0]
    error, size = (mine - theirs).square().sum(1), theirs.square().sum(1)
    return (error / (size + _LEAST_CHANGE)).mean()


def _enlarged(change: Tensor) -> Tensor:
    size = (FACE_SIZE, FACE_SIZE)
    return functional.interpolate(change, size=size, mode="bicubic").expand(-1, 3, -1, -1)
