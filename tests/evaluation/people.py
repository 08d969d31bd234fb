"""A little library of people drawn by numbers, and instruments that need no files."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import torch
from torch import Tensor

from idfsr_core.evaluation.harness import Study
from idfsr_core.evaluation.measuring import Instruments
from idfsr_core.evaluation.methods import Toolbox, chosen
from idfsr_core.evaluation.protocol import EvaluationSettings, PhotoReader, choose_cases, load_subjects
from idfsr_core.evaluation.situations import know_person
from idfsr_core.images import to_uint8
from idfsr_core.pretraining.data import FaceLibrary
from idfsr_core.runtime import Runtime
from tests import tiny


def library(people: int = 4, photos: int = 4) -> FaceLibrary:
    """Every person is one smooth picture; photos of one person differ in brightness."""
    coded, identities = [], []
    for person in range(people):
        face = tiny.portrait(192, seed=person)
        for photo in range(photos):
            pixels = to_uint8((face * (1 - 0.05 * photo)).clamp(0, 1))
            coded.append(cv2.imencode(".png", pixels[:, :, ::-1])[1].tobytes())
            identities.append(person)
    keypoints = np.repeat(tiny.FFHQ_128[None] + 32, len(coded), 0)
    names = [f"person {number}" for number in range(people)]
    return FaceLibrary(photos=coded, identities=np.array(identities), names=names, keypoints=keypoints)


class StubEncoder:
    """The coarse colours of a face as its identity."""

    name, hash, dim = "stub", "0" * 64, 32

    def embed(self, image: Tensor, keypoints: Tensor) -> SimpleNamespace:
        """Unit vectors [B, 32] and a quality of 1."""
        assert len(keypoints) == len(image)
        side = image.shape[-1]
        inner = image[..., (side - 128) // 2 : (side + 128) // 2, (side - 128) // 2 : (side + 128) // 2]
        flat = torch.nn.functional.adaptive_avg_pool2d(inner, 4).flatten(1)[:, :32]
        flat = flat - flat.mean(1, keepdim=True)
        return SimpleNamespace(vectors=torch.nn.functional.normalize(flat, dim=1), quality=torch.ones(len(image)))


class StubLandmarks:
    """The schematic face, moved to the keypoints."""

    def landmarks(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        """[68, 2]."""
        return tiny.dense_template() + keypoints.mean(0) - tiny.FFHQ_128.mean(0)


def study(folder: Path, settings: EvaluationSettings, analyzer=None, denoiser=None, names=()) -> Study:
    """A run over the little library."""
    photos = library()
    cases = choose_cases(photos, settings)
    subjects = load_subjects(PhotoReader(library=photos, landmarks=StubLandmarks()), cases)
    analyzer = analyzer or tiny.StubAnalyzer((0.5, 0.5, 1 / 3))
    known = {
        kind: [know_person(subject.references, kind, StubEncoder(), analyzer) for subject in subjects]  # pyright: ignore
        for kind in settings.landmarks
    }
    tools = Toolbox(settings=settings, runtime=Runtime(), denoiser=denoiser, analyzer=analyzer, known=known)
    return Study(
        settings=settings,
        subjects=subjects,
        methods=chosen(names, ("denoiser",) if denoiser else ()),
        tools=tools,
        instruments=Instruments(encoders={"stub": StubEncoder()}, landmarks=StubLandmarks()),  # pyright: ignore
        folder=folder,
        say=lambda line: None,
    )
