"""A reference photo brought onto the landmarks of the low-resolution face, and the choice of that photo."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import ArgumentError
from .fields import METHODS as METHODS
from .fields import SMOOTHING, warp_field
from .fields import thin_plate_spline_field as thin_plate_spline_field
from .geometry import oversampling_for, preshrink, sample, similarity_from_points, transform_points, warp_affine
from .images import down


@dataclass(frozen=True, kw_only=True)
class WarpedReference:
    """A reference photo in the pixels of the low-resolution face's crop."""

    image: Tensor  # [B, 3, S, S] in 0..1
    coverage: Tensor  # [B, 1, S, S] in 0..1: 1 where the photo has real pixels, fading to 0 at its border

    def __post_init__(self) -> None:
        image, coverage = self.image.shape, self.coverage.shape
        if len(image) != 4 or coverage != (image[0], 1, *image[2:]):
            raise ArgumentError("WarpedReference", f"{tuple(image)}, {tuple(coverage)}", "give [B,3,S,S] and [B,1,S,S]")


def warp_reference(
    image: Tensor,
    source_points: Tensor,
    target_points: Tensor,
    size: int = 128,
    method: str = "tps",
    *,
    smoothing: float = SMOOTHING,
    feather: float = 0.04,
) -> WarpedReference:
    """Draw a reference photo so that its landmarks lie on those of the low-resolution face.

    Anti-aliased where the photo shrinks, differentiable in image and points, on the image's device.

    Args:
        image: the photo, [B, 3, H, W] in 0..1.
        source_points: its landmarks [B, N, 2] in its pixels (N = 68, or any N >= 3 pairs; 2 for a similarity).
        target_points: the face's landmarks [B, N, 2] in crop pixels.
        size: side S of the crop.
        method: "similarity", "affine", "tps" (thin-plate spline) or "piecewise" (affine).
        smoothing: of the spline, see :func:`idfsr_core.fields.thin_plate_spline`.
        feather: fraction of S over which the coverage fades at the photo's border.
    """
    wide = torch.float64 if image.dtype == torch.float64 else torch.float32
    source, target = (p.to(image.device, wide) for p in (source_points, target_points))
    scale = _scale(source, target)
    shrink = float((1 / scale).max())
    reduced, factor = preshrink(image, shrink)
    k = oversampling_for(shrink / factor)
    field = warp_field((source + 0.5) / factor - 0.5, target, size, method, smoothing=smoothing, oversampling=k)
    drawn = sample(reduced, field, padding="border")
    cover = _coverage(field, reduced.shape[-1], reduced.shape[-2], scale.view(-1, 1, 1) * factor / (feather * size))
    if k > 1:
        drawn, cover = F.avg_pool2d(drawn, k), F.avg_pool2d(cover, k)
    return WarpedReference(image=drawn, coverage=cover.to(image.dtype))


def _scale(source: Tensor, target: Tensor) -> Tensor:
    """Target pixels per photo pixel [B] of the best similarity, without a gradient."""
    matrix = similarity_from_points(source.detach(), target.detach())
    return matrix[:, :, 0].norm(dim=1)


def _coverage(field: Tensor, width: int, height: int, slope: Tensor) -> Tensor:
    """1 inside the photo, falling smoothly to 0 at its border; ``slope`` [B, 1, 1] is the fall per photo pixel."""
    limit = field.new_tensor((width, height))
    distance = torch.minimum(field.detach() + 0.5, limit - 0.5 - field.detach()).amin(-1)
    ramp = (distance * slope).clamp(0, 1)
    return (ramp * ramp * (3 - 2 * ramp))[:, None]


# --- choice of the reference ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class FaceDescription:
    """Pose and expression read off landmarks, without unit and independent of place, size and roll; [K] each.

    They are proxies (ours) for comparing photos of one person, not angles.
    """

    yaw: Tensor  # nose tip beside the middle of the eyes, in eye distances; positive: turned to the picture's right
    pitch: Tensor  # nose tip between the lines of eyes (0) and mouth (1); smaller: looking up
    mouth: Tensor  # opening between the lips, in eye-mouth distances; 0 where only five points are known
    smile: Tensor  # width of the mouth in eye distances
    eyes: Tensor  # opening of the eyes over their width; 0 where only five points are known


