"""Hints (FitNets, arXiv 1412.6550): the encoder learns its teacher's features segment by segment, not the answer alone.

At the beginning the teacher's own features are what the next segment sees ("teacher forcing", Williams and Zipser
1989): then all segments learn at once, each its part of the way, instead of the later ones waiting for the earlier.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..errors import ArgumentError
from ..identity.network import FACE_SIZE, EncoderNetwork
from .encoder_data import Teacher

_LEAST_VARIANCE = 1e-3  # of a channel; one that hardly changes must not rule the others


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a teacher says of aligned faces."""

    embedding: Tensor  # [B, D] float32, unit norm
    features: tuple[Tensor, ...] = ()  # [B, H, W, C] for each segment of the learner; none from an embedding alone


@runtime_checkable
class FeatureTeacher(Teacher, Protocol):
    """A teacher that shows its features too."""

    def answer(self, faces: Tensor) -> Answer:
        """Aligned faces [B, 3, 112, 112] in 0..1 -> features and embedding, without gradients."""
        ...

    def embed(self, faces: Tensor) -> Tensor:
        """The same faces -> embeddings [B, D] of any length, with gradients."""
        ...


def ask(teacher: Teacher, faces: Tensor) -> Answer:
    """What a teacher of either kind says of aligned faces [B, 3, 112, 112] in 0..1.

    One that takes bytes sees the faces rounded to them: by half a grey level at most, which no teacher notices.
    """
    if isinstance(teacher, FeatureTeacher):
        return teacher.answer(faces)
    pixels = (faces * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    vectors = torch.from_numpy(np.asarray(teacher.embed_aligned(pixels), np.float32))
    return Answer(embedding=functional.normalize(vectors.to(faces.device)))


def check_teacher(teacher: Teacher, network: EncoderNetwork) -> None:
    """Raise :class:`ArgumentError` where the answers of a teacher do not fit a network."""
    face = torch.full((1, 3, FACE_SIZE, FACE_SIZE), 0.5, device=network.norm.weight.device)
    said = ask(teacher, face)
    if said.embedding.shape[1] != network.config.dim:
        raise ArgumentError("encoder's dim", network.config.dim, f"give {said.embedding.shape[1]}, the teacher's")
    with torch.no_grad():
        mine = [tuple(f.shape[1:]) for f in network.with_features(face)[2]]
    theirs = [tuple(f.shape[1:]) for f in said.features]
    if theirs and theirs != mine:
        raise ArgumentError("encoder's features", mine, f"give outputs and strides that make {theirs}, the teacher's")


def fed(features: Sequence[Tensor], coin: Tensor) -> Callable[[int, Tensor], Tensor] | None:
    """For :meth:`EncoderNetwork.with_features`: the teacher's features in place of the network's own.

    Args:
        features: the teacher's, about the first n faces, [n, H, W, C] for each segment.
        coin: [n] bool, the faces of which the teacher's are fed.

    Returns:
        None where no face has any.
    """
    if not features or not coin.any():
        return None

    def feed(number: int, own: Tensor) -> Tensor:
        given = features[number]
        mixed = torch.where(coin[:, None, None, None], given, own[: len(given)])
        return torch.cat((mixed, own[len(given) :]))

    return feed


def hint_loss(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Squared error of the features over the variance of the teacher's channel, summed over the segments.

    Args:
        found: [B, H, W, C] for each segment.
        wanted: the teacher's of the first n faces, [n, H, W, C] each; the other faces take no part.

    Returns:
        A scalar; the mean of a channel, for all faces and places, costs 1 per segment. 0 where there are no hints.
    """
    if not wanted or len(wanted[0]) == 0:
        return torch.zeros((), device=found[0].device)
    errors = [_relative_error(own[: len(aim)].float(), aim) for own, aim in zip(found, wanted, strict=True)]
    return torch.stack(errors).sum()


def _relative_error(found: Tensor, wanted: Tensor) -> Tensor:
    variance = wanted.var((0, 1, 2), correction=0, keepdim=True).clamp_min(_LEAST_VARIANCE)
    return ((found - wanted).square() / variance).mean()
