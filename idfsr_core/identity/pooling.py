"""Several photos of one person made one embedding: the better photo counts more, a stranger does not count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import ArgumentError, DifferentPeopleError
from .embedding import EncoderId, IdentityEmbedding, similarity_matrix
from .glimpse import SIDES, SmallViews


@dataclass(frozen=True, kw_only=True)
class PoolingSettings:
    """How photos are weighted and strangers told.

    The thresholds were read off the 64 validation people, 200 draws each, one photo of somebody else among five (four
    own ones): with the compact encoder it alone was dropped in 90%, kept in 4%, and without a stranger an own photo
    was dropped in 4%; with EdgeFace-XS and mbf_y1 98% or more, at most 1%, and at most .5%.
    """

    stranger: float = 0.2
    """Cosine between (the mean of) some photos and the others' mean below which they are not the same person."""
    pair: float = 0.05
    """The same where there are two photos at all: no third one can decide, and a wrong no refuses the work. Of all
    validation pairs of one person .6% (compact) or .05% (the others) fall below it, of two people 56% or 70%."""
    sharpen: float = 1.0
    """Exponent on the quality before it weights a photo; 0 weights all alike."""
    floor: float = 0.02
    """Least weight of a photo relative to the best, so that a poor photo is not nothing."""
    check: bool = True
    """Look for strangers at all."""

    def __post_init__(self) -> None:
        if not (-1 <= self.stranger <= 1 and -1 <= self.pair <= 1) or self.sharpen < 0 or not 0 < self.floor <= 1:
            raise ArgumentError("PoolingSettings", self, "give thresholds in -1..1, sharpen >= 0 and 0 < floor <= 1")


@dataclass(frozen=True, kw_only=True)
class PhotoVerdict:
    """What became of one photo."""

    name: str
    kept: bool
    weight: float  # share of the pooled embedding, 0..1; 0 where dropped
    quality: float  # as the encoder told it
    agreement: float  # cosine with the weighted mean of the other kept photos; 1 where there are none


@dataclass(frozen=True, kw_only=True, eq=False)
class PoolingReport:
    """How the embedding came about."""

    photos: tuple[PhotoVerdict, ...]
    similarity: Tensor  # [N, N] cosines between the photos

    @property
    def kept(self) -> tuple[int, ...]:
        """Indices of the photos that went in."""
        return tuple(i for i, photo in enumerate(self.photos) if photo.kept)

    @property
    def dropped(self) -> tuple[int, ...]:
        """Indices of the photos that were left out as strangers."""
        return tuple(i for i, photo in enumerate(self.photos) if not photo.kept)

    def notes(self) -> tuple[str, ...]:
        """One sentence for each photo left out."""
        left_out = (photo for photo in self.photos if not photo.kept)
        return tuple(f"{p.name} left out: shows another person (similarity {p.agreement:.2f})" for p in left_out)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pooled:
    """The result of :func:`pool`."""

    identity: IdentityEmbedding
    report: PoolingReport


