"""How alike several results of one person are: what the choice of the reference photos leaves to chance."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..pretraining.data import MARGIN
from .harness import load_pictures
from .measuring import Instruments
from .metrics import identity_similarity
from .protocol import Subject
from .results import ResultSet


def spread(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """Mean similarity of every two results of a person, [N], from embeddings [N, D] of two or more results."""
    pairs = itertools.combinations(vectors, 2)
    return np.mean([identity_similarity(first, second) for first, second in pairs], axis=0)


def spread_set(
    folders: Sequence[Path], like: ResultSet, subjects: Sequence[Subject], instruments: Instruments
) -> ResultSet:
    """The figures ``spread.ENCODER`` for every person.

    Args:
        folders: of the runs, each with the pictures of a set with the key of ``like``.
        like: one of these sets.
        subjects: the people, in the order of the sets; their true keypoints cut the faces out.
        instruments: the encoders.
    """
    keypoints = np.stack([subject.target.keypoints - MARGIN for subject in subjects])
    pictures = [torch.from_numpy(load_pictures(folder, like.key)).float() / 255 for folder in folders]
    figures = {}
    for name in instruments.encoders:
        alike = spread([instruments.embed(name, each, keypoints) for each in pictures])
        figures[f"spread.{name}"] = tuple(float(value) for value in alike)
    return ResultSet(
        method="spread",
        title=f"{len(folders)} results of one person among themselves",
        scale=like.scale,
        landmarks=like.landmarks,
        cases=like.cases,
        failures=like.failures,
        figures=figures,
    )
