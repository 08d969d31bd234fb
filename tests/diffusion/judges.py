"""A judge whose opinion can be worked out by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from idfsr_core.diffusion.judge import Judge
from idfsr_core.geometry import ffhq_template
from idfsr_core.identity.encoders import Embedded

SIZE = 64  # of the faces


class LinearEncoder:
    """A fixed linear look at the picture; differentiable, and sees every place."""

    name, hash = "linear", "0"

    def __init__(self, dim: int = 6) -> None:
        self.dim = dim
        self.network = nn.Linear(3 * 16 * 16, self.dim)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.network.reset_parameters()

    def embed(self, image: Tensor, keypoints: Tensor) -> Embedded:
        seen = self.network(F.adaptive_avg_pool2d(image, 16).flatten(1) - 0.5)
        return Embedded(
            vectors=F.normalize(seen + 1e-3 * keypoints.mean((1, 2))[:, None]), quality=seen.new_ones(len(seen))
        )


def linear_judge(dim: int = 6) -> Judge:
    """Faces of any size, always in the usual place; vectors of ``dim`` numbers."""
    find = lambda faces: ffhq_template(faces.shape[-1]).float().expand(len(faces), -1, -1)
    return Judge(encoder=LinearEncoder(dim), find=find)  # pyright: ignore[reportArgumentType]