def pool(
    vectors: Tensor,
    quality: Tensor,
    encoder: EncoderId,
    *,
    names: Sequence[str] | None = None,
    settings: PoolingSettings | None = None,
    small: Tensor | None = None,
) -> Pooled:
    """Pool the embeddings of N photos of one person.

    The photos are grouped by merging the two groups whose weighted means are most alike, until none are alike enough
    (agglomerative clustering with centroid linkage). A group with more than half of the photos is the person, and
    everything else is a stranger. A mean of several photos is a better measure than any of them, so a single poor
    photo is judged by all the others together. The embedding is the mean over the person's group, weighted by quality.

    Args:
        vectors: [N, D], unit norm, N >= 1.
        quality: [N], 0..1, more is better.
        encoder: what made the vectors.
        names: what to call the photos in the report; "photo 1" and so on where absent.
        settings: weights and threshold.
        small: [N, V, D], each photo's :func:`~idfsr_core.identity.glimpse.view_small`, pooled with the same weights.

    Raises:
        ArgumentError: no photos, shapes that do not fit, numbers that are not finite.
        DifferentPeopleError: no group has more than half of the photos; its text lists the similarities.
    """
    settings = settings or PoolingSettings()
    vectors = vectors.detach().to("cpu", torch.float32)
    quality = quality.detach().to("cpu", torch.float32)
    labels = _names(names, vectors, quality)
    vectors = functional.normalize(vectors, dim=1)
    raw = quality.clamp(min=0) ** settings.sharpen
    raw = raw.clamp(min=settings.floor * max(float(raw.max()), 1e-6))
    threshold = settings.pair if len(vectors) == 2 else settings.stranger
    kept = _largest_group(vectors, raw, threshold) if settings.check else list(range(len(vectors)))
    if 2 * len(kept) <= len(vectors):
        raise _different_people(labels, similarity_matrix(vectors))
    weights = torch.zeros_like(raw)
    weights[kept] = raw[kept] / raw[kept].sum()
    identity = IdentityEmbedding(
        vector=functional.normalize(weights @ vectors, dim=0),
        encoder=encoder.name,
        encoder_hash=encoder.hash,
        photos=len(kept),
        kind="single" if len(kept) == 1 else "pooled",
        small=None if small is None else SmallViews(sides=SIDES, vectors=torch.einsum("n,nvd->vd", weights, small)),
    )
    verdicts = _verdicts(labels, vectors, quality, weights)
    return Pooled(identity=identity, report=PoolingReport(photos=verdicts, similarity=similarity_matrix(vectors)))


def _names(names: Sequence[str] | None, vectors: Tensor, quality: Tensor) -> list[str]:
    """Names for the photos; raises where the arguments do not fit."""
    count = len(vectors)
    if vectors.ndim != 2 or count == 0 or quality.shape != (count,):
        shapes = f"vectors {tuple(vectors.shape)}, quality {tuple(quality.shape)}"
        raise ArgumentError("photos to pool", shapes, "give [N, D] and [N] with at least one photo")
    if not bool(vectors.isfinite().all() and quality.isfinite().all() and (vectors.norm(dim=1) > 0).all()):
        raise ArgumentError("photos to pool", "not finite or zero", "leave out photos that cannot be embedded")
    labels = [f"photo {i + 1}" for i in range(count)] if names is None else list(names)
    if len(labels) != count:
        raise ArgumentError("names", f"{len(labels)} for {count} photos", "give one name per photo")
    return labels


def _largest_group(vectors: Tensor, weights: Tensor, threshold: float) -> list[int]:
    """Indices of the largest group of photos of one person; the heavier one among groups of one size."""
    groups = [[i] for i in range(len(vectors))]
    sums = vectors * weights[:, None]
    while len(groups) > 1:
        alike = similarity_matrix(sums).fill_diagonal_(-2)
        first, second = divmod(int(alike.argmax()), len(groups))
        if alike[first, second] < threshold:
            break
        first, second = min(first, second), max(first, second)
        groups[first] = groups[first] + groups.pop(second)
        sums[first] += sums[second]
        sums = torch.cat((sums[:second], sums[second + 1 :]))
    return sorted(max(groups, key=lambda group: (len(group), float(weights[group].sum()))))


def _verdicts(labels: list[str], vectors: Tensor, quality: Tensor, weights: Tensor) -> tuple[PhotoVerdict, ...]:
    total = weights @ vectors
    rest = total - weights[:, None] * vectors
    alone = rest.norm(dim=1) < 1e-6
    agreement = functional.cosine_similarity(vectors, rest, dim=1).masked_fill(alone, 1.0)
    return tuple(
        PhotoVerdict(
            name=label,
            kept=float(weights[i]) > 0,
            weight=float(weights[i]),
            quality=float(quality[i]),
            agreement=float(agreement[i]),
        )
        for i, label in enumerate(labels)
    )


def _different_people(labels: list[str], matrix: Tensor) -> DifferentPeopleError:
    rows = [f"{label}: {' '.join(f'{float(v):.2f}' for v in row)}" for label, row in zip(labels, matrix, strict=True)]
    return DifferentPeopleError(
        f"{len(labels)} reference photos",
        "no person is on more than half of them; similarities " + "; ".join(rows),
        "keep photos of one person only, or a single photo",
    )
