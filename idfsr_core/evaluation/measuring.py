"""From restored pictures to figures: the instruments, none of which the restoration sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..images import to_uint8
from ..pretraining.data import MARGIN
from . import metrics
from .results import ResultSet
from .situations import Situation

if TYPE_CHECKING:
    from ..identity.encoders import IdentityEncoder
    from .protocol import LandmarkReader, Photo, Subject


@dataclass(kw_only=True)
class Instruments:
    """Encoders and a landmark model for measuring, and what they said of the true photos."""

    encoders: Mapping[str, IdentityEncoder]
    landmarks: LandmarkReader
    _photos: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)

    def embed(self, name: str, images: Tensor, keypoints: np.ndarray) -> np.ndarray:
        """Embeddings [B, D] of faces in ``images`` [B, 3, H, W], cut out by ``keypoints`` [B, 5, 2]."""
        points = torch.from_numpy(np.asarray(keypoints, np.float32))
        with torch.inference_mode():
            return self.encoders[name].embed(images, points).vectors.float().cpu().numpy()

    def embed_photo(self, name: str, photo: Photo) -> np.ndarray:
        """The embedding [D] of a true photo, kept."""
        key = (name, id(photo))
        if key not in self._photos:
            self._photos[key] = self.embed(name, photo.image, photo.keypoints[None])[0]
        return self._photos[key]

    def truths(self, name: str, subjects: Sequence[Subject]) -> np.ndarray:
        """Embeddings [B, D] of the target photos."""
        return np.stack([self.embed_photo(name, subject.target) for subject in subjects])


def measure(
    situations: Sequence[Situation], pictures: Sequence[Tensor], tools: Instruments, others: Sequence[Subject] = ()
) -> tuple[dict[str, tuple[float, ...]], dict[str, float]]:
    """Every figure of one set.

    Args:
        situations: B faces of one scale and one kind of landmarks.
        pictures: the results, [1, 3, 128, 128] each, in the pixels of the truth.
        tools: encoders and landmark model.
        others: whose identity was borrowed, if anybody's.

    Returns:
        Figures per face by name, and figures of the set.
    """
    images = torch.cat([picture.clamp(0, 1) for picture in pictures])
    truth = torch.cat([situation.truth for situation in situations])
    lr = torch.cat([situation.truth_lr for situation in situations])
    subjects = [situation.subject for situation in situations]
    columns: dict[str, np.ndarray] = {
        "psnr": metrics.psnr(images, truth).numpy(),
        "ssim": metrics.ssim(images, truth).numpy(),
        "lr_psnr": metrics.lr_psnr(images, lr).numpy(),
        "grid": metrics.grid_excess(images).numpy(),
        "landmark_error": _landmark_errors(situations, images, tools),
        "found_error": np.array([situation.found_error for situation in situations]),
    }
    of_set = {}
    keypoints = np.stack([situation.keypoints for situation in situations])
    for name in tools.encoders:
        vectors, true = tools.embed(name, images, keypoints), tools.truths(name, subjects)
        columns[f"identity.{name}"] = metrics.identity_similarity(vectors, true)
        if others:
            columns[f"other.{name}"] = metrics.identity_similarity(vectors, tools.truths(name, others))
        of_set[f"frechet.{name}"] = metrics.frechet_distance(vectors, true)
    return {name: tuple(float(v) for v in column) for name, column in columns.items()}, of_set


def _landmark_errors(situations: Sequence[Situation], images: Tensor, tools: Instruments) -> np.ndarray:
    found = [
        tools.landmarks.landmarks(to_uint8(image), situation.keypoints)
        for situation, image in zip(situations, images, strict=True)
    ]
    true = [situation.subject.target.landmarks - MARGIN for situation in situations]
    return metrics.landmark_error(np.stack(found), np.stack(true))


def ceilings(subjects: Sequence[Subject], tools: Instruments) -> list[ResultSet]:
    """What real photos reach: one other photo of the person, and the mean embedding of all references."""
    second: dict[str, np.ndarray] = {}
    mean: dict[str, np.ndarray] = {}
    distance: dict[str, float] = {}
    for name in tools.encoders:
        true = tools.truths(name, subjects)
        each = np.stack([[tools.embed_photo(name, photo) for photo in s.references] for s in subjects])
        second[f"identity.{name}"] = metrics.identity_similarity(each[:, 0], true)
        mean[f"identity.{name}"] = metrics.identity_similarity(each.mean(1), true)
        distance[f"frechet.{name}"] = metrics.frechet_distance(each[:, 0], true)
    count = len(subjects[0].references)
    return [
        _ceiling("second_photo", "a genuine second photo", subjects, second, distance),
        _ceiling("mean_embedding", f"mean embedding of {count} genuine photos", subjects, mean, {}),
    ]


def _ceiling(
    method: str, title: str, subjects: Sequence[Subject], columns: Mapping[str, np.ndarray], of_set: dict[str, float]
) -> ResultSet:
    return ResultSet(
        method=method,
        title=title,
        scale=0,
        landmarks="",
        cases=tuple(subject.case.number for subject in subjects),
        failures=(None,) * len(subjects),
        figures={name: tuple(float(v) for v in column) for name, column in columns.items()},
        of_set=of_set,
    )