def describe_face(landmarks: Tensor) -> FaceDescription:
    """Pose and expression of faces given by 68 landmarks [K, 68, 2] (300-W order) or five keypoints [K, 5, 2]."""
    if landmarks.ndim != 3 or landmarks.shape[1] not in (5, 68) or landmarks.shape[2] != 2:
        raise ArgumentError("landmarks", tuple(landmarks.shape), "give [K, 68, 2] or [K, 5, 2]")
    five = keypoints_of(landmarks)
    middle = (five[:, 0] + five[:, 1]) / 2
    along = five[:, 1] - five[:, 0]
    distance = along.norm(dim=-1).clamp(min=1e-6)
    along = along / distance[:, None]
    across = torch.stack((-along[:, 1], along[:, 0]), -1)
    nose, mouth = five[:, 2] - middle, (five[:, 3] + five[:, 4]) / 2 - middle
    drop = (mouth * across).sum(-1)
    drop = torch.where(drop.abs() < 1e-6, torch.full_like(drop, 1e-6), drop)
    lips, eyes = _openings(landmarks)
    return FaceDescription(
        yaw=(nose * along).sum(-1) / distance,
        pitch=(nose * across).sum(-1) / drop,
        mouth=lips / drop.abs(),
        smile=(five[:, 4] - five[:, 3]).norm(dim=-1) / distance,
        eyes=eyes,
    )


def keypoints_of(landmarks: Tensor) -> Tensor:
    """Five keypoints [K, 5, 2] of 68 landmarks [K, 68, 2]: eyes, nose tip, mouth corners; five stay as they are."""
    if landmarks.shape[1] == 5:
        return landmarks
    left, right = landmarks[:, 36:42].mean(1), landmarks[:, 42:48].mean(1)
    return torch.stack((left, right, landmarks[:, 30], landmarks[:, 48], landmarks[:, 54]), 1)


def _openings(landmarks: Tensor) -> tuple[Tensor, Tensor]:
    """Mean opening of the lips in pixels, and of the eyes over their width."""
    if landmarks.shape[1] == 5:
        zero = torch.zeros_like(landmarks[:, 0, 0])
        return zero, zero
    gap = lambda a, b: (landmarks[:, a] - landmarks[:, b]).norm(dim=-1)
    lips = (gap(61, 67) + gap(62, 66) + gap(63, 65)) / 3
    widths = (gap(36, 39) + gap(42, 45)).clamp(min=1e-6)
    return lips, (gap(37, 41) + gap(38, 40) + gap(43, 47) + gap(44, 46)) / (2 * widths)


@dataclass(frozen=True, kw_only=True)
class ReferenceChoice:
    """Reference photos ordered by how well their pose and expression fit the low-resolution face, best first."""

    order: list[int]  # indices into the references
    residuals: list[float]  # RMS landmark distance after a similarity, in eye distances of the target, in that order
    reasons: list[str]  # in plain words, in that order

    @property
    def reason(self) -> str:
        """Why the best one was taken, as a phrase."""
        return f"reference {self.order[0] + 1} of {len(self.order)} fits best: {self.reasons[0]}"


def choose_reference(target_landmarks: Tensor, reference_landmarks: Tensor) -> ReferenceChoice:
    """Order reference photos by what is left between the landmarks when place, size and roll are taken out.

    What is left is pose and expression, and a warp has to bend it (the choice by landmarks follows ASFFNet, 2020).

    Args:
        target_landmarks: of the low-resolution face, [N, 2] or [1, N, 2], N = 68 or 5.
        reference_landmarks: of the K references, [K, N, 2], each in its own photo's pixels.
    """
    target = target_landmarks.view(1, *target_landmarks.shape[-2:]).double()
    references = reference_landmarks.double().to(target.device)
    if references.ndim != 3 or len(references) == 0 or references.shape[1:] != target.shape[1:]:
        raise ArgumentError("reference landmarks", tuple(references.shape), f"give [K, {target.shape[1]}, 2], K >= 1")
    matrix = similarity_from_points(references, target.expand_as(references))
    moved = transform_points(matrix, references)
    five = keypoints_of(target)
    unit = (five[:, 1] - five[:, 0]).norm(dim=-1).clamp(min=1e-6)
    residuals = (moved - target).square().sum(-1).mean(1).sqrt() / unit
    order = residuals.argsort(stable=True)
    residuals = residuals[order].tolist()
    reasons = _reasons(describe_face(target), describe_face(moved[order]), residuals)
    return ReferenceChoice(order=order.tolist(), residuals=residuals, reasons=reasons)


