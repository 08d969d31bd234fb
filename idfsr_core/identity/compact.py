"""The shipped encoder: ours, small, made for poor photos, and differentiable from the picture on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import FileFormatError
from .aligning import align_faces
from .encoders import Embedded
from .hashing import weights_hash
from .network import EncoderConfig, EncoderNetwork, pooled_features

if TYPE_CHECKING:
    from .photo_match import PhotoMatch


class CompactEncoder:
    """An :class:`EncoderNetwork` behind the interface of all encoders; frozen.

    Args:
        network: trained weights; set to evaluation mode, its parameters take no gradient any more.
        match: tells by its features which of a person's photos suits a small face; on the CPU. One that was trained
            with other weights is left out.
    """

    name = "compact"

    def __init__(self, network: EncoderNetwork, match: PhotoMatch | None = None) -> None:
        self.network = network.eval().requires_grad_(False)
        self.hash = weights_hash(network.state_dict())
        self.match = match if match is not None and match.config.encoder == self.hash else None

    @staticmethod
    def from_state(config: EncoderConfig | Mapping, state: Mapping[str, Tensor]) -> CompactEncoder:
        """Build the network and fill it.

        Raises:
            ArgumentError: the configuration makes no sense.
            FileFormatError: the tensors do not fit it or are not finite.
        """
        config = config if isinstance(config, EncoderConfig) else EncoderConfig.from_dict(dict(config))
        network = EncoderNetwork(config)
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise FileFormatError("encoder weights", reason, "give the weights of this configuration") from error
        if not all(bool(value.isfinite().all()) for value in state.values()):
            raise FileFormatError("encoder weights", "not finite", "train again or take another checkpoint")
        return CompactEncoder(network)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.network.config.dim

    def to(self, device: str | torch.device) -> CompactEncoder:
        """Move the weights; returns itself."""
        self.network.to(device)
        return self

    def embed(self, image: Tensor, keypoints: Tensor) -> Embedded:
        """Embed one face of each picture; see :class:`IdentityEncoder`. Gradients reach the picture and the points.

        The quality is the predicted cosine between this vector and that of a clean copy of the photo. Both are means
        over the face and its mirror image, which are the same person: the mean is nearer to the teacher's vector
        (RESULTS.md, "The identity encoder").
        """
        weight = self.network.embedding.weight
        faces = align_faces(image, keypoints).to(weight.device, weight.dtype)
        vectors, quality = self.network(torch.cat([faces, faces.flip(-1)]))
        both = functional.normalize(vectors.float()).unflatten(0, (2, -1)).sum(0)
        return Embedded(vectors=functional.normalize(both), quality=quality.float().unflatten(0, (2, -1)).mean(0))

    def features(self, image: Tensor, keypoints: Tensor) -> Tensor:
        """What each segment makes of one face of each picture, averaged over all places, side by side: [B, C] float32.

        Args:
            image: [B, 3, H, W], RGB, 0..1.
            keypoints: [B, 5, 2] in its pixels.
        """
        weight = self.network.embedding.weight
        faces = align_faces(image, keypoints).to(weight.device, weight.dtype)
        _, _, found = self.network.with_features(faces)
        return pooled_features(found)
