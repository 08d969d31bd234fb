"""Speed as ratios within one run, so that the figures mean the same on every machine."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..diffusion.conditioning import Conditioning
from ..diffusion.sampling import autocast
from ..diffusion.steering import steer
from ..errors import ArgumentError, MissingPackageError
from ..fitting import FittingSettings, fit_identity
from ..geometry import ffhq_template
from ..identity.embedding import IdentityEmbedding
from ..options import RestoreOptions
from ..references import CROP_SIZE, Reference
from ..runtime import Runtime
from ..steps import restore_crop
from ..warping import keypoints_of, warp_reference

if TYPE_CHECKING:
    from ..diffusion.denoiser import Denoiser
    from ..diffusion.judge import Judge
    from ..identity.encoders import IdentityEncoder

BENCH_FORMAT = "idfsr-bench"
RESTORE_LIMIT = 1.10  # restoring a crop over its bare forwards
FIT_LIMIT = 1.15  # a fitting step over a bare forward and backward
STEER_LIMIT = 1.15  # steering over the encoder's bare forwards and backwards
WARP_LIMIT = 5.0  # skimage's piecewise affine over ours
WARP_SIZE = 512
_FIT_BATCH = 4  # faces a step


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """How long to measure."""

    repeats: int = 7  # interleaved pairs; the median counts
    steps: int = 4  # forwards per restored crop
    batch: int = 1  # faces at once

    def __post_init__(self) -> None:
        for name in ("repeats", "steps", "batch"):
            if getattr(self, name) < 1:
                raise ArgumentError(name, getattr(self, name), "use 1 or more")


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Two times measured in turns, and the limit of one over the other."""

    name: str
    what: str
    seconds: float  # median
    base: float  # median of what it is compared with
    ratio: float  # median of the ratios of neighbours in time
    limit: float
    at_least: bool = False  # the ratio is to be at least the limit, not at most

    @property
    def passed(self) -> bool:
        """Whether the ratio keeps its limit."""
        return self.ratio >= self.limit if self.at_least else self.ratio <= self.limit

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        fields = ("name", "what", "seconds", "base", "ratio", "limit", "at_least", "passed")
        return {name: getattr(self, name) for name in fields}


def in_turns(
    work: Callable[[], object], base: Callable[[], object], repeats: int, *, sync: Callable[[], None] = lambda: None
) -> tuple[float, float, float]:
    """Median seconds of both and the median ratio of work over base, measured in turns after one unmeasured round.

    Turns, because a machine that does other things as well slows both of a pair down alike.
    """
    pairs = []
    for turn in range(repeats + 1):
        first, second = (base, work) if turn % 2 else (work, base)
        times = (_seconds(first, sync), _seconds(second, sync))
        pairs.append(times[::-1] if turn % 2 else times)
    done, bare = zip(*pairs[1:], strict=True)
    ratios = [a / b for a, b in zip(done, bare, strict=True)]
    return statistics.median(done), statistics.median(bare), statistics.median(ratios)


def _seconds(work: Callable[[], object], sync: Callable[[], None]) -> float:
    sync()
    start = time.perf_counter()
    work()
    sync()
    return time.perf_counter() - start


def synchroniser(device: str) -> Callable[[], None]:
    """Waits for a device that works behind the caller's back."""
    return torch.cuda.synchronize if device.startswith("cuda") else lambda: None


def bench_restore(denoiser: Denoiser, settings: BenchSettings, runtime: Runtime) -> Ratio:
    """Restoring a crop against the same number of bare forwards of the denoiser.

    Without a judge: what looking at the encoder costs is seen by :func:`bench_steer`.
    """
    cond = random_condition(denoiser, settings.batch, runtime)
    options = RestoreOptions(steps=settings.steps)
    x = torch.randn_like(cond.style)
    now = torch.full((settings.batch,), 0.5, device=x.device)

    def bare() -> None:
        with torch.inference_mode(), autocast(x.device, runtime):
            for _ in range(settings.steps):
                denoiser(x, now, cond)

    done, base, ratio = in_turns(
        lambda: restore_crop(denoiser, cond, options, runtime),
        bare,
        settings.repeats,
        sync=synchroniser(runtime.device),
    )
    return Ratio(
        name="restore",
        what=f"restoring {settings.batch} crop over {settings.steps} bare forwards",
        seconds=done,
        base=base,
        ratio=ratio,
        limit=RESTORE_LIMIT,
    )


