"""Make the sample people: portraits of people who do not exist, for the demo, the documents and the tests.

Each is blended from photos of twelve people of the training split who look alike from afar (tone, hair) and unlike to a
face encoder; the k-th portrait takes four photos of every one of them, in like pose and expression. Nobody of the data
may be recognised in a portrait: two encoders compare it with every person and every photo.

example:
  python -m idfsr_core.pretraining.sample_people --shared ../shared --output runs/samples
  python -m idfsr_core.pretraining.sample_people --shared ../shared --output runs/search --search 40
  python -m idfsr_core.pretraining.sample_people --shared ../shared --check idfsr_core/assets/samples
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..errors import ArgumentError
from ..faces.dense_onnx import DenseLandmarkModel
from ..faces.points import MIRROR_5, MIRROR_68
from ..images import read_image, to_tensor, to_uint8, write_bytes, write_image
from .blending import blend
from .crowd import LEAST, LIMIT, Crowd, Likeness, read_crowd
from .data import FaceLibrary
from .sample_scene import Figure, draw_scene

NAMES = ("anna", "ben", "clara")
_ROOM = 0.02  # what a portrait should stay below the limit: the file's compression moves the figures a little
LEADS = (212, 236, 226)  # which of the candidates each person is gathered around, chosen by eye after a search


PLACES = {  # in the group picture: where the eyes are, how wide the face is, the colour of the clothes
    "anna": ((82, 76), 16.0, (150, 62, 70)),
    "ben": ((130, 62), 16.5, (60, 84, 120)),
    "clara": ((180, 73), 15.5, (96, 104, 84)),
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a sample person is gathered."""

    donors: int = 12  # people per sample person
    portraits: int = 6
    photos: int = 4  # photos of every donor in one portrait
    least: int = 8  # a donor has this many photos or more
    pool: int = 80  # donors are taken from this many people who look alike from afar
    unlike: float = 0.12  # identity similarity of two donors, at most
    varied: float = 0.6  # part of the poses, the best matched ones, among which the most different are taken

    def __post_init__(self) -> None:
        if self.donors < 4:
            raise ArgumentError("donors", self.donors, "blend four people or more, so that none can be recognised")


@dataclass(frozen=True, kw_only=True)
class View:
    """One photo, or its mirror image, of one donor."""

    donor: int  # place in the list of donors
    photo: int  # index in the library
    mirrored: bool
    landmarks: np.ndarray  # [68, 2], mirrored with the photo
    tone: np.ndarray  # the photo seen from afar


@dataclass(frozen=True, kw_only=True)
class Portrait:
    """A finished picture of a sample person."""

    picture: np.ndarray  # [192, 192, 3] uint8 RGB
    keypoints: np.ndarray  # [5, 2]
    landmarks: np.ndarray  # [68, 2]


def seen_from_afar(photo: np.ndarray) -> np.ndarray:
    """Tone and hair of an aligned crop without its details: [18, 16, 3] float32."""
    small = cv2.resize(cv2.GaussianBlur(photo, (0, 0), 4), (24, 24), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32)[2:20, 4:20]


def candidates(library: FaceLibrary, least: int) -> list[np.ndarray]:
    """The photos of every person who has ``least`` or more, in the order of the names."""
    return [photos for photos in library.people() if len(photos) >= least]


def looks(library: FaceLibrary, people: list[np.ndarray]) -> np.ndarray:
    """What each person looks like from afar, mirrored evenly: [P, 18, 16, 3]."""
    seen = [np.mean([seen_from_afar(library.photo(i)) for i in photos[:10]], 0) for photos in people]
    return np.stack([(mean + mean[:, ::-1]) / 2 for mean in seen])


def choose_donors(lead: int, tones: np.ndarray, vectors: list[np.ndarray], settings: Settings) -> list[int]:
    """People like ``lead`` from afar, of whom no two resemble each other to any encoder.

    Args:
        lead: the first donor.
        tones: [P, ...] of :func:`looks`.
        vectors: per encoder, unit mean embeddings [P, D].

    Raises:
        ArgumentError: the pool holds too few such people.
    """
    order = np.argsort(np.square(tones - tones[lead]).reshape(len(tones), -1).mean(1), kind="stable")
    chosen = [lead]
    for person in order[: settings.pool]:
        if person != lead and all((v[chosen] @ v[person]).max() < settings.unlike for v in vectors):
            chosen.append(int(person))
        if len(chosen) == settings.donors:
            return chosen
    raise ArgumentError(f"lead {lead}", f"{len(chosen)} donors", "widen the pool or allow more likeness")


def _mirror(points: np.ndarray, order: np.ndarray, size: int) -> np.ndarray:
    return np.stack([size - 1 - points[order, 0], points[order, 1]], 1).astype(np.float32)