# what differs, by how much it must differ to be mentioned, and the words for a reference below and above the target
_WORDS = (
    ("yaw", 0.12, "turned more to the left", "turned more to the right"),
    ("pitch", 0.08, "looking further up", "looking further down"),
    ("mouth", 0.08, "mouth less open", "mouth more open"),
    ("smile", 0.15, "mouth narrower", "mouth wider"),
    ("eyes", 0.08, "eyes less open", "eyes more open"),
)


def _reasons(target: FaceDescription, references: FaceDescription, residuals: list[float]) -> list[str]:
    reasons = []
    for k, residual in enumerate(residuals):
        differences = {name: float(getattr(references, name)[k] - getattr(target, name)[0]) for name, *_ in _WORDS}
        words = [(low if differences[n] < 0 else high) for n, least, low, high in _WORDS if abs(differences[n]) > least]
        what = ", ".join(words) or "same pose and expression"
        reasons.append(f"landmarks {residual:.2f} eye distances apart; {what}")
    return reasons


# --- refinement ------------------------------------------------------------------------------------------------------

_STEP = 0.25  # crop pixels: of the finite differences
_SPREAD = 2.0 / 128  # of the crop's side: how far off the landmarks are expected to be
_MISFIT = 4.0  # two photos differ by more than noise: so much less is a difference believed (chosen on training photos)
_GAIN = (0.5, 2.0)  # between these the reference's contrast may be changed, per channel


@dataclass(frozen=True, kw_only=True)
class RefinedReference(WarpedReference):
    """A nudged reference, and what that gained."""

    matrix: Tensor  # [B, 2, 3]: old place -> new place in crop pixels; apply it to the target landmarks to warp afresh
    error_before: Tensor  # [B] RMS difference from the low-resolution pixels, contrast and shading taken out
    error_after: Tensor  # [B], never above error_before


def refine_warp(
    warped: WarpedReference,
    lr: Tensor,
    mask: Tensor | None = None,
    *,
    scale: float | None = None,
    kind: str = "similarity",
    steps: int = 6,
    limit: float = 0.04,
) -> RefinedReference:
    """Move a warped reference a little so that its low band agrees better with the low-resolution face.

    Landmarks found on a face of 8 pixels are off by a pixel of the crop or more. The low-resolution pixels know better,
    as far as a few parameters go. Minimised, over a similarity or affine transform and over a gain and a linear shading
    per channel, is the squared difference between ``down(moved reference)`` and those pixels, by damped Gauss-Newton
    steps with a pull to the start (method and constants are ours). A step that does not lower the error is not taken; a
    reference that cannot be improved comes back as it was.

    The gain is small where the landmarks are right: light and expression differ between two photos, and at 16x and more
    few pixels speak. It pays at 8x and for landmarks three or more pixels off.

    Args:
        warped: the reference, [B, 3, S, S].
        lr: the low-resolution face, [B, 3, n, n], or enlarged to [B, 3, S, S].
        mask: [B or 1, 1, S, S] where to look; everywhere by default. The coverage counts in any case.
        scale: S / n; needed only where ``lr`` was enlarged.
        kind: "similarity" (4 parameters) or "affine" (6).
        steps: Gauss-Newton steps.
        limit: the largest movement, as a fraction of S.
    """
    if kind not in ("similarity", "affine"):
        raise ArgumentError("kind", kind, "use similarity or affine")
    problem = _Problem(warped, lr, scale or warped.image.shape[-1] / lr.shape[-1], mask, kind)
    theta = problem.plain.new_zeros(lr.shape[0], 4 if kind == "similarity" else 6)
    error, before = problem.error(theta), problem.error(theta)
    damping = torch.full_like(error, 1e-2)
    reach = limit * warped.image.shape[-1]
    for _ in range(steps):
        trial = (theta + problem.step(theta, before, damping)).clamp(-reach, reach)
        trial_error = problem.error(trial)
        better = trial_error < error
        theta = torch.where(better[:, None], trial, theta)
        error = torch.where(better, trial_error, error)
        damping = torch.where(better, damping / 4, damping * 8)
    return problem.result(theta, before, error)