def bench_steer(judge: Judge, settings: BenchSettings, runtime: Runtime) -> Ratio:
    """Steering against the same number of bare forwards of the encoder and backwards to the face."""
    generator, steps = torch.Generator().manual_seed(0), settings.steps
    faces = torch.rand(settings.batch, 3, 128, 128, generator=generator).to(runtime.device)
    identity = torch.randn(settings.batch, judge.encoder.dim, generator=generator).to(runtime.device)
    keypoints = judge.find(faces)
    picture = faces.clone().requires_grad_(True)

    def bare() -> None:
        for _ in range(steps):
            torch.autograd.grad(judge.encoder.embed(picture, keypoints).vectors.sum(), picture)

    done, base, ratio = in_turns(
        lambda: steer(faces, torch.ones_like(faces[:, :1]), identity, judge, steps),
        bare,
        settings.repeats,
        sync=synchroniser(runtime.device),
    )
    return Ratio(
        name="steer",
        what=f"steering {settings.batch} face over {steps} bare forwards and backwards of the encoder",
        seconds=done,
        base=base,
        ratio=ratio,
        limit=STEER_LIMIT,
    )


def bench_fit(denoiser: Denoiser, encoder: IdentityEncoder, settings: BenchSettings, runtime: Runtime) -> Ratio:
    """A fitting step, its share of the looks at the photo kept out included, against a bare step of the same networks.

    One fit runs; after each of its steps a bare step is timed. Windows of as many steps as lie between two looks are
    compared, and the first one, which holds the preparation, is left out.
    """
    photos = random_photos(5, denoiser.config.identity_dim)
    start = IdentityEmbedding(
        vector=photos[0].embedding, encoder=encoder.name, encoder_hash=encoder.hash, photos=5, kind="pooled"
    )
    turns = _Turns(bare_step(denoiser, encoder, runtime), synchroniser(runtime.device))
    window = FittingSettings().evaluate_every
    steps = window * (settings.repeats + 1)
    chosen = FittingSettings(steps=steps, patience=steps, batch=_FIT_BATCH)
    fit_identity(denoiser, encoder, start, photos, chosen, replace(runtime, progress=turns))
    whole, bare = (np.array(times).reshape(-1, window).mean(1)[1:] for times in (turns.whole, turns.bare))
    return Ratio(
        name="fit",
        what="a fitting step over one bare forward and backward with frozen weights",
        seconds=float(np.median(whole)),
        base=float(np.median(bare)),
        ratio=float(np.median(whole / bare)),
        limit=FIT_LIMIT,
    )


class _Turns:
    """Told after each step of a fit: notes how long it took, then runs and times a bare step."""

    def __init__(self, step: Callable[[], object], sync: Callable[[], None]) -> None:
        self.whole: list[float] = []
        self.bare: list[float] = []
        self._step, self._sync = step, sync
        step()
        self._start = time.perf_counter()

    def __call__(self, done: int, total: int, image: Tensor | None = None) -> None:
        self._sync()
        self.whole.append(time.perf_counter() - self._start)
        self.bare.append(_seconds(self._step, self._sync))
        self._start = time.perf_counter()


def bare_step(denoiser: Denoiser, encoder: IdentityEncoder, runtime: Runtime) -> Callable[[], object]:
    """One forward and backward of denoiser and encoder to the identity vector, and nothing else.

    Where the denoiser sees slopes, those of the encoder to the faces, too.
    """
    denoiser.requires_grad_(False)
    cond = random_condition(denoiser, _FIT_BATCH, runtime, places=3)
    x, now = torch.randn_like(cond.style), torch.ones(_FIT_BATCH, device=runtime.device)
    keypoints = keypoints_of(schematic_face()[None]).expand(_FIT_BATCH, -1, -1).to(runtime.device)
    vector = cond.identity[0].clone().requires_grad_(True)

    picture = cond.style.clone().requires_grad_(True)

    def step() -> None:
        slope = None
        if denoiser.config.slope:
            (slope,) = torch.autograd.grad(encoder.embed(picture, keypoints).vectors.sum(), picture)
        with autocast(x.device, runtime):
            estimate = denoiser(x, now, cond.with_identity(vector), slope).float()
            found = encoder.embed((estimate + 1) / 2, keypoints).vectors
        (estimate.abs().mean() - found.float().mean()).backward()

    return step


def schematic_face() -> Tensor:
    """68 landmarks [68, 2] of a plain face in the 128 px crop, in the 300-W order: rings where the parts are."""
    left, right, nose, *_ = ffhq_template(128).tolist()
    mouth = ((ffhq_template(128)[3] + ffhq_template(128)[4]) / 2).tolist()
    brow = lambda eye: (eye[0], eye[1] - 10)
    parts = [(17, (64, 74), 42), (5, brow(left), 8), (5, brow(right), 8), (9, nose, 7), (6, left, 5), (6, right, 5)]
    parts += [(12, mouth, 14), (8, mouth, 9)]
    rings = []
    for count, centre, radius in parts:
        angle = torch.pi + torch.arange(count) * (2 * torch.pi / count)
        rings.append(torch.tensor(centre) + radius * torch.stack([angle.cos(), angle.sin()], 1))
    return torch.cat(rings).float()


