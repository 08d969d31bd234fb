"""Training batches: a face, its LR copy, a style photo and reference photos, so drawn that style and identity part.

A batch is a function of the seed, the step and the process alone. That makes a continued training the same, bit for
bit, as one that was never stopped.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from ..diffusion.conditioning import Conditioning
from ..errors import ArgumentError
from ..faces.points import MIRROR_5, MIRROR_68
from ..geometry import similarity_from_points, transform_points, warp_affine
from ..masking import face_mask
from ..merging import agreed_detail, agreement
from ..warping import warp_reference
from .data import FaceLibrary
from .degradations import degrade


@dataclass(frozen=True, kw_only=True)
class BatchSettings:
    """What the batches are made of; every share is a probability. All values are ours."""

    size: int = 128  # side of the crop in pixels; the denoiser's
    batch: int = 16  # faces per process and step
    scales: dict[int, float] = field(default_factory=lambda: {8: 0.25, 16: 0.45, 32: 0.3})  # one scale per batch
    degradations: dict[str, float] = field(default_factory=lambda: {"area": 0.5, "bicubic": 0.25, "blind": 0.25})
    references: int = 1  # reference photos at most; with more the compact model averages them, and blurs
    choice: int = 4  # photos of the person that style and references are chosen among
    style_other: float = 0.3  # style photo of somebody else: identity must come from vector and references
    style_none: float = 0.03  # no style photo
    identity_none: float = 0.05  # no identity vector
    references_none: float = 0.4  # no reference photos
    merged: float = 0.0  # style and reference photo get what the other photos of the choice agree on
    merged_share: tuple[float, float] = (0.2, 0.6)  # of that; drawn evenly
    identity_truth: float = 0.2  # the vector is that of the face itself, else the mean of the person's other photos
    best_style: float = 0.8  # style and references are the best of the choice by landmarks, else random ones
    warp_tps: float = 0.0  # the style photo is warped by a thin-plate spline, else by a similarity
    lone: float = 0.03  # faces of people with one photo only, whose style is always somebody else's
    mirrored: float = 0.5  # whole batch items mirrored
    photo_jitter: float = 0.5  # colour of style and reference photos changed, as by other light, fading or grey film

    def __post_init__(self) -> None:
        for name in ("scales", "degradations"):
            total = sum(getattr(self, name).values())
            if not np.isclose(total, 1):
                raise ArgumentError(f"BatchSettings.{name}", getattr(self, name), f"make them sum to 1, not {total}")


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A training batch."""

    cond: Conditioning
    target: Tensor  # [B, 3, S, S] 0..1
    keypoints: Tensor  # [B, 5, 2] true keypoints in the crop, for identity losses
    exact: bool  # the LR pixels are free of noise: a result has to agree with them
    several: Tensor  # [B] bool: the identity vector is that of several photos; one of one photo leads nobody
    aim: Tensor | None = None  # [B, D] the identity vector as the loss's encoder sees it; zero where there is none


