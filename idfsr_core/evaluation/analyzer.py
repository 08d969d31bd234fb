"""How well analyzers find faces of a few pixels: detection rate, false finds, landmark error, at several sizes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ArgumentError, ImageError
from ..faces.analyzer import FaceAnalyzer
from ..faces.cropping import box_from_keypoints
from ..faces.decoding import overlap
from ..faces.face import Face
from ..images import read_image, to_tensor, to_uint8

HEIGHTS = (3, 6, 12, 25, 50)  # of the face, in pixels
CANVAS = 160  # side of the pictures
QUALITY = 85  # of their JPEG
MATCH = 0.3  # intersection over union from which on a find is the face
LEAST = 0.05  # score from which on finds are gathered, so that other thresholds can be judged afterwards
FALSE_RATE = 0.1  # false finds per picture at which detectors are compared with each other


@dataclass(frozen=True, kw_only=True)
class Source:
    """A photo with known faces."""

    image: np.ndarray  # [H, W, 3] uint8 RGB
    keypoints: np.ndarray  # [n, 5, 2]; the first face is the one to find, the others count neither way


@dataclass(frozen=True, kw_only=True)
class Case:
    """One picture of the benchmark."""

    image: Tensor  # [1, 3, S, S], 0..1
    keypoints: np.ndarray  # [5, 2] of the face to find
    others: np.ndarray  # [m, 4] boxes of further faces


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the report: one analyzer at one size."""

    analyzer: str
    height: int
    pictures: int
    found: float  # part of the faces found at the analyzer's own threshold
    false_finds: float  # per picture, at that threshold
    error: float  # mean distance of the five keypoints of found faces over the eye distance
    median_error: float
    found_at_rate: float  # part found at the threshold that gives FALSE_RATE false finds per picture over all sizes


def make_case(source: Source, background: np.ndarray, height: float, rng: np.random.Generator) -> Case | None:
    """The photo shrunk until its face is ``height`` pixels tall, at a random place of a background, as a JPEG.

    None where the photo would have to be enlarged, or does not fit onto the background [S, S, 3].
    """
    box = _boxes(source.keypoints)[0]
    zoom = height / (box[3] - box[1])
    shape = [max(1, round(side * zoom)) for side in source.image.shape[1::-1]]
    size = background.shape[0]
    if zoom > 1:
        return None
    small = cv2.resize(source.image, shape, interpolation=cv2.INTER_AREA)
    true = np.array(shape) / source.image.shape[1::-1]
    points = (source.keypoints + 0.5) * true - 0.5
    small, points = _fit(small, points, size)
    corner = np.array([rng.integers(0, size - side + 1) for side in small.shape[1::-1]])
    canvas = background.copy()
    canvas[corner[1] : corner[1] + small.shape[0], corner[0] : corner[0] + small.shape[1]] = small
    points = points + corner
    return Case(image=to_tensor(_as_jpeg(canvas)), keypoints=points[0], others=_boxes(points[1:]))


def _as_jpeg(pixels: np.ndarray) -> np.ndarray:
    """A picture [H, W, 3] RGB written as a JPEG and read again."""
    _, code = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    decoded = cv2.imdecode(code, cv2.IMREAD_COLOR)
    if decoded is None:
        raise ImageError("benchmark picture", f"{pixels.shape} not readable as JPEG", "reinstall OpenCV")
    return np.ascontiguousarray(decoded[..., ::-1])


