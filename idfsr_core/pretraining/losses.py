"""What the denoiser is taught by."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..diffusion.conditioning import downsample
from ..identity.aligning import align_faces, jittered_keypoints
from ..identity.edgeface import EdgeFaceTorch


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """Weights of the terms; pictures are in -1..1. All values are ours."""

    pixel: float = 0.3  # mean absolute error; alone it answers doubt with blur, so it must not rule
    texture: float = 1.0  # difference of the local amount of detail, wherever exactly the detail lies
    agreement: float = 5.0  # mean absolute error of the LR pixels, where they are free of noise
    identity: float = 3.0  # 1 - cosine of the embedding with the aim
    vector: float = 0.7  # share of the given identity vector in the aim, 0..1; the rest is the true face's embedding
    feature: float = 0.15  # distance of the encoder's early features


class EncoderLoss:
    """Identity and feature distance by a frozen, differentiable encoder, in one forward.

    The encoder sees faces of 112 pixels, whatever the size of the pictures: it judges who it is, not the finest detail.
    """

    def __init__(self, encoder: EdgeFaceTorch) -> None:
        self.encoder = encoder
        self.device = torch.device("cpu")
        self._seen: list[Tensor] = []
        stages = encoder.backbone.get_submodule("stages")
        for stage in list(stages.children())[:2]:
            stage.register_forward_hook(self._see)

    def to(self, device: torch.device | str) -> EncoderLoss:
        """The same with the encoder moved there."""
        self.encoder, self.device = self.encoder.to(device), torch.device(device)
        return self

    def embed(self, images: Tensor, keypoints: Tensor) -> Tensor:
        """Unit embeddings [B, D] of pictures [B, 3, H, W] in 0..1 with keypoints [B, 5, 2], where the encoder is."""
        return self.encoder.embed(images.to(self.device), keypoints.to(self.device))

    def __call__(
        self,
        estimate: Tensor,
        target: Tensor,
        keypoints: Tensor,
        generator: torch.Generator | None = None,
        aim: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Pictures [B, 3, S, S] in 0..1, keypoints [B, 5, 2] -> identity loss [B], feature loss [B].

        ``aim`` [B, D] is added to the true face's embedding: where the vector that the denoiser was given is part of
        the aim, following it pays, whatever the photos show.

        Both pictures are seen through the same slightly wrong alignment, half of them mirrored, drawn anew each time:
        what pleases the encoder must please it from every side, and then pleases other encoders too.
        """
        keypoints = jittered_keypoints(keypoints, generator, 1.5 * target.shape[-1] / 128)
        mirror = (torch.rand(len(keypoints), generator=generator) < 0.5).to(keypoints.device)
        with torch.no_grad():
            wanted, wanted_features = self._look(target, keypoints, mirror)
        found, features = self._look(estimate, keypoints, mirror)
        if aim is not None:
            wanted = F.normalize(wanted + aim)
        identity = 1 - (found * wanted).sum(1)
        feature = sum(
            (_normalised(a.float()) - _normalised(b.float())).abs().mean((1, 2, 3))
            for a, b in zip(features, wanted_features, strict=True)
        )
        return identity, torch.as_tensor(feature)

    def _see(self, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        self._seen.append(output)

    def _look(self, image: Tensor, keypoints: Tensor, mirror: Tensor) -> tuple[Tensor, list[Tensor]]:
        self._seen = []
        faces = align_faces(image, keypoints)
        embedding = F.normalize(self.encoder(torch.where(mirror[:, None, None, None], faces.flip(-1), faces)))
        return embedding, self._seen


def _normalised(features: Tensor) -> Tensor:
    """Each channel to unit mean square over the batch and the places, so that no channel rules the others."""
    return features / features.detach().square().mean((0, 2, 3), keepdim=True).sqrt().clamp_min(1e-4)


def reconstruction_loss(
    estimate: Tensor,
    target: Tensor,
    keypoints: Tensor,
    lr: Tensor | None,
    settings: LossSettings,
    encoder: EncoderLoss | None,
    generator: torch.Generator | None = None,
    vector: Tensor | None = None,
) -> dict[str, Tensor]:
    """The terms and their weighted sum under "loss".

    Args:
        estimate, target: [B, 3, S, S] in -1..1.
        keypoints: [B, 5, 2] in crop pixels.
        lr: [B, 3, h, h] in -1..1, where the estimate has to agree with it, else None.
        settings: the weights.
        encoder: None leaves the two encoder terms out.
        generator: of the encoder's jitter.
        vector: [B, D] the identity vectors in the encoder's space, zero where there is none.
    """
    terms = {"pixel": (estimate - target).abs().mean(), "texture": _texture_error(estimate, target)}
    agreement = estimate.new_zeros(()) if lr is None else (downsample(estimate, lr.shape[-1]) - lr).abs().mean()
    terms["agreement"] = agreement
    if encoder is not None:
        aim = None if vector is None or not settings.vector else vector * (settings.vector / (1 - settings.vector))
        identity, feature = encoder((estimate + 1) / 2, (target + 1) / 2, keypoints, generator, aim)
        terms |= {"identity": identity.mean(), "feature": feature.mean()}
    total = sum(getattr(settings, name) * value for name, value in terms.items())
    return {"loss": torch.as_tensor(total), **terms}


def _texture_error(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of the mean absolute slope in windows of a sixteenth of the side, at least 8 pixels.

    The slope itself is that from pixel to pixel at any size: sharp photos have about the same at every size.
    """
    return (_slope(a) - _slope(b)).abs().mean()


def _slope(image: Tensor) -> Tensor:
    window = max(8, image.shape[-1] // 16)
    across, down = image.diff(dim=-1)[..., :-1, :].abs(), image.diff(dim=-2)[..., :, :-1].abs()
    return F.avg_pool2d(across + down, window, window // 2)
