"""Turn what detector and landmark network say of a candidate into the chance that it is a face.

The detector alone takes many a texture of a few pixels for a face. The landmark network, which has seen faces only,
is unsure of its points there: its own expected error tells faces from textures. A logistic regression weighs both.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from ..evaluation.analyzer import CANVAS, Case, Source, background_without_faces, make_case
from ..faces.compact import CANDIDATE, CompactAnalyzer, evidence
from ..faces.cropping import box_from_keypoints
from ..faces.decoding import overlap
from .analyzer_data import FacePhotos
from .analyzer_scenes import ScenePhotos

HEIGHTS = (3, 3, 6, 6, 12, 25, 50)  # of the faces; the small ones twice, as they are the hard ones
RIDGE = 0.3  # keeps the weights finite where faces and textures part cleanly
LARGEST_STEP = 2.0  # of any weight in one step of Newton's method


def calibration_cases(scenes: ScenePhotos, faces: FacePhotos, count: int, seed: int) -> Iterable[Case]:
    """Training photos shrunk and placed as the benchmark does it: half of them whole photos, half aligned crops."""
    rng = np.random.default_rng(seed)
    sources = [Source(image=i, keypoints=k) for i, k in zip(scenes.images, scenes.keypoints, strict=True) if len(k)]
    doubtful = [d for k, d in zip(scenes.keypoints, scenes.doubtful, strict=True) if len(k)]
    for number in range(count):
        height = HEIGHTS[number % len(HEIGHTS)] * np.exp(rng.uniform(-0.3, 0.3))
        source = sources[int(rng.integers(len(sources)))]
        if rng.random() < 0.5:
            i = int(rng.choice(faces.chosen))
            source = Source(image=np.asarray(faces.images[i]), keypoints=faces.keypoints[i][None].astype(np.float64))
        case = make_case(source, background_without_faces(sources, rng, CANVAS, doubtful), height, rng)
        if case is not None:
            yield case


def gather(analyzer: CompactAnalyzer, cases: Iterable[Case]) -> tuple[np.ndarray, np.ndarray]:
    """Evidence [N, 4] of every candidate, and whether it is the face [N]; further faces do not count."""
    rows, labels = [], []
    for case in cases:
        found = analyzer.detect(case.image, CANDIDATE)
        if not len(found.scores):
            continue
        points = analyzer.crop_points(case.image, found.keypoints)
        share = overlap(found.boxes, box_from_keypoints(torch.from_numpy(case.keypoints[None]).float()))[:, 0]
        others = torch.from_numpy(case.others).float().reshape(-1, 4)
        counts = overlap(found.boxes, others).amax(1) < 0.1 if len(others) else share >= 0
        rows.append(evidence(found, points)[counts].numpy())
        labels.append((share >= 0.3)[counts].numpy())
    return (np.concatenate(rows), np.concatenate(labels)) if rows else (np.zeros((0, 4)), np.zeros(0, bool))


def fit_calibration(rows: np.ndarray, labels: np.ndarray, steps: int = 50) -> np.ndarray:
    """Weights [4] of a logistic regression with a light ridge, by Newton's method.

    The detector's own logit (second column) starts with weight one, which is also where the ridge pulls it: with
    little to learn from, the score stays what the detector says.
    """
    start = np.array([0.0, 1.0, 0.0, 0.0])
    weights = start.copy()
    rows = np.asarray(rows, np.float64)
    for _ in range(steps if len(rows) else 0):
        chance = 1 / (1 + np.exp(-np.clip(rows @ weights, -30, 30)))
        slope = rows.T @ (chance - labels) + RIDGE * (weights - start)
        bend = (rows * (chance * (1 - chance))[:, None]).T @ rows + RIDGE * np.eye(4)
        step = np.linalg.solve(bend, slope)
        weights = weights - step * min(1.0, LARGEST_STEP / max(np.abs(step).max(), 1e-12))
    return weights


def calibrate(analyzer: CompactAnalyzer, cases: Iterable[Case]) -> None:
    """Fit and set ``analyzer.networks.calibration``."""
    weights = fit_calibration(*gather(analyzer, cases))
    analyzer.networks.calibration.copy_(torch.from_numpy(weights))
