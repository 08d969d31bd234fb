"""Learn which of a person's photos is nearest to the truth behind a small face, from photos that are all known.

Of a photo made small, the others of the same person are the candidates, and a teacher's cosine between that photo and
each of them says how well they suit. What the choice goes by anyway (landmarks, likeness, the small face's own vector)
stands beside the learned part with the weights that it has in use, so that only what those do not say is learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ArgumentError
from ..geometry import ffhq_template, similarity_from_points, transform_points
from ..identity.aligning import align_faces
from ..identity.glimpse import legibility
from ..identity.network import pooled_features
from ..identity.photo_match import SIDES, PhotoMatch, PhotoMatchConfig
from ..options import RestoreOptions
from ..runtime import Runtime
from ..steps import MOST_COMPARED, SEEN_ALIKE
from ..warping import keypoints_of
from .data import FaceLibrary
from .degradations import degrade

if TYPE_CHECKING:
    from ..identity.compact import CompactEncoder

LEAST_PHOTOS = 3  # of a person: the face, and two to choose from
SETS = 4  # draws per pair of a person's photos
MOST_PAIRS = 8  # that count of one person, so that nobody is learned alone
OFF = {4: 0.14, 8: 0.09, 16: 0.07, 32: 0.06}  # by how many eye distances a found face of that side is about off
TURNED = 0.6  # of that as turn (radians) and as zoom, and about as much of it as shift


@dataclass(frozen=True, kw_only=True)
class MatchSettings:
    """How long and how fast to learn."""

    steps: int = 2400
    batch: int = 256  # sets of photos per update
    rate: float = 1e-3  # of AdamW, falling to nothing
    decay: float = 1.0  # weight decay: there are more features than people
    drop: float = 0.5  # share of the features left out of a step
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch"):
            if getattr(self, name) < 1:
                raise ArgumentError(f"MatchSettings.{name}", getattr(self, name), "use 1 or more")


@dataclass(frozen=True, kw_only=True)
class Looks:
    """What the encoder sees in M faces: features [M, C], unit vectors [M, D] and qualities [M]."""

    features: Tensor
    vectors: Tensor
    quality: Tensor


@dataclass(frozen=True, kw_only=True)
class PhotoLooks:
    """What it sees in the photos of a library, each by side of the FFHQ-style crop."""

    encoder: str  # hash of its weights
    used: np.ndarray  # [M] which photos of the library
    sharp: Looks
    small: dict[int, Looks]  # made small with care, as good photos are
    found: dict[tuple[int, str], Looks]  # by side and degradation: off by as much as faces are that are found


def collect_looks(
    library: FaceLibrary, encoder: CompactEncoder, seed: int, runtime: Runtime | None = None
) -> PhotoLooks:
    """Look at every photo of the people with LEAST_PHOTOS or more."""
    runtime = runtime or Runtime()
    used = np.concatenate([photos for photos in library.people() if len(photos) >= LEAST_PHOTOS] or [np.zeros(0, int)])
    if not len(used):
        raise ArgumentError("photos", f"no person with {LEAST_PHOTOS} or more", "give people with more photos")
    generator = torch.Generator().manual_seed(seed)
    margin = (library.side - library.size) // 2
    seen: dict[object, list[tuple[Tensor, Tensor, Tensor]]] = {}
    for start in range(0, len(used), 32):
        runtime.check()
        faces = library.tensor(used[start : start + 32].tolist())[..., margin:-margin, margin:-margin]
        points = ffhq_template(library.size).float().expand(len(faces), -1, -1)
        seen.setdefault("sharp", []).append(_look(encoder, faces, points))
        for side in SIDES:
            for kind in ("area", "blind"):
                small = torch.cat([degrade(face[None], library.size // side, kind, generator) for face in faces])
                large = F.interpolate(small, size=faces.shape[-2:], mode="bicubic").clamp(0, 1)
                if kind == "area":
                    seen.setdefault(side, []).append(_look(encoder, large, points))
                off = _displaced(points, OFF[side], generator)
                seen.setdefault((side, kind), []).append(_look(encoder, large, off))
        runtime.progress(min(start + 32, len(used)), len(used))
    joined = {
        key: Looks(features=torch.cat(parts[0]), vectors=torch.cat(parts[1]), quality=torch.cat(parts[2]))
        for key, parts in ((key, list(zip(*rows, strict=True))) for key, rows in seen.items())
    }
    return PhotoLooks(
        encoder=encoder.hash,
        used=used,
        sharp=joined["sharp"],
        small={side: joined[side] for side in SIDES},
        found={(side, kind): joined[side, kind] for side in SIDES for kind in ("area", "blind")},
    )


def _look(encoder: CompactEncoder, faces: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    weight = encoder.network.embedding.weight
    with torch.inference_mode():
        vectors, quality, found = encoder.network.with_features(align_faces(faces, points).to(weight))
    return (
        pooled_features(found).cpu().clone(),
        F.normalize(vectors.float()).cpu().clone(),
        quality.float().cpu().clone(),
    )


def _displaced(points: Tensor, off: float, generator: torch.Generator) -> Tensor:
    """Each face's points [B, 5, 2] turned, zoomed and shifted together; ``off`` in eye distances."""
    draw = lambda *shape: torch.randn(len(points), *shape, generator=generator)
    angle, zoom = draw(1) * off * TURNED, 1 + draw(1, 1) * off * TURNED
    turn = torch.cat([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).unflatten(1, (2, 2))
    middle = points.mean(1, keepdim=True)
    eyes = (points[:, 1] - points[:, 0]).norm(dim=-1)[:, None, None]
    return ((points - middle) @ turn.mT) * zoom + middle + draw(1, 2) * off * TURNED * eyes


@dataclass(frozen=True, kw_only=True)
class PhotoSets:
    """N faces with up to K candidates each; numbers are those of the looks."""

    target: Tensor  # [N]
    others: Tensor  # [N, K]
    counts: Tensor  # [N, K] 1 for a candidate, 0 for a place left empty
    known: Tensor  # [N, K] what speaks for a candidate whatever the small face is like: landmarks and likeness
    truth: Tensor  # [N, K] teacher's cosine of face and candidate


def draw_sets(library: FaceLibrary, aims: np.ndarray, looks: PhotoLooks, seed: int) -> PhotoSets:
    """Faces and candidates of one person each.

    Args:
        library: with landmarks.
        aims: the teacher's unit vectors of its photos [P, D].
        looks: of the same library.
        seed: of the draw.
    """
    if library.landmarks is None:
        raise ArgumentError("library", "no landmarks", "annotate it first")
    rng = np.random.default_rng(seed)
    people = library.identities[looks.used]
    rows, counts = [], []
    for person in np.unique(people):
        own = np.flatnonzero(people == person)
        for _ in range(SETS * min(len(own) // 2, MOST_PAIRS)):
            count = int(rng.integers(LEAST_PHOTOS - 1, min(len(own) - 1, MOST_COMPARED) + 1))
            drawn = rng.permutation(own)[: count + 1]
            rows.append(np.concatenate([drawn, np.repeat(drawn[1], MOST_COMPARED - count)]))
            counts.append(np.arange(MOST_COMPARED) < count)
    table, present = torch.from_numpy(np.array(rows)), torch.from_numpy(np.array(counts)).float()
    target, others = table[:, 0], table[:, 1:]
    vectors = F.normalize(torch.from_numpy(aims[looks.used]).float())
    own = looks.sharp.vectors
    person = F.normalize((own[others] * present[..., None]).sum(1))
    likeness = (own[others] * person[:, None]).sum(-1)
    landmarks = torch.from_numpy(library.landmarks[looks.used]).float()
    return PhotoSets(
        target=target,
        others=others,
        counts=present,
        known=RestoreOptions().likeness * likeness - _residuals(landmarks, target, others),
        truth=(vectors[target][:, None] * vectors[others]).sum(-1),
    )


def _residuals(landmarks: Tensor, target: Tensor, others: Tensor) -> Tensor:
    """What a similarity leaves between each candidate's landmarks and the face's, [N, K] in eye distances."""
    goal = landmarks[target]
    five = keypoints_of(goal)
    unit = (five[:, 1] - five[:, 0]).norm(dim=-1).clamp(min=1e-6)
    left = []
    for place in range(others.shape[1]):
        own = landmarks[others[:, place]]
        moved = transform_points(similarity_from_points(own, goal), own)
        left.append((moved - goal).square().sum(-1).mean(1).sqrt() / unit)
    return torch.stack(left, 1)


def train_match(
    sets: PhotoSets, looks: PhotoLooks, settings: MatchSettings, runtime: Runtime | None = None
) -> PhotoMatch:
    """Weights under which the candidates' scores differ as the teacher's cosines do, up to one common factor."""
    runtime = runtime or Runtime()
    generator = torch.Generator().manual_seed(settings.seed)
    channels = looks.sharp.features.shape[1]
    unit = torch.cat([each.features for each in looks.small.values()]).std(0).clamp_min(1e-6)
    own = looks.sharp.features.std(0).clamp_min(1e-6)
    alike, worth = nn.Parameter(torch.full((channels,), 0.5)), nn.Parameter(torch.zeros(channels))
    factor = nn.Parameter(torch.tensor(0.3))
    free = {"params": [factor], "weight_decay": 0.0}
    optimiser = torch.optim.AdamW([{"params": [alike, worth]}, free], lr=settings.rate, weight_decay=settings.decay)
    match = PhotoMatch(PhotoMatchConfig(channels=channels, encoder=looks.encoder))
    views = list(looks.found)
    for step in range(settings.steps):
        runtime.check()
        for group in optimiser.param_groups:
            group["lr"] = settings.rate * (1 - step / settings.steps)
        rows = torch.randint(len(sets.target), (settings.batch,), generator=generator)
        keep = (torch.rand(channels, generator=generator) >= settings.drop).float() / (1 - settings.drop)
        side, kind = views[step % len(views)]
        counts = sets.counts[rows]
        weights = alike * keep / channels / unit.square(), worth * keep / 10 / own
        score = _rule(sets, looks, rows, side, kind) + _suits(sets, looks, rows, side, kind, *weights)
        apart = factor * _centred(score, counts) - _centred(sets.truth[rows], counts)
        loss = (apart.square() * counts).sum() / counts.sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        runtime.progress(step + 1, settings.steps)
    with torch.no_grad():
        match.alike.copy_(alike / channels / unit.square())
        match.worth.copy_(worth / 10 / own)
    return match.eval()


def _rule(sets: PhotoSets, looks: PhotoLooks, rows: Tensor, side: int, kind: str) -> Tensor:
    """What the choice goes by without what is learned here, more is better: [B, K]."""
    found, small = looks.found[side, kind], looks.small[side]
    target, others = sets.target[rows], sets.others[rows]
    seen = (found.vectors[target][:, None] * small.vectors[others]).sum(-1)
    return sets.known[rows] + SEEN_ALIKE * legibility(found.quality[target])[:, None] * seen


def _suits(
    sets: PhotoSets, looks: PhotoLooks, rows: Tensor, side: int, kind: str, alike: Tensor, worth: Tensor
) -> Tensor:
    """:class:`PhotoMatch` for sets of different sizes: [B, K], and any number in places left empty."""
    target, others, counts = sets.target[rows], sets.others[rows], sets.counts[rows][..., None]
    face, small = looks.found[side, kind].features[target][:, None], looks.small[side].features[others]
    middle = (small * counts).sum(1, keepdim=True) / counts.sum(1, keepdim=True)
    # What all candidates share moves all scores by as much, so the sharp photos need not be centred here.
    return ((face - middle) * (small - middle) * alike + looks.sharp.features[others] * worth).sum(-1)


def _centred(values: Tensor, counts: Tensor) -> Tensor:
    """Less the mean over what counts, [B, K]."""
    return values - (values * counts).sum(1, keepdim=True) / counts.sum(1, keepdim=True)


def chosen(sets: PhotoSets, looks: PhotoLooks, match: PhotoMatch | None, side: int, kind: str = "area") -> Tensor:
    """The teacher's cosine of face and chosen photo for each set [N], with and without (None) what was learned."""
    rows = torch.arange(len(sets.target))
    score = _rule(sets, looks, rows, side, kind)
    if match is not None:
        with torch.inference_mode():
            score = score + _suits(sets, looks, rows, side, kind, match.alike[0], match.worth[0])
    score = score.masked_fill(sets.counts == 0, float("-inf"))
    return sets.truth.gather(1, score.argmax(1, keepdim=True))[:, 0]