class _Problem:
    """The error of a batch of nudges theta [B, P], every parameter in pixels moved at a quarter of the crop's side."""

    def __init__(self, warped: WarpedReference, lr: Tensor, scale: float, mask: Tensor | None, kind: str) -> None:
        self.warped, self.scale, self.kind = warped, scale, kind
        self.size = warped.image.shape[-1]
        self.source = warped.image.detach().float()
        target = (down(lr, self.scale) if lr.shape[-1] == self.size else lr).detach().float()
        weight = down(warped.coverage.detach().float() * (1.0 if mask is None else mask.float()), self.scale)
        if target.shape[-2:] != weight.shape[-2:]:
            size = tuple(weight.shape[-2:])
            raise ArgumentError("low-resolution face", tuple(lr.shape), f"give {size} pixels, or the crop's own size")
        weight = weight.flatten(2).mT
        self.count = weight.sum((1, 2)).clamp(min=1)  # low-resolution pixels in view
        self.root = (weight / weight.sum(1, keepdim=True).clamp(min=1e-6)).sqrt()
        y, x = torch.meshgrid(*(torch.linspace(-1, 1, n).to(target) for n in target.shape[-2:]), indexing="ij")
        shading = torch.stack((torch.ones_like(x), x, y), -1).view(1, -1, 3)
        self.shading = torch.linalg.qr(self.root * shading + 1e-9).Q
        self.plain = self._without_shading(target)

    def matrix(self, theta: Tensor) -> Tensor:
        """[B, 2, 3] for nudges about the crop's centre."""
        unit, centre = self.size / 4, (self.size - 1) / 2
        if self.kind == "similarity":
            x, y, a, b = theta.unbind(1)
            linear = torch.stack((a, -b, b, a), 1)
        else:
            x, y = theta[:, 0], theta[:, 1]
            linear = theta[:, 2:]
        linear = torch.eye(2).to(theta) + linear.view(-1, 2, 2) / unit
        shift = torch.stack((x, y), 1) + centre - linear.sum(2) * centre
        return torch.cat((linear, shift[..., None]), 2)

    def residual(self, theta: Tensor) -> Tensor:
        """Weighted differences [B, 3 * n * n], with gain and shading per channel fitted."""
        seen = down(warp_affine(self.source, self.matrix(theta), self.size, padding="border"), self.scale)
        seen = self._without_shading(seen)
        gain = (seen * self.plain).sum(1, keepdim=True) / seen.square().sum(1, keepdim=True).clamp(min=1e-8)
        return (gain.clamp(*_GAIN) * seen - self.plain).flatten(1)

    def _without_shading(self, image: Tensor) -> Tensor:
        """Weighted pixels [B, n * n, 3] less their projection on the shading."""
        values = image.flatten(2).mT * self.root
        return values - self.shading @ (self.shading.mT @ values)

    def error(self, theta: Tensor) -> Tensor:
        """RMS difference [B]."""
        return (self.residual(theta).square().sum(1) / 3).sqrt()

    def step(self, theta: Tensor, noise: Tensor, damping: Tensor) -> Tensor:
        """One damped Gauss-Newton step [B, P]; ``noise`` [B] is the error that the pull to zero is weighed against."""
        base = self.residual(theta)
        units = torch.eye(theta.shape[1]).to(theta) * _STEP
        slopes = torch.stack([(self.residual(theta + u) - base) / _STEP for u in units], 2)
        pull = (noise.square() * 3 * _MISFIT / (self.count * (_SPREAD * self.size) ** 2)).view(-1, 1, 1)
        normal = slopes.mT @ slopes
        diagonal = torch.diag_embed(normal.diagonal(dim1=1, dim2=2)) * damping.view(-1, 1, 1)
        left = normal + diagonal + (pull + 1e-12) * torch.eye(theta.shape[1]).to(theta)
        right = (slopes.mT @ base[..., None]) + pull * theta[..., None]
        return -torch.linalg.solve(left, right)[..., 0]

    def result(self, theta: Tensor, before: Tensor, after: Tensor) -> RefinedReference:
        moved = (after < before).view(-1, 1, 1, 1)
        matrix = self.matrix(theta)
        image = warp_affine(self.warped.image.float(), matrix, self.size, padding="border", mode="bicubic").clamp(0, 1)
        coverage = warp_affine(self.warped.coverage.float(), matrix, self.size)
        image = torch.where(moved, image.to(self.warped.image), self.warped.image)
        coverage = torch.where(moved, coverage.to(self.warped.coverage), self.warped.coverage)
        return RefinedReference(image=image, coverage=coverage, matrix=matrix, error_before=before, error_after=after)
