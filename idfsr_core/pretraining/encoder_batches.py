"""The batches of the encoder's training: faces are drawn, some are led a step away, the teacher is asked."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..identity.network import FACE_SIZE, EncoderNetwork
from .encoder_blends import INNER, TO_FACE, blend
from .encoder_data import EncoderPhotos, Teacher, spoil, unspoiled
from .encoder_hints import FeatureTeacher, ask
from .encoder_settings import EncoderSettings
from .encoder_steered import steered


@dataclass(frozen=True, kw_only=True)
class People:
    """The photos, and whom they show."""

    photos: EncoderPhotos
    prototypes: Tensor  # [P, D] unit norm: the teacher's mean embedding of each person
    rows: np.ndarray  # [N] the prototype of each photo, -1 for nobody's

    @staticmethod
    def of(photos: EncoderPhotos, device: str) -> People:
        prototypes, rows = photos.prototypes()
        return People(photos=photos, prototypes=torch.from_numpy(prototypes).to(device), rows=rows)


@dataclass(frozen=True, kw_only=True)
class Draft:
    """Drawn faces, before the teacher was asked; the unspoiled ones come first."""

    faces: Tensor  # [B, 3, 112, 112] 0..1
    unspoiled: int  # how many
    rows: Tensor  # [B] the prototype of each face, -1 for nobody's
    targets: Tensor  # [B, D] the teacher's embedding of the photo as it is; 0 for a blend
    clean: Tensor  # [M, 3, 112, 112] the spoiled blends as they were
    spoiled_blends: Tensor  # [M] which of the faces they are

    def to(self, device: torch.device) -> Draft:
        return replace(self, **{name: value.to(device) for name, value in vars(self).items() if name != "unspoiled"})


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """Faces with all that the teacher says of them."""

    faces: Tensor  # [B, 3, 112, 112] 0..1
    rows: Tensor  # [B] the prototype of each face, -1 for nobody's
    targets: Tensor  # [B, D] unit norm
    hints: tuple[Tensor, ...]  # [n, H, W, C] for each segment: features of the first n faces, the unspoiled ones
    fed: Tensor  # [n] bool: the faces whose segments see the hints in place of their own features
    led: Tensor  # [m, 3, 112, 112] 0..1: the first m faces after a small step towards somebody
    led_targets: Tensor  # [m, D] unit norm: the teacher's embeddings of those


def lesson(
    people: People,
    network: EncoderNetwork,
    teacher: Teacher | None,
    settings: EncoderSettings,
    step: int,
    done: float,
) -> Lesson:
    """A batch, the same for equal seed, step, progress and network.

    Args:
        people: the photos to draw from.
        network: the learner, whose gradient or the teacher's leads the steered faces.
        teacher: None leaves blends, steered faces and hints out, and takes the embeddings of the photos as they are.
        settings: shares and amounts.
        step: decides, with the seed, what is drawn.
        done: share of the training that has passed.
    """
    rng = np.random.default_rng([settings.seed, step])
    draft = draw(people, settings, done, rng, with_blends=teacher is not None)
    draft = draft.to(people.prototypes.device)
    coin = torch.from_numpy(rng.random(draft.unspoiled) < settings.forcing(done)).to(draft.faces.device)
    if teacher is None:
        return Lesson(
            faces=draft.faces, rows=draft.rows, targets=draft.targets, hints=(), fed=coin,
            led=draft.faces[:0], led_targets=draft.targets[:0],
        )  # fmt: skip
    count = settings.steered_count(done, draft.unspoiled)
    return _answered(draft, _led(draft, count, people, network, teacher, rng), teacher, coin)


def draw(
    people: People, settings: EncoderSettings, done: float, rng: np.random.Generator, *, with_blends: bool
) -> Draft:
    """Faces for one batch; equal states of ``rng`` give equal ones."""
    photos, blends = people.photos, round(settings.batch * settings.blends) if with_blends else 0
    chosen = np.concatenate((np.full(blends, -1), rng.integers(len(photos), size=settings.batch - blends)))
    bad = rng.random(settings.batch) < settings.spoiled_share(done)
    order = np.argsort(bad, kind="stable")
    chosen, bad = chosen[order], bad[order]
    drawn = [_face(photos, int(i), bool(b), settings, rng) for i, b in zip(chosen, bad, strict=True)]
    nobody = chosen < 0
    lost = nobody & bad
    return Draft(
        faces=_tensor([face for face, _ in drawn]),
        unspoiled=int((~bad).sum()),
        rows=torch.from_numpy(np.where(nobody, -1, people.rows[chosen])),
        targets=torch.from_numpy(np.where(nobody[:, None], 0, photos.targets[chosen]).astype(np.float32)),
        clean=_tensor([drawn[i][1][INNER, INNER] for i in np.flatnonzero(lost)]),
        spoiled_blends=torch.from_numpy(np.flatnonzero(lost)),
    )


def _face(
    photos: EncoderPhotos, index: int, bad: bool, settings: EncoderSettings, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """An aligned face from a photo, or with -1 from a fresh blend, and the picture that it comes from."""
    image, to_face = (blend(photos, rng), TO_FACE) if index < 0 else (photos.images[index], photos.to_face[index])
    if bad:
        return spoil(image, to_face, rng, settings.spoil), image
    return unspoiled(image, to_face, rng, settings.unspoiled), image


def _tensor(faces: list[np.ndarray]) -> Tensor:
    """[N, 3, 112, 112] in 0..1 from N faces [112, 112, 3] uint8."""
    stacked = np.stack(faces) if faces else np.zeros((0, FACE_SIZE, FACE_SIZE, 3), np.uint8)
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float().div_(255)


def _led(
    draft: Draft, count: int, people: People, network: EncoderNetwork, teacher: Teacher, rng: np.random.Generator
) -> Tensor:
    """The first faces after a step towards anybody, by the learner's gradient or, where it has one, the teacher's."""
    faces = draft.faces[:count]
    if not count:
        return faces
    rows = torch.from_numpy(rng.integers(len(people.prototypes), size=count))
    goals = people.prototypes[rows.to(people.prototypes.device)]
    by_teacher = rng.random() < 0.5
    if by_teacher and isinstance(teacher, FeatureTeacher):
        return steered(teacher.embed, faces, goals, rng)
    return steered(lambda seen: network(seen)[0], faces, goals, rng)


def _answered(draft: Draft, led: Tensor, teacher: Teacher, coin: Tensor) -> Lesson:
    """The teacher is asked about the very faces where they are unspoiled, and about spoiled blends as they were."""
    own, targets, hints = draft.unspoiled, draft.targets.clone(), ()
    clean, led_targets = own + len(draft.clean), targets[:0]
    asked = torch.cat((draft.faces[:own], draft.clean, led))
    if len(asked):
        said = ask(teacher, asked)
        targets[:own] = said.embedding[:own]
        targets[draft.spoiled_blends] = said.embedding[own:clean]
        led_targets = said.embedding[clean:]
        hints = tuple(features[:own] for features in said.features)
    return Lesson(
        faces=draft.faces, rows=draft.rows, targets=targets, hints=hints, fed=coin, led=led, led_targets=led_targets
    )
