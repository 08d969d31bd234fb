"""Everybody in the data as two encoders see them, and how much a picture resembles any of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ..errors import ArgumentError
from ..identity.encoders import IdentityEncoder
from ..identity.insight import InsightFaceEncoder
from ..images import atomic_path
from .data import FaceLibrary, read_archive

LIMIT = 0.40  # a sample person resembles nobody this much
LEAST = 0.55  # and itself from photo to photo at least this much
PACKS = ("edge_xs", "mbf_y1")


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How much portraits of one person resemble everybody else, and each other. Cosines; the worst encoder counts."""

    person: float  # any portrait, or their pooled embedding, with the mean embedding of any person of the data
    photo: float  # any portrait with any single photo
    least: float  # two portraits with each other, at least
    mean: float  # ... on average
    people: np.ndarray  # [P] the worst of every person

    @property
    def acceptable(self) -> bool:
        """Both limits are kept."""
        return self.person < LIMIT and self.least >= LEAST

    def __str__(self) -> str:
        return (
            f"nearest person {self.person:.3f}, nearest photo {self.photo:.3f}, "
            f"among themselves {self.least:.3f} or more, {self.mean:.3f} on average"
        )


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """The training photos, and the embeddings of all photos of all splits."""

    library: FaceLibrary  # the training split: photos come from here only
    encoders: tuple[IdentityEncoder, ...]
    vectors: tuple[np.ndarray, ...]  # per encoder: [N, D] of the training photos, then of the others
    identities: np.ndarray  # [N]; the people of the library have the library's numbers

    def means(self, people: list[np.ndarray]) -> list[np.ndarray]:
        """Per encoder the unit mean embeddings [P, D] of people given as photo indices."""
        return [np.stack([unit(v[photos].mean(0)) for photos in people]) for v in self.vectors]

    def measure(self, pictures: list[np.ndarray], keypoints: np.ndarray) -> Likeness:
        """Compare portraits with everybody.

        Args:
            pictures: two or more, [H, W, 3] uint8 RGB of one size.
            keypoints: [K, 5, 2].
        """
        if len(pictures) < 2:
            raise ArgumentError("portraits", len(pictures), "give two or more")
        images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
        points = torch.from_numpy(keypoints).float()
        own = [unit(encoder.embed(images, points).vectors.numpy()) for encoder in self.encoders]
        return worst([compare(mine, all_, self.identities) for mine, all_ in zip(own, self.vectors, strict=True)])


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors [..., D] to length 1."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def compare(portraits: np.ndarray, photos: np.ndarray, identities: np.ndarray) -> Likeness:
    """One encoder's view.

    Args:
        portraits: [K, D] unit embeddings.
        photos: [N, D] unit embeddings of everybody.
        identities: [N] whose they are.
    """
    sums = np.zeros((identities.max() + 1, photos.shape[1]))
    np.add.at(sums, identities, photos)
    shown = np.concatenate([portraits, unit(portraits.mean(0))[None]])
    people = (shown @ unit(sums).T).max(0)
    among = (portraits @ portraits.T)[np.triu_indices(len(portraits), 1)]
    return Likeness(
        person=float(people.max()),
        photo=float((shown @ photos.T).max()),
        least=float(among.min()),
        mean=float(among.mean()),
        people=people,
    )


def worst(views: list[Likeness]) -> Likeness:
    """What the least favourable encoder says, figure by figure."""
    return replace(
        views[0],
        person=max(view.person for view in views),
        photo=max(view.photo for view in views),
        least=min(view.least for view in views),
        mean=min(view.mean for view in views),
        people=np.max([view.people for view in views], 0),
    )


def embed_all(library: FaceLibrary, encoder: IdentityEncoder, batch: int = 64) -> np.ndarray:
    """Unit embeddings [N, D] of every photo."""
    rows = []
    for start in range(0, len(library), batch):
        indices = list(range(start, min(start + batch, len(library))))
        points = torch.from_numpy(library.keypoints[indices])
        rows.append(encoder.embed(library.tensor(indices), points).vectors.numpy())
    return unit(np.concatenate(rows))


def read_crowd(
    shared: Path, cache: Path | None, names: tuple[str, ...] = ("train", "val"), at_most: int | None = None
) -> Crowd:
    """Read the photos of the named splits and both encoders of the shared folder. The library holds the first split.

    Args:
        shared: the folder with ``data/faces`` and ``weights/insightface``.
        cache: a folder that keeps the embeddings, or None.
        names: the splits.
        at_most: photos per person, for a quick look; None takes all.

    Raises:
        FileFormatError: no photos there.
        MissingPackageError: no encoder there, or onnxruntime is not installed.
    """
    splits = [_first(read_archive(shared / "data" / "faces", name), at_most) for name in names]
    encoders = tuple(InsightFaceEncoder(shared / "weights" / "insightface" / "models" / pack) for pack in PACKS)
    kept = [cache / f"{pack}-{'-'.join(names)}-{at_most or 'all'}.npy" if cache else None for pack in PACKS]
    vectors = tuple(_vectors(path, splits, encoder) for path, encoder in zip(kept, encoders, strict=True))
    first = np.cumsum([0] + [len(split.names) for split in splits[:-1]])
    numbers = np.concatenate([split.identities + start for split, start in zip(splits, first, strict=True)])
    return Crowd(library=splits[0], encoders=encoders, vectors=vectors, identities=numbers)


def _first(library: FaceLibrary, count: int | None) -> FaceLibrary:
    """The first photos of every person only."""
    if count is None:
        return library
    kept = np.sort(np.concatenate([photos[:count] for photos in library.people()]))
    photos = [library.photos[index] for index in kept]
    return replace(library, photos=photos, identities=library.identities[kept], keypoints=library.keypoints[kept])


def _vectors(path: Path | None, splits: list[FaceLibrary], encoder: IdentityEncoder) -> np.ndarray:
    """Embeddings of all photos of all splits, from the cache where it has as many."""
    if path and path.is_file():
        stored = np.load(path, allow_pickle=False)
        if len(stored) == sum(map(len, splits)):
            return stored
    vectors = np.concatenate([embed_all(split, encoder) for split in splits])
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.save(file, vectors)
    return vectors