class BatchMaker:
    """Draws batches from an annotated library (with landmarks and embeddings).

    Args:
        library: the photos; their embeddings are what the denoiser is given.
        settings: what the batches are made of.
        seed: equal seeds give equal batches.
        aims: [N, D] the photos' unit embeddings by the encoder of the identity loss; its aim is pooled like the vector.
    """

    def __init__(
        self, library: FaceLibrary, settings: BatchSettings, seed: int = 0, aims: np.ndarray | None = None
    ) -> None:
        if library.landmarks is None or library.embeddings is None:
            raise ArgumentError("library", "no landmarks or embeddings", "call annotated() first")
        if aims is not None and len(aims) != len(library):
            raise ArgumentError("aims", f"{len(aims)} for {len(library)} photos", "give one embedding per photo")
        if settings.size > library.size:
            value = f"photos of {library.side} px, for faces of {library.size} px"
            remedy = f"train {library.size} px, or give a folder of larger photos: {settings.size} px are wanted"
            raise ArgumentError("library", value, remedy)
        self.library, self.settings, self.seed, self.aims = library, settings, seed, aims
        self.landmarks, self.embeddings = library.landmarks, library.embeddings
        people = library.people()
        self.several = [person for person in people if len(person) > 1]
        self.lone = [person for person in people if len(person) == 1]
        if not self.several:
            raise ArgumentError("library", f"{len(people)} people with one photo each", "add second photos of people")
        weight = np.array([min(len(person), 12) for person in self.several], float) ** 0.5
        self.weight = weight / weight.sum()
        # Shapes without position, scale and rotation: which photos lie alike.
        template = torch.from_numpy(self.landmarks.mean(0, keepdims=True))
        points = torch.from_numpy(self.landmarks)
        template = template.expand_as(points)
        self.shapes = transform_points(similarity_from_points(points, template), points).numpy()
        self.mean_shape = self.shapes.mean(0)

    def make(self, step: int, process: int = 0) -> Batch:
        """The batch of one step."""
        rng = np.random.default_rng((self.seed, step, process))
        torch_rng = torch.Generator().manual_seed(int(rng.integers(2**62)))
        scale = int(rng.choice(list(self.settings.scales), p=list(self.settings.scales.values())))
        drawn = [self._draw(rng) for _ in range(self.settings.batch)]
        targets = [item["target"] for item in drawn]
        mirror = rng.random(len(drawn)) < self.settings.mirrored
        photo = _mirror_images(self.library.tensor(targets), mirror)
        matrices = [_crop_matrix(rng, self.library.side, self.settings.size, scale) for _ in drawn]
        matrix = torch.from_numpy(np.stack(matrices)).float()
        target = warp_affine(photo, matrix, self.settings.size, padding="reflection").clamp(0, 1)
        landmarks = transform_points(matrix, self._mirrored(self.landmarks[targets], mirror, MIRROR_68))
        keypoints = transform_points(matrix, self._mirrored(self.library.keypoints[targets], mirror, MIRROR_5))
        kind = str(rng.choice(list(self.settings.degradations), p=list(self.settings.degradations.values())))
        lr = degrade(target, scale, kind, torch_rng)
        found = self._found_landmarks(rng, landmarks, scale)
        mask = face_mask(found, self.settings.size, grow=float(rng.uniform(0.02, 0.12)))
        cond = Conditioning(
            lr=lr, mask=mask, **self._style(rng, drawn, mirror, found), **self._references(rng, drawn, mirror, found),
            identity=_pooled(self.embeddings, drawn),
        )  # fmt: skip
        if self.settings.merged:
            cond = self._merged(rng, drawn, mirror, found, cond)
        aim = None if self.aims is None else _pooled(self.aims, drawn)
        several = torch.tensor([len(item["identity"]) > 1 for item in drawn])
        exact = kind != "blind"
        return Batch(cond=cond, target=target, keypoints=keypoints, exact=exact, several=several, aim=aim)

    def _draw(self, rng: np.random.Generator) -> dict:
        """Which photos one face is made of."""
        s = self.settings
        lone = bool(self.lone) and rng.random() < s.lone
        person = self.lone[rng.integers(len(self.lone))] if lone else self.several[self._pick(rng)]
        target = int(rng.choice(person))
        others = rng.permutation(person[person != target])
        pool = others[: s.choice]
        if rng.random() < s.best_style:
            pool = pool[np.argsort(self._misfit(target, pool))]
        style: int | None = None
        kind = rng.random()
        if lone or kind < s.style_other:
            style = self._somebody_else(rng, target)
        elif kind < 1 - s.style_none:
            style = int(pool[0])
        count = 0 if lone or rng.random() < s.references_none else int(rng.integers(1, s.references + 1))
        references = [int(index) for index in pool[:count]]
        return {
            "target": target,
            "style": style,
            "references": references,
            "merged": [] if lone or style != pool[0] else [int(index) for index in pool[1:]],
            "identity": self._identity(rng, target, others),
        }

    def _pick(self, rng: np.random.Generator) -> int:
        return int(rng.choice(len(self.several), p=self.weight))

    def _misfit(self, target: int, photos: np.ndarray) -> np.ndarray:
        return np.linalg.norm(self.shapes[photos] - self.shapes[target], axis=-1).mean(-1)

    def _somebody_else(self, rng: np.random.Generator, target: int) -> int:
        """The photo that lies most alike among a few of other people."""
        photos = rng.integers(len(self.library), size=12)
        photos = photos[self.library.identities[photos] != self.library.identities[target]]
        return int(photos[np.argmin(self._misfit(target, photos))])

    def _identity(self, rng: np.random.Generator, target: int, others: np.ndarray) -> np.ndarray:
        """The photos whose pooled embedding is given; none: no vector."""
        if rng.random() < self.settings.identity_none:
            return others[:0]
        if len(others) == 0 or rng.random() < self.settings.identity_truth:
            return np.array([target])
        return others[: int(rng.integers(1, 9))]

    def _mirrored(self, points: np.ndarray, mirror: np.ndarray, order: np.ndarray) -> Tensor:
        return _mirror_points(points, mirror, order, self.library.side)

    def _found_landmarks(self, rng: np.random.Generator, landmarks: Tensor, scale: float) -> Tensor:
        """Landmarks as an analyzer finds them in an LR picture: displaced, noisy, and drawn towards the mean shape."""
        batch = len(landmarks)
        unit = _larger(self.settings.size)
        scale = scale / unit
        mean = torch.from_numpy(self.mean_shape).expand(batch, -1, -1)
        mean = transform_points(similarity_from_points(mean, landmarks), mean)
        pull = torch.from_numpy(rng.uniform(0, 0.2 + 0.6 * scale / 32, (batch, 1, 1))).float()
        shift = torch.from_numpy(rng.normal(0, (0.3 + 0.06 * scale) * unit, (batch, 1, 2))).float()
        noise = torch.from_numpy(rng.normal(0, (0.3 + 0.02 * scale) * unit, landmarks.shape)).float()
        return landmarks + pull * (mean - landmarks) + shift + noise

    def _style(
        self, rng: np.random.Generator, drawn: list[dict], mirror: np.ndarray, found: Tensor
    ) -> dict[str, Tensor]:
        indices = [item["target"] if item["style"] is None else item["style"] for item in drawn]
        has = torch.tensor([item["style"] is not None for item in drawn]).float()[:, None, None, None]
        method = "tps" if rng.random() < self.settings.warp_tps else "similarity"
        image, coverage = self._warped(rng, indices, mirror, found, method)
        return {"style": image * has, "style_coverage": coverage * has}

    def _references(
        self, rng: np.random.Generator, drawn: list[dict], mirror: np.ndarray, found: Tensor
    ) -> dict[str, Tensor]:
        places = max(1, max(len(item["references"]) for item in drawn))
        batch, size = len(drawn), self.settings.size
        images = torch.zeros(batch, places, 3, size, size)
        coverage = torch.zeros(batch, places, 1, size, size)
        valid = torch.tensor([[place < len(item["references"]) for place in range(places)] for item in drawn])
        rows, columns = torch.nonzero(valid, as_tuple=True)
        if len(rows):
            indices = [drawn[row]["references"][column] for row, column in zip(rows, columns, strict=True)]
            image, cover = self._warped(rng, indices, mirror[rows.numpy()], found[rows], "similarity")
            images[rows, columns], coverage[rows, columns] = image, cover
        return {"references": images, "reference_coverage": coverage, "reference_valid": valid}

    def _merged(
        self, rng: np.random.Generator, drawn: list[dict], mirror: np.ndarray, found: Tensor, cond: Conditioning
    ) -> Conditioning:
        """The same with what the other photos agree on laid into style and first reference of some faces."""
        styles, references = cond.style.clone(), cond.references.clone()
        for row, item in enumerate(drawn):
            others = item["merged"]
            if not agreement(len(others)) or rng.random() >= self.settings.merged:
                continue
            here, turn = slice(row, row + 1), mirror[row : row + 1]
            points = self._mirrored(self.landmarks[[item["style"]]], turn, MIRROR_68)
            goal = transform_points(similarity_from_points(points, found[here]), points).expand(len(others), -1, -1)
            images, coverage = self._warped(rng, others, turn.repeat(len(others)), goal, "tps")
            share = agreement(len(others)) * float(rng.uniform(*self.settings.merged_share))  # as the restoration does
            detail = agreed_detail(cond.style[row], images, coverage) * share
            styles[row] = (styles[row] + detail).clamp(0, 1)
            if item["references"]:
                references[row, 0] = (references[row, 0] + detail).clamp(0, 1)
        return replace(cond, style=styles, references=references)

    def _warped(
        self, rng: np.random.Generator, indices: list[int], mirror: np.ndarray, found: Tensor, method: str
    ) -> tuple[Tensor, Tensor]:
        photos = _mirror_images(self.library.tensor(indices), mirror)
        points = self._mirrored(self.landmarks[indices], mirror, MIRROR_68)
        points = points + torch.from_numpy(rng.normal(0, 0.3 * self.library.size / 128, points.shape)).float()
        warped = warp_reference(photos, points, found, self.settings.size, method)
        return _jitter_colours(rng, warped.image, self.settings.photo_jitter), warped.coverage