def views_of(library: FaceLibrary, photos: np.ndarray, donor: int, model: DenseLandmarkModel) -> list[View]:
    """All photos of one donor, each with its mirror image."""
    views = []
    for index in map(int, photos):
        photo = np.ascontiguousarray(library.photo(index))
        points, tone = model.landmarks(photo, library.keypoints[index]), seen_from_afar(photo)
        turned = _mirror(points, MIRROR_68, len(photo))
        views.append(View(donor=donor, photo=index, mirrored=False, landmarks=points, tone=tone))
        views.append(View(donor=donor, photo=index, mirrored=True, landmarks=turned, tone=tone[:, ::-1]))
    return views


def _pose(views: list[View]) -> np.ndarray:
    """Landmarks about their centre, [V, 136]."""
    points = np.stack([view.landmarks for view in views])
    return (points - points.mean(1, keepdims=True)).reshape(len(views), -1)


def choose_views(donors: list[list[View]], settings: Settings) -> list[list[View]]:
    """For each portrait, the photos of every donor that fit one pose and the common tone best.

    A photo is used again only where no other fits: each use costs as much as 1.5 pixels of landmark distance.
    """
    tone = np.mean([view.tone for views in donors for view in views], 0)
    oddness = [np.array([0.08 * np.abs(view.tone - tone).mean() for view in views]) for views in donors]
    poses = [_pose(views) for views in donors]

    def misfit(donor: int, pose: np.ndarray) -> np.ndarray:
        return np.sqrt(np.square(poses[donor] - pose).mean(1)) + oddness[donor]

    uses: dict[int, int] = {}
    portraits = []
    for pose in _varied_poses(np.concatenate(poses), lambda pose: _best_sum(misfit, len(donors), pose), settings):
        portrait: list[View] = []
        for donor, views in enumerate(donors):
            cost = misfit(donor, pose) + [1.5 * uses.get(view.photo, 0) for view in views]
            taken = _first_photos([views[place] for place in np.argsort(cost, kind="stable")], settings.photos)
            uses.update({view.photo: uses.get(view.photo, 0) + 1 for view in taken})
            portrait += taken
        portraits.append(portrait)
    return portraits


def _best_sum(misfit: Callable[[int, np.ndarray], np.ndarray], donors: int, pose: np.ndarray) -> float:
    return float(sum(misfit(donor, pose).min() for donor in range(donors)))


def _first_photos(views: list[View], count: int) -> list[View]:
    """The first views of ``count`` different photos."""
    first: dict[int, View] = {}
    for view in views:
        first.setdefault(view.photo, view)
    return list(first.values())[:count]


def _varied_poses(poses: np.ndarray, cost: Callable[[np.ndarray], float], settings: Settings) -> np.ndarray:
    """The best matched pose, then each time the one farthest from those taken, among the well matched."""
    costs = np.array([cost(pose) for pose in poses])
    good = poses[np.argsort(costs, kind="stable")[: max(settings.portraits, int(settings.varied * len(poses)))]]
    taken = [0]
    while len(taken) < settings.portraits:
        distance = np.min([np.square(good - good[place]).mean(1) for place in taken], 0)
        taken.append(int(distance.argmax()))
    return good[taken]


def draw(library: FaceLibrary, views: list[View], shares: np.ndarray, rng: np.random.Generator) -> Portrait:
    """Blend one portrait; ``shares`` [donors] says how much each donor counts."""
    photos = [library.photo(view.photo)[:, ::-1] if view.mirrored else library.photo(view.photo) for view in views]
    landmarks = np.stack([view.landmarks for view in views])
    counts = shares[[view.donor for view in views]]
    picture, shape = blend(np.stack(photos).astype(np.float32), landmarks, counts, rng)
    keypoints = np.stack([library.keypoints[view.photo] for view in views])
    for place, view in enumerate(views):
        if view.mirrored:
            keypoints[place] = _mirror(keypoints[place], MIRROR_5, len(picture))
    return Portrait(picture=picture, keypoints=keypoints.mean(0), landmarks=shape)


def make_person(
    crowd: Crowd, people: list[np.ndarray], donors: list[int], model: DenseLandmarkModel, settings: Settings, seed: int
) -> tuple[list[Portrait], Likeness]:
    """All portraits of one sample person. Donors whom they resemble too much count less, in up to four rounds.

    Returns the round with the least likeness to anybody.
    """
    library = crowd.library
    portraits = choose_views(
        [views_of(library, people[donor], place, model) for place, donor in enumerate(donors)], settings
    )
    numbers = np.array([library.identities[people[donor][0]] for donor in donors])
    shares = np.ones(len(donors))
    best: tuple[list[Portrait], Likeness] | None = None
    for _ in range(4):
        rng = np.random.default_rng(seed)
        drawn = [draw(library, views, shares, rng) for views in portraits]
        likeness = crowd.measure([p.picture for p in drawn], np.stack([p.keypoints for p in drawn]))
        if best is None or likeness.person < best[1].person:
            best = drawn, likeness
        close = likeness.people[numbers] > LIMIT - 0.05
        if likeness.person < LIMIT - _ROOM or not close.any():
            break
        shares = np.where(close, 0.6 * shares, shares)
    assert best is not None
    return best


