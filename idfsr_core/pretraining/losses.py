"""What the denoiser is taught by."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..identity.aligning import align_faces
from ..identity.edgeface import EdgeFaceTorch


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """Weights of the terms; pictures are in -1..1. All values are ours."""

    pixel: float = 1.0  # mean absolute error
    gradient: float = 0.5  # mean absolute error of horizontal and vertical differences: keeps edges
    identity: float = 1.0  # 1 - cosine of the embedding with that of the true face
    feature: float = 0.2  # distance of the encoder's early features: keeps texture


class EncoderLoss:
    """Identity and feature distance by a frozen, differentiable encoder, in one forward."""

    def __init__(self, encoder: EdgeFaceTorch) -> None:
        self.encoder = encoder
        self._seen: list[Tensor] = []
        stages = encoder.backbone.get_submodule("stages")
        for stage in list(stages.children())[:2]:
            stage.register_forward_hook(lambda _module, _inputs, output: self._seen.append(output))

    def __call__(self, estimate: Tensor, target: Tensor, keypoints: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures [B, 3, S, S] in 0..1, keypoints [B, 5, 2] -> identity loss [B], feature loss [B]."""
        with torch.no_grad():
            wanted, wanted_features = self._look(target, keypoints)
        found, features = self._look(estimate, keypoints)
        identity = 1 - (found * wanted).sum(1)
        feature = sum(
            (_normalised(a.float()) - _normalised(b.float())).abs().mean((1, 2, 3))
            for a, b in zip(features, wanted_features, strict=True)
        )
        return identity, torch.as_tensor(feature)

    def _look(self, image: Tensor, keypoints: Tensor) -> tuple[Tensor, list[Tensor]]:
        self._seen = []
        embedding = F.normalize(self.encoder(align_faces(image, keypoints)))
        return embedding, self._seen


def _normalised(features: Tensor) -> Tensor:
    """Each channel to unit mean square over the batch and the places, so that no channel rules the others."""
    return features / features.detach().square().mean((0, 2, 3), keepdim=True).sqrt().clamp_min(1e-4)


def reconstruction_loss(
    estimate: Tensor, target: Tensor, keypoints: Tensor, settings: LossSettings, encoder: EncoderLoss | None
) -> dict[str, Tensor]:
    """The terms and their weighted sum under "loss".

    Args:
        estimate, target: [B, 3, S, S] in -1..1.
        keypoints: [B, 5, 2] in crop pixels.
        settings: the weights.
        encoder: None leaves the two encoder terms out.
    """
    terms = {"pixel": (estimate - target).abs().mean(), "gradient": _gradient_error(estimate, target)}
    if encoder is not None:
        identity, feature = encoder((estimate + 1) / 2, (target + 1) / 2, keypoints)
        terms |= {"identity": identity.mean(), "feature": feature.mean()}
    total = sum(getattr(settings, name) * value for name, value in terms.items())
    return {"loss": torch.as_tensor(total), **terms}


def _gradient_error(a: Tensor, b: Tensor) -> Tensor:
    difference = a - b
    return difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()
