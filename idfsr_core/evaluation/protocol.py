"""Who is restored from what: a choice that depends on the seed and the people's names alone."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from ..errors import ArgumentError
from ..options import RestoreOptions

if TYPE_CHECKING:
    from ..pretraining.data import FaceLibrary

LANDMARKS = ("found", "true")
DEGRADATIONS = ("area", "bicubic", "blind")
MAIN_ENCODER = "mbf_y1"  # took no part in any training here
ENCODERS = (MAIN_ENCODER, "mobileface_v2", "edge_xs")
USED_IN_TRAINING = ("edge_xs",)  # encoders whose figures are marked: the networks were taught with them
ROUGH_SHIFT, ROUGH_GROW = (
    0.1,
    0.08,
)  # standard deviations of a box drawn by hand, in box widths and as a log of its size
# Standard deviations of what moves true landmarks, one to another; the sum is brought to the length asked for.
MOVED_SHIFT, MOVED_GROW, MOVED_TURN, MOVED_NOISE = (
    0.6,
    0.35,
    0.35,
    0.3,
)  # eye distances, log of size, radians, each point


class LandmarkReader(Protocol):
    """Reads 68 landmarks off good photos; :class:`idfsr_core.faces.dense_onnx.DenseLandmarkModel` is one."""

    def landmarks(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        """Landmarks [68, 2] in pixels of ``image`` (uint8 [H, W, 3] RGB) around ``keypoints`` [5, 2]."""
        ...


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """Everything that shapes the figures besides the weights."""

    people: int = 64  # at most; those with too few photos are left out and counted
    references: int = 4  # photos of the person beside the target
    seed: int = 0  # of the choice of photos, of boxes drawn by hand and of the sampler
    scales: tuple[int, ...] = (8, 16, 32)
    landmarks: tuple[str, ...] = LANDMARKS  # "found" in the LR picture, "true": read from the good photo
    methods: tuple[str, ...] = ()  # names of idfsr_core.evaluation.methods.METHODS
    encoders: tuple[str, ...] = ENCODERS
    degradation: str = "area"
    batch: int = 16  # faces per forward
    options: RestoreOptions = field(default_factory=RestoreOptions)
    paper_steps: int = 25  # forwards for the paper's form, which starts from noise
    fit_photos: int = 4  # photos for fitting: the references first, then further ones of the person
    least: int = 0  # photos that a person must have beside the target, where that is more than ``references``
    draw: int = 0  # which set of a person's references, 0 the first; sets of one person differ but may overlap
    displaced: float = 0.0  # true landmarks are moved by so many eye distances on average

    def __post_init__(self) -> None:
        for name in ("people", "references", "batch", "paper_steps", "fit_photos"):
            if getattr(self, name) < 1:
                raise ArgumentError(name, getattr(self, name), "use 1 or more")
        for name in ("least", "draw", "displaced"):
            if getattr(self, name) < 0:
                raise ArgumentError(name, getattr(self, name), "use 0 or more")
        _check_choice("landmarks", self.landmarks, LANDMARKS)
        if self.displaced and self.landmarks != ("true",):
            raise ArgumentError("landmarks", ", ".join(self.landmarks), "only true landmarks can be displaced")
        _check_choice("degradation", (self.degradation,), DEGRADATIONS)
        for scale in self.scales:
            if not 2 <= scale <= 32 or 128 % scale:
                raise ArgumentError("scale", scale, "use 2, 4, 8, 16 or 32")


def _check_choice(name: str, values: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    for value in values:
        if value not in allowed:
            raise ArgumentError(name, value, f"use some of {', '.join(allowed)}")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One person: a photo to be rebuilt and the others that help."""

    number: int  # place among the cases; reports name people by it
    target: int  # index into the library
    references: tuple[int, ...]  # in random order: the first is the "random reference"
    further: tuple[int, ...]  # the person's other photos, for fitting with more than the references

    @property
    def photos(self) -> tuple[int, ...]:
        """All photos that may be used to restore the target, the references first."""
        return self.references + self.further


