"""Who tells how much a face looks like the person, and how it would have to change to look more so.

The denoiser and the steering ask the same judge: an identity encoder, and what finds the face for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from ..geometry import ffhq_template
from ..gradients import differentiable

if TYPE_CHECKING:
    from ..faces.compact import CompactAnalyzer
    from ..identity.encoders import IdentityEncoder

CHUNK = 8  # faces at once: bounds the memory of the gradients
STEEPEST = 4.0  # times the root mean square: largest entry of a slope


@dataclass(frozen=True, kw_only=True, eq=False)
class Judge:
    """A differentiable encoder that knows where faces are."""

    encoder: IdentityEncoder
    find: Callable[[Tensor], Tensor]  # faces [B, 3, S, S] in 0..1 -> their five keypoints [B, 5, 2] in pixels
    leads: bool = True  # the denoiser may go by the slope; False: only the steering asks, and few steps of it help

    def slope(self, faces: Tensor, identity: Tensor) -> Tensor:
        """Which change of each pixel makes faces more like their identity vectors: the gradient of the cosine.

        Works inside ``torch.inference_mode()`` too, and gives equal results for a face alone and among others.

        Args:
            faces: [B, 3, S, S], 0..1.
            identity: [B, D]; of any length, all zero: nobody is looked for, and the slope is zero.

        Returns:
            [B, 3, S, S] of unit mean square in each face, peaks cut off at STEEPEST; without a gradient.
        """
        result = torch.zeros_like(faces, dtype=torch.float32)
        known = identity.norm(dim=1) > 0
        if not bool(known.any()):
            return result
        with differentiable(getattr(self.encoder, "network", None)):
            # Clones: what was made in inference mode takes part in no gradient.
            points = self.find(faces.detach().clone()).to(faces)
            parts = (each[known].detach().clone().split(CHUNK) for each in (faces, points, identity))
            slopes = torch.cat([self._slope(*part) for part in zip(*parts, strict=True)])
        result[known] = slopes
        return result

    def _slope(self, faces: Tensor, keypoints: Tensor, identity: Tensor) -> Tensor:
        seen = faces.requires_grad_(True)
        vectors = self.encoder.embed(seen, keypoints).vectors.float()
        (slope,) = torch.autograd.grad((vectors * F.normalize(identity.float())).sum(), seen)
        size = slope.square().mean((1, 2, 3), keepdim=True).sqrt()
        return (slope.float() / size.clamp_min(1e-12)).clamp(-STEEPEST, STEEPEST).detach()


def judge_by(encoder: IdentityEncoder, analyzer: CompactAnalyzer) -> Judge:
    """A judge who sees a crop's face where it is drawn, wherever the landmarks of the LR face were."""

    def find(faces: Tensor) -> Tensor:
        usual = ffhq_template(faces.shape[-1]).float().expand(len(faces), -1, -1)
        return analyzer.crop_points(faces, usual).keypoints

    return Judge(encoder=encoder, find=find)
