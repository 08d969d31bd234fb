"""The training photos: aligned crops with who they show, where the points are, and their identity embeddings.

Two sources give the same :class:`FaceLibrary`: an archive (tar files and ``index.jsonl``) and a plain folder with one
folder of photos per person. Landmarks and embeddings come from an analyzer and an encoder, once, and are cached.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from ..errors import FileFormatError, ImageError
from ..geometry import Alignment, ffhq_template
from ..images import atomic_path, list_images, read_image, to_uint8

PHOTO_SIZE = 192  # side of a stored crop; its inner 128 pixels are the FFHQ-style crop, the margin is for jitter
MARGIN = 32


@dataclass(frozen=True, kw_only=True)
class FaceLibrary:
    """N aligned photos. Points are pixels of the 192x192 crop."""

    photos: list[bytes]  # JPEG or PNG, 192x192
    identities: np.ndarray  # [N] int64, 0..people-1
    names: list[str]  # one per person
    keypoints: np.ndarray  # [N, 5, 2] float32
    landmarks: np.ndarray | None = None  # [N, 68, 2] float32
    embeddings: np.ndarray | None = None  # [N, D] float32, unit norm

    def __len__(self) -> int:
        return len(self.photos)

    def photo(self, index: int) -> np.ndarray:
        """[192, 192, 3] uint8 RGB."""
        data = cv2.imdecode(np.frombuffer(self.photos[index], np.uint8), cv2.IMREAD_COLOR)
        if data is None:
            raise ImageError(f"photo {index} of the library", "unreadable", "make the archive again")
        return data[:, :, ::-1]

    def tensor(self, indices: list[int]) -> Tensor:
        """[B, 3, 192, 192] float32, 0..1."""
        photos = np.stack([self.photo(index) for index in indices])
        return torch.from_numpy(photos).permute(0, 3, 1, 2).float() / 255

    def people(self) -> list[np.ndarray]:
        """The photos of each person, as indices."""
        order = np.argsort(self.identities, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(self.identities[order])) + 1)

    def annotated(
        self,
        landmarks: Callable[[Tensor, Tensor], Tensor],
        embed: Callable[[Tensor, Tensor], Tensor],
        label: str,
        cache: Path | None = None,
        batch: int = 64,
    ) -> FaceLibrary:
        """The same with landmarks and embeddings.

        Args:
            landmarks: (images [B, 3, 192, 192], keypoints [B, 5, 2]) -> [B, 68, 2].
            embed: the same -> [B, D].
            label: names analyzer and encoder with their weights; another label is another cache entry.
            cache: a folder; None keeps nothing.
        """
        path = cache / f"annotations-{self._digest(label)}.npz" if cache else None
        if path and path.is_file():
            with np.load(path, allow_pickle=False) as stored:
                return replace(self, landmarks=stored["landmarks"], embeddings=stored["embeddings"])
        found = {"landmarks": self._asked(landmarks, batch), "embeddings": self._asked(embed, batch)}
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary, open(temporary, "wb") as file:
                np.savez(file, **found)  # pyright: ignore[reportArgumentType]
        return replace(self, **found)

    def embedded(self, embed: Callable[[Tensor, Tensor], Tensor], batch: int = 64) -> np.ndarray:
        """The photos' embeddings [N, D] by ``embed`` (images [B, 3, 192, 192], keypoints [B, 5, 2]) -> [B, D]."""
        return self._asked(embed, batch)

    def _asked(self, network: Callable[[Tensor, Tensor], Tensor], batch: int) -> np.ndarray:
        """What a network says of every photo, in portions."""
        parts = []
        for start in range(0, len(self), batch):
            indices = list(range(start, min(start + batch, len(self))))
            with torch.no_grad():
                found = network(self.tensor(indices), torch.from_numpy(self.keypoints[indices]))
            parts.append(found.float().cpu().numpy())
        return np.concatenate(parts)

    def _digest(self, label: str) -> str:
        digest = hashlib.sha256(label.encode())
        digest.update(np.ascontiguousarray(self.keypoints).tobytes())
        for photo in self.photos:
            digest.update(len(photo).to_bytes(8, "little"))
        return digest.hexdigest()[:16]


def read_archive(folder: Path, split: str) -> FaceLibrary:
    """The people of one split ("train" or "val") of a folder with ``index.jsonl`` and the tar files it names."""
    index = folder / "index.jsonl"
    if not index.is_file():
        raise FileFormatError(f"photo archive {folder}", "no index.jsonl", "name the folder that holds it")
    rows = [row for row in map(json.loads, index.read_text().splitlines()) if row["split"] == split]
    if not rows:
        raise FileFormatError(f"photo archive {index}", f"no photos of split {split!r}", "use train or val")
    wanted = {(row["shard"], row["file"]) for row in rows}
    photos: dict[str, bytes] = {}
    for shard in sorted({row["shard"] for row in rows}):
        with tarfile.open(folder / shard) as tar:
            for member in tar:
                if (shard, member.name) in wanted:
                    photos[member.name] = tar.extractfile(member).read()  # pyright: ignore[reportOptionalMemberAccess]
    missing = [row["file"] for row in rows if row["file"] not in photos]
    if missing:
        raise FileFormatError(f"photo archive {folder}", f"{len(missing)} photos missing", f"{missing[0]} is one")
    names = sorted({row["identity"] for row in rows})
    number = {name: place for place, name in enumerate(names)}
    return FaceLibrary(
        photos=[photos[row["file"]] for row in rows],
        identities=np.array([number[row["identity"]] for row in rows], np.int64),
        names=names,
        keypoints=np.array([row["keypoints"] for row in rows], np.float32),
    )


def read_folders(folder: Path, find_keypoints: Callable[[Tensor], np.ndarray | None]) -> FaceLibrary:
    """A folder with one folder per person. Photos without a face are left out.

    Args:
        folder: ``folder/ANNA/*.jpg``, ``folder/BEN/*.png`` ...
        find_keypoints: picture [1, 3, H, W] -> [5, 2] of its main face, or None.
    """
    photos, identities, names, points = [], [], [], []
    for person in sorted(path for path in folder.iterdir() if path.is_dir()):
        found = [item for item in (_aligned(path, find_keypoints) for path in list_images(person)) if item]
        photos += [photo for photo, _ in found]
        points += [keypoints for _, keypoints in found]
        identities += [len(names)] * len(found)
        names += [person.name] if found else []
    if not photos:
        raise FileFormatError(f"photo folder {folder}", "no photo with a face", "give one folder per person")
    return FaceLibrary(
        photos=photos, identities=np.array(identities, np.int64), names=names, keypoints=np.stack(points)
    )


def _aligned(path: Path, find_keypoints: Callable[[Tensor], np.ndarray | None]) -> tuple[bytes, np.ndarray] | None:
    image = read_image(path)
    keypoints = find_keypoints(image)
    if keypoints is None:
        return None
    template = ffhq_template(PHOTO_SIZE - 2 * MARGIN) + MARGIN
    size = (image.shape[-1], image.shape[-2])
    alignment = Alignment.from_keypoints(keypoints, size, size=PHOTO_SIZE, template=template)
    crop = to_uint8(alignment.crop(image))
    coded = cv2.imencode(".jpg", crop[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    return coded, np.asarray(alignment.to_crop(np.asarray(keypoints)), np.float32)