def choose_cases(library: FaceLibrary, settings: EvaluationSettings) -> list[Case]:
    """The cases of a library, the same for the same seed; fewer people are the first of more people."""
    least = max(settings.references, settings.least)
    enough = [photos for photos in library.people() if len(photos) > least]
    order = np.random.default_rng(settings.seed).permutation(len(enough))
    cases = []
    for number, place in enumerate(order[: settings.people]):
        photos = enough[place]
        name = library.names[int(library.identities[photos[0]])]
        rng = np.random.default_rng((settings.seed, zlib.crc32(name.encode())))
        target, *others = (int(index) for index in rng.permutation(photos))
        drawn = _drawn_anew(tuple(others), settings.references, settings.draw, rng)
        references, further = drawn[: settings.references], drawn[settings.references :]
        cases.append(Case(number=number, target=target, references=references, further=further))
    if len(cases) < 2:
        value = f"{len(cases)} with more than {least} photos"
        raise ArgumentError("people", value, "give photos of at least two people, or use fewer references")
    return cases


def _drawn_anew(photos: tuple[int, ...], count: int, draw: int, rng: np.random.Generator) -> tuple[int, ...]:
    """The photos in an order of which the first ``count`` are another set than those of every draw before."""
    if math.comb(len(photos), count) <= draw:
        value = f"{draw + 1} sets of {count} out of {len(photos)} photos"
        raise ArgumentError("draw", value, "use fewer draws, or people with more photos")
    seen = [set(photos[:count])]
    while len(seen) <= draw:
        photos = tuple(int(index) for index in rng.permutation(photos))
        if set(photos[:count]) not in seen:
            seen.append(set(photos[:count]))
    return photos


@dataclass(frozen=True, kw_only=True)
class Photo:
    """One 192x192 photo with its points, in its pixels."""

    image: Tensor  # [1, 3, 192, 192]
    keypoints: np.ndarray  # [5, 2]
    landmarks: np.ndarray  # [68, 2], read from the photo at full resolution


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A case with its photos."""

    case: Case
    target: Photo
    references: tuple[Photo, ...]
    further: tuple[Photo, ...] = ()


@dataclass(kw_only=True)
class PhotoReader:
    """Photos of a library with their landmarks; what was read once is kept."""

    library: FaceLibrary
    landmarks: LandmarkReader
    _kept: dict[int, Photo] = field(default_factory=dict)

    def __call__(self, index: int) -> Photo:
        """The photo of this index."""
        if index not in self._kept:
            pixels = np.ascontiguousarray(self.library.photo(index))
            keypoints = self.library.keypoints[index]
            image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
            landmarks = self.landmarks.landmarks(pixels, keypoints)
            self._kept[index] = Photo(image=image, keypoints=keypoints, landmarks=landmarks)
        return self._kept[index]


def load_subjects(photo: PhotoReader, cases: list[Case], further: int = 0) -> list[Subject]:
    """Read the photos of the cases and their landmarks; ``further`` is how many photos beyond the references."""
    return [
        Subject(
            case=case,
            target=photo(case.target),
            references=tuple(map(photo, case.references)),
            further=tuple(map(photo, case.further[:further])),
        )
        for case in cases
    ]


def rough_box(photo: Photo, case: Case, seed: int) -> np.ndarray:
    """A box [4] around the face as a hand would draw it: off by a tenth of its width, the same for the same seed."""
    low, high = photo.landmarks.min(0), photo.landmarks.max(0)
    rng = np.random.default_rng((seed, case.number, 7))
    centre = (low + high) / 2 + rng.normal(0, ROUGH_SHIFT, 2) * (high[0] - low[0])
    half = (high - low) / 2 * np.exp(rng.normal(0, ROUGH_GROW))
    return np.concatenate([centre - half, centre + half]).astype(np.float32)


def displaced_landmarks(photo: Photo, case: Case, seed: int, amount: float) -> np.ndarray:
    """True landmarks [68, 2] moved by a shift, a turn, a growth and noise, all drawn by seed and person.

    Every person's are off by ``amount`` eye distances exactly (mean over the points); another amount moves them further
    in the same directions.
    """
    points = photo.landmarks
    if not amount:
        return points
    rng = np.random.default_rng((seed, case.number, 11))
    eyes = float(np.linalg.norm(points[36:42].mean(0) - points[42:48].mean(0)))
    arms = (points - points.mean(0)) / eyes
    turn, size = rng.normal(0, MOVED_TURN), np.exp(rng.normal(0, MOVED_GROW))
    rotation = size * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    moved = arms @ rotation + rng.normal(0, MOVED_SHIFT, 2) + rng.normal(0, MOVED_NOISE, arms.shape)
    away = moved - arms
    return (points + away * (amount * eyes / np.linalg.norm(away, axis=1).mean())).astype(np.float32)