def _larger(size: int) -> float:
    """How many times larger than 128 px a crop is, at least 1.

    How far an analyzer is off, as a share of the face, depends on the pixels that it sees and not on the crop that they
    fill: a face made 16 times smaller from 256 px is as small as one made 8 times smaller from 128 px.
    """
    return max(1.0, size / 128)


def _crop_matrix(rng: np.random.Generator, side: int, size: int, scale: int) -> np.ndarray:
    """Photo of ``side`` px -> crop of ``size``, off by what keypoints found in an LR picture are off. [2, 3]."""
    angle, grow = np.deg2rad(rng.normal(0, 3)), np.exp(rng.normal(0, 0.04))
    shift = rng.normal(0, 0.8 + 0.06 * scale / _larger(size), 2) * size / 128
    zoom = grow * size / (side // 3 * 2)
    linear = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle_in, middle_out = (side - 1) / 2, (size - 1) / 2
    return np.column_stack([linear, middle_out + shift - linear @ [middle_in, middle_in]])


def _pooled(embeddings: np.ndarray, drawn: list[dict]) -> Tensor:
    """Unit mean embedding of each item's photos, [B, D]; zero where it has none."""
    vectors = np.stack([embeddings[item["identity"]].sum(0) for item in drawn])
    return torch.nn.functional.normalize(torch.from_numpy(vectors), dim=1)


def _mirror_images(images: Tensor, mirror: np.ndarray) -> Tensor:
    return torch.where(torch.from_numpy(mirror)[:, None, None, None], images.flip(-1), images)


def _mirror_points(points: np.ndarray, mirror: np.ndarray, order: np.ndarray, side: int) -> Tensor:
    flipped = points[:, order] * [-1, 1] + [side - 1, 0]
    return torch.from_numpy(np.where(mirror[:, None, None], flipped, points)).float()


def _jitter_colours(rng: np.random.Generator, photos: Tensor, share: float) -> Tensor:
    """Gain, contrast and colour cast of some photos changed; one in ten of those turned grey. [B, 3, S, S]."""
    batch = len(photos)
    changed = rng.random((batch, 1, 1, 1)) < share
    gain = np.exp(rng.normal(0, 0.12, (batch, 1, 1, 1)) + rng.normal(0, 0.04, (batch, 3, 1, 1)))
    contrast = np.exp(rng.normal(0, 0.12, (batch, 1, 1, 1)))
    slope = torch.from_numpy(np.where(changed, gain * contrast, 1)).float()
    offset = torch.from_numpy(np.where(changed, gain * (1 - contrast), 0)).float()
    for grey in np.flatnonzero(changed.ravel() & (rng.random(batch) < 0.1)):
        photos[grey] = photos[grey].mean(0)
    mean = photos.mean((1, 2, 3), keepdim=True)
    return torch.addcmul(offset * mean, photos, slope).clamp_(0, 1)