def search(crowd: Crowd, model: DenseLandmarkModel, settings: Settings, count: int, seed: int) -> Iterator[tuple]:
    """Try ``count`` leads; yields lead, portraits and likeness of each that has enough donors."""
    people = candidates(crowd.library, settings.least)
    tones, vectors = looks(crowd.library, people), crowd.means(people)
    for lead in map(int, np.random.default_rng(seed).permutation(len(people))[:count]):
        try:
            donors = choose_donors(lead, tones, vectors, settings)
        except ArgumentError:
            continue
        yield lead, *make_person(crowd, people, donors, model, settings, seed)


def write_people(folder: Path, people: dict[str, list[Portrait]], seed: int) -> None:
    """Write ``anna/1.jpg`` ..., the group picture ``scene.jpg`` of everybody's first portrait, and ``samples.json``."""
    record: dict = {"people": {}, "scene": {}}
    for name, portraits in people.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for place, portrait in enumerate(portraits, 1):
            write_image(folder / name / f"{place}.jpg", to_tensor(portrait.picture))
        record["people"][name] = {f"{k}.jpg": _rounded(p.keypoints) for k, p in enumerate(portraits, 1)}
    scene = draw_scene([_figure(name, portraits[0]) for name, portraits in people.items()], seed)
    write_image(folder / "scene.jpg", to_tensor(scene.picture))
    record["scene"] = {name: _rounded(points) for name, points in zip(people, scene.keypoints, strict=True)}
    write_bytes(folder / "samples.json", (json.dumps(record, indent=1) + "\n").encode())


def _rounded(points: np.ndarray) -> list[list[float]]:
    return np.asarray(points, np.float64).round(2).tolist()


def _figure(name: str, portrait: Portrait) -> Figure:
    centre, face, cloth = PLACES[name]
    return Figure(**vars(portrait), centre=centre, face=face, cloth=cloth)


def check(crowd: Crowd, folder: Path) -> dict[str, Likeness]:
    """How much the written pictures of ``folder`` resemble everybody, by person."""
    record = json.loads((folder / "samples.json").read_text())
    found = {}
    for name, points in record["people"].items():
        pictures = [to_uint8(read_image(folder / name / file)) for file in points]
        found[name] = crowd.measure(pictures, np.array(list(points.values())))
    return found


def _arguments() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("sample_people", description=__doc__, formatter_class=raw)
    shared = os.environ.get("IDFSR_SHARED", "../shared")
    parser.add_argument("--shared", type=Path, default=Path(shared), help="the folder with photos and models")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"), help="keeps the embeddings of all photos")
    parser.add_argument("--leads", type=int, nargs=3, default=LEADS, help="one candidate per sample person")
    parser.add_argument("--seed", type=int, default=0, help="decides backgrounds, light, and what is searched")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--output", type=Path, help="folder to write the people to, or the sheets of a search")
    what.add_argument("--check", type=Path, metavar="FOLDER", help="only measure the people in this folder")
    parser.add_argument("--search", type=int, metavar="N", help="try N leads and write a sheet of each")
    return parser.parse_args()


def _search(args: argparse.Namespace, crowd: Crowd, model: DenseLandmarkModel) -> None:
    args.output.mkdir(parents=True, exist_ok=True)
    for lead, portraits, likeness in search(crowd, model, Settings(), args.search, args.seed):
        print(f"{lead}: {likeness}", flush=True)
        sheet = np.concatenate([portrait.picture for portrait in portraits], 1)
        write_image(args.output / f"{lead}.png", to_tensor(sheet))


def _make(args: argparse.Namespace, crowd: Crowd, model: DenseLandmarkModel) -> None:
    settings, made = Settings(), {}
    people = candidates(crowd.library, settings.least)
    tones, vectors = looks(crowd.library, people), crowd.means(people)
    for name, lead in zip(NAMES, args.leads, strict=True):
        donors = choose_donors(lead, tones, vectors, settings)
        made[name], _ = make_person(crowd, people, donors, model, settings, args.seed)
    write_people(args.output, made, args.seed)


def main() -> None:
    """Make the sample people, search for leads, or check pictures."""
    args = _arguments()
    crowd = read_crowd(args.shared, args.cache)
    if not args.check:
        model = DenseLandmarkModel(args.shared / "weights" / "pfld_68.onnx")
        (_search if args.search else _make)(args, crowd, model)
    if not args.search:
        for name, likeness in check(crowd, args.check or args.output).items():
            print(f"{name}: {likeness}; {'kept' if likeness.acceptable else 'NOT kept'}: {LIMIT} and {LEAST}")


if __name__ == "__main__":
    main()
