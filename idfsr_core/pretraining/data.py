"""The training photos: aligned crops with who they show, where the points are, and their identity embeddings.

Two sources give the same :class:`FaceLibrary`: an archive (tar files and ``index.jsonl``) and a plain folder with one
folder of photos per person (:mod:`.folders`). Landmarks and embeddings come from an analyzer and an encoder, once, and
are cached.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from ..errors import FileFormatError, ImageError
from ..images import atomic_path

PHOTO_SIZE = 192  # side of an archive's crop; its inner 128 pixels are the FFHQ-style crop, the margin is for jitter
MARGIN = 32


@dataclass(frozen=True, kw_only=True)
class FaceLibrary:
    """N aligned photos of ``side`` pixels, R for short. Points are pixels of them."""

    photos: Sequence[bytes]  # JPEG or PNG, RxR
    identities: np.ndarray  # [N] int64, 0..people-1
    names: list[str]  # one per person
    keypoints: np.ndarray  # [N, 5, 2] float32
    landmarks: np.ndarray | None = None  # [N, 68, 2] float32
    embeddings: np.ndarray | None = None  # [N, D] float32, unit norm
    side: int = PHOTO_SIZE  # R: 1.5 times the side of the FFHQ-style crop in their middle
    left_out: tuple[str, ...] = ()  # which photos were not taken, counted, in words

    @property
    def size(self) -> int:
        """Side of the FFHQ-style crop in the middle of a photo: the largest for which they can be used."""
        return self.side // 3 * 2

    def __len__(self) -> int:
        return len(self.photos)

    def photo(self, index: int) -> np.ndarray:
        """[R, R, 3] uint8 RGB."""
        data = cv2.imdecode(np.frombuffer(self.photos[index], np.uint8), cv2.IMREAD_COLOR)
        if data is None:
            raise ImageError(f"photo {index} of the library", "unreadable", "make the archive again")
        return data[:, :, ::-1]

    def tensor(self, indices: list[int]) -> Tensor:
        """[B, 3, R, R] float32, 0..1."""
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
            landmarks: (images [B, 3, R, R], keypoints [B, 5, 2]) -> [B, 68, 2].
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
            _save(path, **found)
        return replace(self, **found)

    def embedded(
        self,
        embed: Callable[[Tensor, Tensor], Tensor],
        batch: int = 64,
        label: str = "",
        cache: Path | None = None,
    ) -> np.ndarray:
        """The photos' embeddings [N, D] by ``embed`` (images [B, 3, R, R], keypoints [B, 5, 2]) -> [B, D].

        ``label`` and ``cache`` are those of :meth:`annotated`.
        """
        path = cache / f"embeddings-{self._digest(label)}.npz" if cache else None
        if path and path.is_file():
            with np.load(path, allow_pickle=False) as stored:
                return stored["embeddings"]
        found = self._asked(embed, batch)
        if path:
            _save(path, embeddings=found)
        return found

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
        lengths = getattr(self.photos, "lengths", None)  # of photos in a file, so that it need not be read
        for length in map(len, self.photos) if lengths is None else map(int, lengths):
            digest.update(length.to_bytes(8, "little"))
        return digest.hexdigest()[:16]


def _save(path: Path, **arrays: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]


def write_archive(folder: Path, library: FaceLibrary, split: str = "train", shard: int = 4000) -> Path:
    """The opposite of :func:`read_archive`: tar files of at most ``shard`` photos each, and the index, which is last.

    Raises:
        FileFormatError: there is an index already, or the photos are not those of an archive (192 px).
    """
    index = folder / "index.jsonl"
    if index.exists():
        raise FileFormatError(f"photo archive {folder}", "index.jsonl is there already", "name another folder")
    if library.side != PHOTO_SIZE:
        raise FileFormatError(f"photo archive {folder}", f"photos of {library.side} px", f"give {PHOTO_SIZE} px")
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for start in range(0, len(library), shard):
        name = f"faces-{start // shard:03d}.tar"
        with atomic_path(folder / name) as temporary, tarfile.open(temporary, "w") as tar:
            for number in range(start, min(start + shard, len(library))):
                person, photo = library.names[int(library.identities[number])], library.photos[number]
                entry = tarfile.TarInfo(f"{person}/{number:07d}.jpg")
                entry.size = len(photo)
                tar.addfile(entry, io.BytesIO(photo))
                points = library.keypoints[number].astype(float).round(2).tolist()
                row = {"file": entry.name, "shard": name, "identity": person, "split": split, "keypoints": points}
                rows.append(json.dumps(row, ensure_ascii=False))
    with atomic_path(index) as temporary:
        Path(temporary).write_text("\n".join(rows) + "\n", encoding="utf-8")
    return index


def read_archive(folder: Path, split: str) -> FaceLibrary:
    """The people of one split ("train" or "val") of a folder with ``index.jsonl`` and the tar files it names."""
    index = folder / "index.jsonl"
    if not index.is_file():
        raise FileFormatError(f"photo archive {folder}", "no index.jsonl", "name the folder that holds it")
    rows = [row for row in map(json.loads, index.read_text(encoding="utf-8").splitlines()) if row["split"] == split]
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
