"""What the compact encoder is trained on: photos with their teacher's embedding, spoiled in the ways photos are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np
import torch

from ..errors import ArgumentError
from ..geometry import arcface_template, similarity_from_points
from ..identity.network import FACE_SIZE

if TYPE_CHECKING:
    from .data import FaceLibrary

_SCENE = 144
"""Side of the intermediate picture in which a degraded face lies, at the scale of the aligned face."""


class Images(Protocol):
    """Photos by index, [H, W, 3] uint8 RGB each: an array, a memory map, or a reader of files."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> np.ndarray: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class EncoderPhotos:
    """Photos of one face each, with what the teacher makes of them."""

    images: Images
    to_face: np.ndarray  # [N, 2, 3] float64: picture -> aligned face of 112x112 pixels
    targets: np.ndarray  # [N, D] float32, unit norm: the teacher's embedding of the photo as it is
    person: np.ndarray  # [N] int64: photos with the same number show the same person; -1 shows nobody (a blend)

    def __post_init__(self) -> None:
        count = len(self.images)
        if count == 0 or {len(self.to_face), len(self.targets), len(self.person)} != {count}:
            sizes = [len(v) for v in (self.images, self.to_face, self.targets, self.person)]
            raise ArgumentError("EncoderPhotos", sizes, "give as many matrices, targets and people as images")
        if not np.isfinite(self.targets).all():
            raise ArgumentError("EncoderPhotos.targets", "not finite", "leave out photos that the teacher cannot embed")

    def __len__(self) -> int:
        return len(self.images)

    def prototypes(self) -> tuple[np.ndarray, np.ndarray]:
        """Unit mean embedding of each person [P, D], and the row of each photo [N], -1 for blends."""
        real = self.person >= 0
        people, inverse = np.unique(self.person[real], return_inverse=True)
        sums = np.zeros((len(people), self.targets.shape[1]), np.float32)
        np.add.at(sums, inverse, self.targets[real])
        rows = np.full(len(self), -1, np.int64)
        rows[real] = inverse
        return sums / np.linalg.norm(sums, axis=1, keepdims=True), rows


@dataclass(frozen=True, kw_only=True)
class SpoilSettings:
    """How much a spoiled training face is spoiled. The figures are ours, chosen before training."""

    side: tuple[float, float] = (6.0, 96.0)
    """Side of the aligned face in pixels after shrinking, drawn evenly on a log scale."""
    shift: float = 2.0
    """Alignment error, standard deviation in pixels of 112, plus a third of a shrunken pixel where the face shrinks."""
    turn: float = 4.0
    """Alignment error, standard deviation in degrees."""
    zoom: float = 0.04
    """Alignment error, standard deviation of the logarithm of the scale."""
    grey: float = 0.12
    """Share without colour, half of them tinted and faded."""


@dataclass(frozen=True, kw_only=True)
class UnspoiledSettings:
    """How much the other training faces differ from the photo; they keep its sharpness. The figures are ours."""

    shift: float = 1.5
    """Alignment error, standard deviation in pixels of 112."""
    turn: float = 3.0
    """Alignment error, standard deviation in degrees."""
    zoom: float = 0.03
    """Alignment error, standard deviation of the logarithm of the scale."""
    light: float = 0.4
    """Share whose light and colours change."""
    grey: float = 0.12
    """Share of those that lose their colour, half of them tinted and faded."""


def _similarity(angle: float, scale: float, shift: np.ndarray, centre: float) -> np.ndarray:
    """[3, 3]: turn by ``angle`` (radians) and scale about ``centre``, then shift."""
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    middle = np.array([centre, centre])
    linear = np.array([[c, -s], [s, c]])
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = middle + shift - linear @ middle
    return matrix


def _full(matrix: np.ndarray) -> np.ndarray:
    return np.vstack([matrix, [0, 0, 1]])


def _warp(image: np.ndarray, matrix: np.ndarray, size: int, flags: int = cv2.INTER_LINEAR) -> np.ndarray:
    return cv2.warpAffine(image, matrix[:2], (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _light(face: np.ndarray, rng: np.random.Generator, grey: float) -> np.ndarray:
    """Exposure, gamma, colour cast, loss of colour in a share of ``grey``, fading. uint8 in, uint8 out."""
    if rng.random() < 0.4 and rng.random() > grey:
        return face
    x = np.linspace(0, 1, 256, dtype=np.float32)[:, None] ** np.exp(rng.normal(0, 0.2))
    x = (x * np.exp(rng.normal(0, 0.1)) * np.exp(rng.normal(0, 0.06, 3)) - 0.5) * np.exp(rng.normal(0, 0.15)) + 0.5
    if rng.random() < grey:
        face = np.repeat(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)[:, :, None], 3, 2)
        if rng.random() < 0.5:
            low, high = rng.uniform(0, 0.3), rng.uniform(0.65, 1)
            tint = np.array([1, rng.uniform(0.85, 1), rng.uniform(0.65, 1)])
            x = (low + (high - low) * x) * tint
        else:
            x = x.mean(1, keepdims=True).repeat(3, 1)
    table = np.clip(np.rint(x * 255), 0, 255).astype(np.uint8)
    return cv2.LUT(face, np.ascontiguousarray(table)[:, None, :])


def _blur(face: np.ndarray, rng: np.random.Generator, pixel: float) -> np.ndarray:
    """A lens out of focus, or a short stroke of motion; ``pixel`` is the size of a shrunken pixel."""
    if rng.random() < 0.7:
        sigma = rng.uniform(0.1, 1.0) * pixel
        return cv2.GaussianBlur(face, (0, 0), sigma) if sigma > 0.3 else face
    length = max(3, round(rng.uniform(1, 2.5) * pixel)) | 1
    kernel = np.zeros((length, length), np.float32)
    half, angle = length // 2, rng.uniform(0, np.pi)
    tip = (round(half + half * np.cos(angle)), round(half + half * np.sin(angle)))
    cv2.line(kernel, (length - 1 - tip[0], length - 1 - tip[1]), tip, 1.0)
    return cv2.filter2D(face, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def _shrink(scene: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """Fewer pixels, then what a camera and a file add to them: noise and JPEG."""
    flags = (cv2.INTER_AREA, cv2.INTER_AREA, cv2.INTER_AREA, cv2.INTER_LINEAR)[rng.integers(4)]
    small = cv2.resize(scene, (side, side), interpolation=flags)
    if rng.random() < 0.5:
        noise = rng.standard_normal(small.shape, np.float32) * (12 * rng.random() ** 2)
        if rng.random() < 0.3:
            noise = noise[:, :, :1]
        small = np.clip(np.rint(small + noise), 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 96))])
        small = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return small


