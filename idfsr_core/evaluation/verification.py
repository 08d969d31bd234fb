"""How well encoders tell people apart, on good photos and on tiny faces."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..errors import ArgumentError
from ..images import down

if TYPE_CHECKING:
    from ..identity.encoders import IdentityEncoder
    from ..pretraining.data import FaceLibrary

CROP = 128
"""Side of the FFHQ-style crop in a library's photos; "16 px" means that this crop is 16 pixels wide."""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """One encoder on one kind of pair."""

    encoder: str
    first: str  # what one photo of a pair looks like: "clean", "16 px", ...
    second: str  # the other photo
    same: int  # pairs of one person
    different: int  # pairs of two people
    far: float  # share of pairs of two people that may be taken for one
    tar: float  # share of pairs of one person that are recognised at that rate
    threshold: float  # the cosine that gives that rate
    auc: float  # area under the ROC curve: how often a pair of one person beats one of two
    mean_same: float  # mean cosine of pairs of one person


def roc_auc(same: np.ndarray, different: np.ndarray) -> float:
    """Probability that a score of ``same`` exceeds one of ``different``, ties counted half (Mann and Whitney 1947)."""
    _check(same, different)
    ordered = np.sort(different)
    below = np.searchsorted(ordered, same, "left")
    up_to = np.searchsorted(ordered, same, "right")
    return float((below + up_to).mean() / (2 * len(ordered)))


def tar_at_far(same: np.ndarray, different: np.ndarray, far: float) -> tuple[float, float]:
    """Share of ``same`` above the lowest threshold that at most ``far`` of ``different`` exceed, and that threshold."""
    _check(same, different)
    if not 0 < far < 1:
        raise ArgumentError("false accept rate", far, "give a number between 0 and 1")
    allowed = int(np.floor(far * len(different) + 1e-9))
    threshold = float(np.sort(different)[::-1][allowed])
    return float((same > threshold).mean()), threshold


def _check(same: np.ndarray, different: np.ndarray) -> None:
    if len(same) == 0 or len(different) == 0:
        counts = f"{len(same)} of one person, {len(different)} of two"
        raise ArgumentError("pairs", counts, "give two people or more, one of them with two photos or more")
    if not (np.isfinite(same).all() and np.isfinite(different).all()):
        raise ArgumentError("scores of pairs", "not finite", "leave out photos that cannot be embedded")


def embed_library(encoder: IdentityEncoder, library: FaceLibrary, size: int | None, *, batch: int = 32) -> Tensor:
    """Embeddings [N, D] of a library's photos, with the true keypoints.

    Args:
        encoder: any.
        library: photos of 192x192 pixels and their keypoints.
        size: side in pixels to which the inner 128-pixel crop is area-averaged first; None leaves the photo as it is.
        batch: photos at once.
    """
    parts = []
    scale = 1.0 if size is None else CROP / size
    for start in range(0, len(library), batch):
        rows = list(range(start, min(start + batch, len(library))))
        images = library.tensor(rows)
        points = (torch.from_numpy(library.keypoints[rows]).float() + 0.5) / scale - 0.5
        with torch.inference_mode():
            parts.append(encoder.embed(images if size is None else down(images, scale), points).vectors.float().cpu())
    return torch.cat(parts)


def compare(first: Tensor, second: Tensor, people: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of all pairs of different photos: of one person, and of two.

    Args:
        first: [N, D] unit vectors, one look of the photos.
        second: [N, D], the other look; where it is the same tensor each pair counts once.
        people: [N], who is on them.
    """
    scores = (first @ second.T).numpy()
    one = people[:, None] == people[None]
    pairs = ~np.eye(len(people), dtype=bool)
    if first is second:
        pairs = np.triu(pairs)
    return scores[one & pairs], scores[~one & pairs]


def verify(
    encoders: Mapping[str, IdentityEncoder],
    library: FaceLibrary,
    sizes: Sequence[int] = (16, 8),
    *,
    far: float = 1e-3,
) -> list[Verification]:
    """Measure encoders on clean pairs, on tiny against clean faces, and on pairs of tiny faces.

    Args:
        encoders: by the name to show.
        library: people who were not trained on.
        sizes: sides of the crop in pixels, see :func:`embed_library`.
        far: false accept rate at which recognition is counted.
    """
    results = []
    for name, encoder in encoders.items():
        clean = embed_library(encoder, library, None)
        results.append(_result(name, "clean", "clean", compare(clean, clean, library.identities), far))
        for size in sizes:
            tiny, label = embed_library(encoder, library, size), f"{size} px"
            results.append(_result(name, label, "clean", compare(tiny, clean, library.identities), far))
            results.append(_result(name, label, label, compare(tiny, tiny, library.identities), far))
    return results


def _result(name: str, first: str, second: str, scores: tuple[np.ndarray, np.ndarray], far: float) -> Verification:
    same, different = scores
    tar, threshold = tar_at_far(same, different, far)
    return Verification(
        encoder=name,
        first=first,
        second=second,
        same=len(same),
        different=len(different),
        far=far,
        tar=tar,
        threshold=threshold,
        auc=roc_auc(same, different),
        mean_same=float(same.mean()),
    )


def verification_table(results: Sequence[Verification]) -> str:
    """The results as a Markdown table."""
    lines = [
        "| encoder | pair | TAR | at FAR | AUC | threshold | mean of one person | pairs of one / two people |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {r.encoder} | {r.first} / {r.second} | {r.tar:.3f} | {r.far:g} | {r.auc:.4f} | {r.threshold:.3f} "
        f"| {r.mean_same:.3f} | {r.same} / {r.different} |"
        for r in results
    ]
    return "\n".join(lines) + "\n"


def verification_json(results: Sequence[Verification]) -> str:
    """The results as JSON: a list of objects with the fields of :class:`Verification`."""
    return json.dumps([asdict(result) for result in results], indent=2) + "\n"
