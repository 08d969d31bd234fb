"""People's own photos: found, cut out at the side that a training needs, and kept in one file for the next start.

The cut-outs of many photos need more memory than a machine has, and finding the faces takes longer than a start of a
training may; so they go into a file once, and are read from it one by one.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from ..errors import FileFormatError, ImageError
from ..geometry import Alignment, ffhq_template
from ..images import atomic_path, list_images, read_image, to_uint8
from ..references import crop_side
from .data import FaceLibrary

LEAST_SHARPNESS = 0.8
"""Photo pixels per cut-out pixel, at least: fewer would teach the denoiser that sharp faces are blurred (ours)."""
_QUALITY = 95  # JPEG

FindKeypoints = Callable[[Tensor], "np.ndarray | None"]
"""Picture [1, 3, H, W] -> [5, 2] of its main face, or None."""


class PhotoFile(Sequence[bytes]):
    """Coded photos one after the other in one file; each is read when it is asked for.

    Args:
        path: the file.
        ends: [N] int64, where each photo ends.
    """

    def __init__(self, path: Path, ends: np.ndarray) -> None:
        self.path, self.ends = path, ends
        self.lengths = np.diff(ends, prepend=0)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index):  # pyright: ignore[reportIncompatibleMethodOverride]
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        index = range(len(self))[int(index)]
        with self.path.open("rb") as file:  # opened anew: the processes that draw batches must not share a place in it
            file.seek(int(self.ends[index] - self.lengths[index]))
            return file.read(int(self.lengths[index]))


@dataclass(frozen=True, kw_only=True)
class _CutOut:
    photo: bytes
    keypoints: np.ndarray  # [5, 2] float32, in its pixels
    person: str


def read_folders(
    folder: Path, find_keypoints: FindKeypoints, size: int = 128, cache: Path | None = None, label: str = ""
) -> FaceLibrary:
    """A folder with one folder per person.

    Photos without a face are left out, and so are those whose face has too few pixels to fill the cut-out (fewer than
    :data:`LEAST_SHARPNESS` for one of its pixels, along a side); ``left_out`` counts both.

    Args:
        folder: ``folder/ANNA/*.jpg``, ``folder/BEN/*.png`` ...
        find_keypoints: see :data:`FindKeypoints`.
        size: side of the face crop that is to be trained; the photos become 1.5 times as wide.
        cache: a folder that keeps the cut-outs; None keeps them in memory. Other files, sizes of files or dates of
            change in ``folder`` are another entry.
        label: names who finds the keypoints, for the cache.

    Raises:
        FileFormatError: nothing is left.
    """
    people = {person.name: list_images(person) for person in sorted(folder.iterdir()) if person.is_dir()}
    if cache is None:
        found = list(_cut_outs(people, find_keypoints, size, left := Counter()))
        photos: Sequence[bytes] = [item.photo for item in found]
        points, names = [item.keypoints for item in found], [item.person for item in found]
    else:
        photos, points, names, left = _cached(cache, _digest(people, size, label), people, find_keypoints, size)
    told = tuple(f"{count} {reason}" for reason, count in sorted(left.items()))
    if not len(photos):
        remedy = "give one folder per person, or train a smaller size"
        raise FileFormatError(f"photo folder {folder}", f"no photo to use ({', '.join(told) or 'empty'})", remedy)
    order = {name: place for place, name in enumerate(sorted(set(names)))}
    return FaceLibrary(
        photos=photos,
        identities=np.array([order[name] for name in names], np.int64),
        names=list(order),
        keypoints=np.asarray(points, np.float32),
        side=crop_side(size),
        left_out=told,
    )


def _cut_outs(
    people: dict[str, list[Path]], find_keypoints: FindKeypoints, size: int, left: Counter[str]
) -> Iterator[_CutOut]:
    for person, paths in people.items():
        for path in paths:
            try:
                image = read_image(path)
            except ImageError:
                left["unreadable"] += 1
                continue
            keypoints = find_keypoints(image)
            if keypoints is None:
                left["without a face"] += 1
            elif item := _cut_out(image, np.asarray(keypoints), size, person):
                yield item
            else:
                left[f"with too small a face (it has to fill {round(LEAST_SHARPNESS * size)} px of {size})"] += 1


def _cut_out(image: Tensor, keypoints: np.ndarray, size: int, person: str) -> _CutOut | None:
    """None where the face is too small."""
    side = crop_side(size)
    template = ffhq_template(size) + (side - size) // 2
    alignment = Alignment.from_keypoints(keypoints, (image.shape[-1], image.shape[-2]), size=side, template=template)
    if alignment.scale > 1 / LEAST_SHARPNESS:
        return None
    crop = to_uint8(alignment.crop(image))
    coded = cv2.imencode(".jpg", crop[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
    return _CutOut(photo=coded, keypoints=np.asarray(alignment.to_crop(keypoints), np.float32), person=person)


def _digest(people: dict[str, list[Path]], size: int, label: str) -> str:
    digest = hashlib.sha256(f"{size}|{LEAST_SHARPNESS}|{label}".encode())
    for person, paths in people.items():
        for path in paths:
            state = path.stat()
            digest.update(f"{person}/{path.name}|{state.st_size}|{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _cached(
    cache: Path, digest: str, people: dict[str, list[Path]], find_keypoints: FindKeypoints, size: int
) -> tuple[PhotoFile, np.ndarray, list[str], Counter[str]]:
    """The cut-outs from their file, which is written first where it is missing; photos, points, people, left out."""
    photos, about = cache / f"faces-{digest}.bin", cache / f"faces-{digest}.npz"
    if not about.is_file():  # it is written last
        cache.mkdir(parents=True, exist_ok=True)
        ends, points, names, left = [], [], [], Counter()
        with atomic_path(photos) as temporary, open(temporary, "wb") as file:
            for item in _cut_outs(people, find_keypoints, size, left):
                file.write(item.photo)
                ends.append(file.tell())
                points.append(item.keypoints)
                names.append(item.person)
        told = np.frombuffer(json.dumps([names, left]).encode(), np.uint8)
        with atomic_path(about) as temporary, open(temporary, "wb") as file:
            keypoints = np.asarray(points, np.float32).reshape(-1, 5, 2)
            np.savez(file, ends=np.array(ends, np.int64), keypoints=keypoints, told=told)
    with np.load(about, allow_pickle=False) as stored:
        names, left = json.loads(stored["told"].tobytes())
        return PhotoFile(photos, stored["ends"]), stored["keypoints"], names, Counter(left)