def _misalign(rng: np.random.Generator, settings: SpoilSettings | UnspoiledSettings, pixel: float = 0.0) -> np.ndarray:
    shift = rng.normal(0, settings.shift + pixel / 3, 2)
    angle = np.deg2rad(rng.normal(0, settings.turn))
    return _similarity(angle, np.exp(rng.normal(0, settings.zoom)), shift, (FACE_SIZE - 1) / 2)


def _mirrored_half(to_face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[3, 3]: photo -> aligned face, or its mirror image."""
    matrix = _full(to_face)
    return np.array([[-1, 0, FACE_SIZE - 1], [0, 1, 0], [0, 0, 1]]) @ matrix if rng.random() < 0.5 else matrix


def unspoiled(
    image: np.ndarray, to_face: np.ndarray, rng: np.random.Generator, settings: UnspoiledSettings
) -> np.ndarray:
    """One aligned training face as sharp as the photo, [112, 112, 3] uint8; arguments as of :func:`spoil`."""
    matrix = _mirrored_half(to_face, rng)
    face = _warp(image, _misalign(rng, settings) @ matrix, FACE_SIZE)
    return _light(face, rng, settings.grey) if rng.random() < settings.light else face


def spoil(image: np.ndarray, to_face: np.ndarray, rng: np.random.Generator, settings: SpoilSettings) -> np.ndarray:
    """One aligned training face with less in it than in the photo, [112, 112, 3] uint8.

    Args:
        image: the photo, [H, W, 3] uint8, RGB.
        to_face: [2, 3], photo -> aligned face.
        rng: draws everything; equal states give equal faces.
        settings: how much.
    """
    matrix = _mirrored_half(to_face, rng)
    low, high = np.log(settings.side)
    pixel = FACE_SIZE / np.exp(rng.uniform(low, high))
    # The face stands somewhere in a scene, turned; the scene shrinks; the face is cut out and turned back.
    place = _similarity(np.deg2rad(rng.normal(0, 8)), 1.0, rng.uniform(-4, 4, 2) + (_SCENE - FACE_SIZE) / 2, 55.5)
    scene = _light(_warp(image, place @ matrix, _SCENE), rng, settings.grey)
    if rng.random() < 0.4:
        scene = _blur(scene, rng, pixel)
    side = max(4, round(_SCENE / pixel))
    ratio = side / _SCENE
    shrink = np.array([[ratio, 0, ratio / 2 - 0.5], [0, ratio, ratio / 2 - 0.5], [0, 0, 1]])
    back = _misalign(rng, settings, pixel) @ np.linalg.inv(shrink @ place)
    flags = cv2.INTER_CUBIC if rng.random() < 0.3 else cv2.INTER_LINEAR
    return _warp(_shrink(scene, side, rng), back, FACE_SIZE, flags)


class Teacher(Protocol):
    """Anything that embeds aligned faces, such as an ``OnnxEncoder``."""

    def embed_aligned(self, faces: np.ndarray) -> np.ndarray:
        """[B, 112, 112, 3] uint8 RGB -> [B, D] float32."""
        ...


class _LibraryImages:
    """A library's photos, decoded when they are asked for: all of them at once would fill the memory."""

    def __init__(self, library: FaceLibrary) -> None:
        self._library = library

    def __len__(self) -> int:
        return len(self._library)

    def __getitem__(self, index: int) -> np.ndarray:
        return np.ascontiguousarray(self._library.photo(index))


def collect(library: FaceLibrary, teacher: Teacher, *, batch: int = 64) -> EncoderPhotos:
    """Ask the teacher about every photo of a library, as it is.

    Args:
        library: photos, keypoints and people.
        teacher: embeds the aligned, unspoiled faces.
        batch: faces given to the teacher at once.
    """
    if len(library) == 0:
        raise ArgumentError("training photos", "none", "name a folder or an archive with at least one face")
    images = _LibraryImages(library)
    to_face = face_matrices(library.keypoints)
    parts = []
    for start in range(0, len(library), batch):
        rows = range(start, min(start + batch, len(library)))
        parts.append(teacher.embed_aligned(np.stack([_warp(images[i], _full(to_face[i]), FACE_SIZE) for i in rows])))
    targets = np.concatenate(parts).astype(np.float32)
    targets = targets / np.linalg.norm(targets, axis=1, keepdims=True)
    return EncoderPhotos(images=images, to_face=to_face, targets=targets, person=library.identities)


def face_matrices(keypoints: np.ndarray) -> np.ndarray:
    """[N, 2, 3] float64: the similarities that bring five keypoints [N, 5, 2] onto the ArcFace template."""
    points = torch.from_numpy(np.asarray(keypoints, np.float64))
    return similarity_from_points(points, arcface_template(FACE_SIZE).expand_as(points)).numpy()