def random_photos(count: int, dim: int) -> list[Reference]:
    """Photos of nobody: noise with the points of a face."""
    generator = torch.Generator().manual_seed(0)
    points = schematic_face() + (CROP_SIZE - 128) / 2
    return [
        Reference(
            name=f"{number}",
            crop=torch.rand(1, 3, CROP_SIZE, CROP_SIZE, generator=generator),
            landmarks=points + torch.randn(68, 2, generator=generator),
            embedding=torch.nn.functional.normalize(torch.randn(dim, generator=generator), dim=0),
            quality=1.0,
        )
        for number in range(count)
    ]


def bench_warp(settings: BenchSettings, method: str = "tps") -> Ratio:
    """Our dense warp at 512 px against skimage's PiecewiseAffine on the same points; the ratio is skimage over ours."""
    image, source, target = _warp_problem()
    picture = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    points = torch.from_numpy(source)[None].float(), torch.from_numpy(target)[None].float()

    done, base, ratio = in_turns(
        lambda: _skimage_warp(image, source, target),
        lambda: warp_reference(picture, *points, WARP_SIZE, method),
        settings.repeats,
    )
    return Ratio(
        name=f"warp {method}",
        what=f"skimage's piecewise affine over our {method} warp, {WARP_SIZE} px, {len(source)} points",
        seconds=done,
        base=base,
        ratio=ratio,
        limit=WARP_LIMIT,
        at_least=True,
    )


def _warp_problem() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A picture [512, 512, 3] in 0..1 and 68 points [68, 2] before and after, as of a face that fills it."""
    rng = np.random.default_rng(0)
    image = rng.random((WARP_SIZE, WARP_SIZE, 3)).astype(np.float32)
    angle, radius = rng.uniform(0, 2 * np.pi, 68), WARP_SIZE * 0.35 * np.sqrt(rng.random(68))
    source = WARP_SIZE / 2 + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    return image, source, source + rng.normal(0, 4, source.shape)


def _skimage_warp(image: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    try:
        from skimage.transform import PiecewiseAffineTransform, warp
    except ImportError as error:
        raise MissingPackageError("package scikit-image", "not installed", "pip install scikit-image") from error

    corners = np.array([[x, y] for x in (-64.0, WARP_SIZE + 64) for y in (-64.0, WARP_SIZE + 64)])
    inverse = PiecewiseAffineTransform.from_estimate(
        np.concatenate([target, corners]), np.concatenate([source, corners])
    )
    return warp(image, inverse, output_shape=(WARP_SIZE, WARP_SIZE))


def random_condition(denoiser: Denoiser, batch: int, runtime: Runtime, places: int = 4, lr: int = 8) -> Conditioning:
    """Conditions of random pictures: what a forward costs does not depend on what they show."""
    size, generator = denoiser.config.size, torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator).to(runtime.device)

    return Conditioning(
        lr=noise(batch, 3, lr, lr),
        mask=noise(batch, 1, size, size),
        style=noise(batch, 3, size, size),
        style_coverage=noise(batch, 1, size, size),
        references=noise(batch, places, 3, size, size),
        reference_coverage=noise(batch, places, 1, size, size),
        reference_valid=torch.ones(batch, places, dtype=torch.bool, device=runtime.device),
        identity=torch.nn.functional.normalize(noise(batch, denoiser.config.identity_dim) - 0.5, dim=1),
    )


def bench_report(ratios: Sequence[Ratio], memory: Mapping[str, float], about: Mapping[str, Any]) -> dict[str, Any]:
    """The whole report as plain values: ``memory`` is the peak in MiB by kind."""
    return {
        "format": BENCH_FORMAT,
        "about": {**about, **machine()},
        "ratios": [each.to_dict() for each in ratios],
        "memory": dict(memory),
    }


def bench_table(report: Mapping[str, Any]) -> str:
    """A report as a table in Markdown."""
    lines = ["| | ratio | limit | | median | of |", "| --- | --- | --- | --- | --- | --- |"]
    for each in report["ratios"]:
        sign, word = (">=" if each["at_least"] else "<="), ("kept" if each["passed"] else "**missed**")
        times = f"{_shown(each['seconds'])} | {_shown(each['base'])}"
        lines.append(f"| {each['what']} | {each['ratio']:.2f} | {sign} {each['limit']:.2f} | {word} | {times} |")
    memory = ", ".join(f"{value:.0f} MiB {name}" for name, value in report["memory"].items()) or "unknown"
    about = ", ".join(f"{name} {value}" for name, value in report["about"].items())
    return "\n".join([*lines, "", f"Peak memory {memory}; {about}."])


def _shown(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def machine() -> dict[str, Any]:
    """What the figures were measured on, without naming the machine."""
    return {"torch": torch.__version__, "threads": torch.get_num_threads(), "processor": platform.machine()}