def _fit(small: np.ndarray, points: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut a photo that is larger than the canvas, keeping its first face as near to the middle as can be."""
    box = _boxes(points)[0]
    extent = np.array(small.shape[1::-1])
    low = np.clip(np.round((box[:2] + box[2:]) / 2 - size / 2), 0, np.maximum(extent - size, 0)).astype(int)
    high = np.minimum(low + size, extent)
    return small[low[1] : high[1], low[0] : high[0]], points - low


def background_without_faces(
    sources: Sequence[Source], rng: np.random.Generator, size: int = CANVAS, doubtful: Sequence[np.ndarray] = ()
) -> np.ndarray:
    """A square [size, size, 3] cut from a random photo clear of its faces and of ``doubtful`` boxes, enlarged.

    Raises:
        ArgumentError: no photo has room beside its faces.
    """
    for _ in range(200):
        i = int(rng.integers(len(sources)))
        image, boxes = sources[i].image, _boxes(sources[i].keypoints)
        if len(doubtful):
            boxes = np.concatenate([boxes, doubtful[i]])
        side = int(rng.uniform(0.35, 0.7) * min(image.shape[:2]))
        low = np.array([rng.integers(0, image.shape[1] - side + 1), rng.integers(0, image.shape[0] - side + 1)])
        if not ((boxes[:, :2] < low + side) & (boxes[:, 2:] > low)).all(1).any():
            part = image[low[1] : low[1] + side, low[0] : low[0] + side]
            return cv2.resize(part, (size, size), interpolation=cv2.INTER_CUBIC)
    raise ArgumentError("backgrounds", f"{len(sources)} photos", "give photos with room beside the faces")


def benchmark(
    analyzers: Mapping[str, FaceAnalyzer],
    thresholds: Mapping[str, float],
    sources: Sequence[Source],
    backgrounds: Callable[[np.random.Generator], np.ndarray],
    heights: Sequence[int] = HEIGHTS,
    seed: int = 0,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Every analyzer on the same pictures, one per source and height."""
    finds: dict[tuple[str, int], list[Find]] = {}
    for height in heights:
        rng = np.random.default_rng(seed + height)
        cases = [case for source in sources if (case := make_case(source, backgrounds(rng), height, rng))]
        if not cases:
            continue
        for name, analyzer in analyzers.items():
            finds[name, height] = [_look(analyzer, case) for case in cases]
            progress(f"{name} at {height} px: {len(cases)} pictures")
    equal = {name: _threshold_at([f for key, fs in finds.items() if key[0] == name for f in fs]) for name in analyzers}
    return [_row(*key, found, thresholds[key[0]], equal[key[0]]) for key, found in finds.items()]


@dataclass(frozen=True, kw_only=True)
class Find:
    """What one analyzer saw in one picture, at a low threshold."""

    score: float  # of the find that matches the face best by score; -1 where none does
    error: float  # of that find, over the eye distance
    false_scores: list[float]


def _look(analyzer: FaceAnalyzer, case: Case) -> Find:
    return judge(analyzer.analyze(case.image, LEAST), case)


def judge(faces: Sequence[Face], case: Case) -> Find:
    """Match what was found with what is there."""
    truth = torch.from_numpy(_boxes(case.keypoints[None]))
    others = torch.from_numpy(case.others)
    best, error, false = -1.0, float("nan"), []
    for face in sorted(faces, key=lambda face: -face.score):
        box = torch.from_numpy(face.box).double()[None]
        if overlap(box, truth).item() >= MATCH:
            if best < 0:
                best, error = face.score, point_error(face.keypoints, case.keypoints)
        elif not len(others) or overlap(box, others).max().item() < 0.1:
            false.append(face.score)
    return Find(score=best, error=error, false_scores=false)


def point_error(points: np.ndarray, truth: np.ndarray) -> float:
    """Mean distance of five points over the true distance between the eyes."""
    return float(np.linalg.norm(points - truth, axis=-1).mean() / np.linalg.norm(truth[1] - truth[0]))


def _threshold_at(finds: Sequence[Find]) -> float:
    """The score above which there are FALSE_RATE false finds per picture."""
    scores = sorted((score for find in finds for score in find.false_scores), reverse=True)
    allowed = int(FALSE_RATE * len(finds))
    return scores[allowed] + 1e-6 if allowed < len(scores) else LEAST


def _row(name: str, height: int, finds: Sequence[Find], own: float, equal: float) -> Row:
    errors = np.array([find.error for find in finds if find.score >= own])
    return Row(
        analyzer=name, height=height, pictures=len(finds),
        found=float(np.mean([find.score >= own for find in finds])),
        false_finds=sum(score >= own for find in finds for score in find.false_scores) / len(finds),
        error=float(errors.mean()) if len(errors) else float("nan"),
        median_error=float(np.median(errors)) if len(errors) else float("nan"),
        found_at_rate=float(np.mean([find.score >= equal for find in finds])),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BoxRow:
    """Landmark error inside a rough box at one size."""

    height: int
    pictures: int
    five: float  # mean distance of five keypoints over the eye distance
    dense: float | None  # the same of 68 landmarks, where the truth has them
    expected: float  # what the network itself expects of a landmark, over the eye distance


def rough_box_errors(
    crop_points: Callable, images: np.ndarray, keypoints: np.ndarray, landmarks: np.ndarray | None = None,
    heights: Sequence[int] = HEIGHTS, seed: int = 0,
) -> list[BoxRow]:  # fmt: skip
    """Landmarks inside boxes that are off by 8 % of their size and 12 % in scale (standard deviations).

    Args:
        crop_points: :meth:`CompactAnalyzer.crop_points` or the like.
        images: [N, S, S, 3] uint8 RGB, all of one size.
        keypoints: [N, 5, 2]; ``landmarks``: [N, 68, 2] or None.
    """
    generator = torch.Generator().manual_seed(seed)
    truth = torch.from_numpy(np.asarray(keypoints, np.float32))
    boxes = _jitter(box_from_keypoints(truth), generator)
    eyes = (truth[:, 1] - truth[:, 0]).norm(dim=1)
    face = float((boxes[:, 3] - boxes[:, 1]).median())
    rows = []
    for height in heights:
        side = max(2, round(images.shape[1] * height / face))
        zoom = side / images.shape[1]
        points = crop_points(_shrink(images, side), (boxes + 0.5) * zoom - 0.5)
        back = lambda value, zoom=zoom: (value + 0.5) / zoom - 0.5
        five = ((back(points.keypoints) - truth).norm(dim=-1).mean(1) / eyes).mean().item()
        dense = None
        if landmarks is not None:
            apart = back(points.landmarks) - torch.from_numpy(landmarks)
            dense = (apart.norm(dim=-1).mean(1) / eyes).mean().item()
        expected = (points.spread / zoom / eyes).mean().item()
        rows.append(BoxRow(height=height, pictures=len(images), five=five, dense=dense, expected=expected))
    return rows


def _jitter(boxes: Tensor, generator: torch.Generator) -> Tensor:
    span = (boxes[:, 2:] - boxes[:, :2]).amax(1, keepdim=True)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 + 0.08 * span * torch.randn(len(boxes), 2, generator=generator)
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * torch.exp(0.12 * torch.randn(len(boxes), 1, generator=generator))
    return torch.cat([centre - half, centre + half], 1)


def _shrink(images: np.ndarray, side: int) -> Tensor:
    batch = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255
    return F.interpolate(batch, size=(side, side), mode="area") if side < batch.shape[-1] else batch


def markdown(rows: Sequence[Row], boxes: Sequence[BoxRow] = ()) -> str:
    """Both tables, with the conditions in a line above each."""
    lines = [
        f"Faces shrunk to a height, at a random place of a face-free {CANVAS} px background, JPEG quality {QUALITY}.",
        "",
        f"| height, px | analyzer | n | found | false finds per picture | error | median error | found at {FALSE_RATE} "
        "false per picture |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {r.height} | {r.analyzer} | {r.pictures} | {r.found:.3f} | {r.false_finds:.2f} | {r.error:.3f} "
        f"| {r.median_error:.3f} | {r.found_at_rate:.3f} |"
        for r in sorted(rows, key=lambda r: (r.height, r.analyzer))
    ]
    if boxes:
        lines += ["", "Inside a rough box (off by 8 % of its size, 12 % in scale):", ""]
        lines += [
            "| height, px | n | five keypoints | 68 landmarks | expected by the network |",
            "| --- |" + " --- |" * 4,
        ]
        lines += [
            f"| {b.height} | {b.pictures} | {b.five:.3f} | {'-' if b.dense is None else f'{b.dense:.3f}'} "
            f"| {b.expected:.3f} |"
            for b in boxes
        ]
    return "\n".join(lines) + "\n"


def to_json(rows: Sequence[Row], boxes: Sequence[BoxRow] = ()) -> str:
    """Both tables as JSON; what is not a number is null."""
    clean = lambda value: None if isinstance(value, float) and not np.isfinite(value) else value
    table = lambda items: [{key: clean(value) for key, value in asdict(item).items()} for item in items]
    return json.dumps({"pictures": table(rows), "rough_boxes": table(boxes)}, indent=1)


def scene_sources(folder: Path, split: str = "val") -> list[Source]:
    """The whole photos of one split, the largest face of each first."""
    sources = []
    for row in map(json.loads, (folder / "index.jsonl").read_text().splitlines()):
        if row["split"] == split and row["faces"]:
            faces = sorted(row["faces"], key=lambda face: face["box"][1] - face["box"][3])
            points = np.array([face["keypoints"] for face in faces], np.float64)
            sources.append(Source(image=to_uint8(read_image(folder / row["file"])), keypoints=points))
    return sources


def _boxes(keypoints: np.ndarray) -> np.ndarray:
    return box_from_keypoints(torch.from_numpy(np.asarray(keypoints, np.float64).reshape(-1, 5, 2))).numpy()
