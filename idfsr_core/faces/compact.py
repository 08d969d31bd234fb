"""The analyzer that ships with the package: small networks for faces of 3 to 64 pixels, and large ones too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import ArgumentError, FileFormatError
from ..runtime import Runtime
from .cropping import (
    box_from_keypoints,
    crop_from_box,
    crop_from_keypoints,
    face_unit,
    sample_crops,
    to_picture,
)
from .decoding import Found, decode, join, pyramid, suppress, to_photo
from .face import Face
from .filling import FILLED, LIKELY_FILLED, filling_share, middle_square, reconciled, shows_something
from .networks import Detector, DetectorConfig, LandmarkConfig, LandmarkNet
from .points import KEYPOINTS, MIRROR_5, MIRROR_68

THRESHOLD = 0.3
CANDIDATE = 0.2  # score of the detector alone from which on the second network has a look
SETTLED = 12.0  # pixels: height from which on the landmark network is as sure of a face as it gets
MIN_FACE = 3.0  # pixels: the height that the pyramid still brings within the detector's range
MAX_PIXELS = 3.2e6  # of the finest level of the pyramid


class AnalyzerNetworks(nn.Module):
    """All networks as one module, so that they are saved, moved and loaded together.

    Args:
        detector: finds faces in a picture.
        landmarks: reads the points of a face around which a crop was laid.
        filling: reads those of a face that fills a tiny picture; None leaves tiny pictures to the detector.
    """

    def __init__(
        self, detector: DetectorConfig, landmarks: LandmarkConfig, filling: LandmarkConfig | None = None
    ) -> None:
        super().__init__()
        self.detector = Detector(detector)
        self.landmarks = LandmarkNet(landmarks)
        self.filling = LandmarkNet(filling) if filling else None
        self.calibration: Tensor
        self.register_buffer("calibration", torch.tensor([0.0, 1.0, 0.0, 0.0]))  # weights of :func:`evidence`

    @classmethod
    def of(cls, config: Mapping) -> AnalyzerNetworks:
        """Networks with random weights in the shapes that :meth:`config` told."""
        filling = LandmarkConfig(**config["filling"]) if "filling" in config else None
        return cls(DetectorConfig(**config["detector"]), LandmarkConfig(**config["landmarks"]), filling)

    def config(self) -> dict:
        told = {"detector": self.detector.config.to_dict(), "landmarks": self.landmarks.config.to_dict()}
        return told | ({"filling": self.filling.config.to_dict()} if self.filling else {})


@dataclass(frozen=True, kw_only=True)
class CropPoints:
    """What the landmark network says of B faces, in pixels of their pictures."""

    keypoints: Tensor  # [B, 5, 2]
    landmarks: Tensor  # [B, 68, 2]
    spread: Tensor  # [B] expected distance of a landmark from the truth, pixels


def evidence(found: Found, points: CropPoints) -> Tensor:
    """What speaks for N candidates being faces [N, 4]; its weighted sum is the logit of the score.

    One; the detector's logit; the logarithm of the error that the landmark network expects, over the face's size (on
    textures that the detector takes for faces it is four times what it is on faces); the logarithm of the box's
    height in pixels up to SETTLED, because that error is large on real faces too where they are tiny.
    """
    spread = (points.spread / face_unit(points.keypoints).clamp_min(1e-6)).clamp(1e-4, 10).log()
    height = (found.boxes[:, 3] - found.boxes[:, 1]).clamp(1e-3, SETTLED).log()
    logit = torch.special.logit(found.scores, eps=1e-6)
    return torch.stack([torch.ones_like(logit), logit, spread, height], 1)


def _face(image: Tensor, found: Found, points: CropPoints, scores: Tensor, i: int) -> Face:
    return Face(
        box=found.boxes[i].cpu().numpy(),
        score=float(scores[i]),
        keypoints=points.keypoints[i].cpu().numpy(),
        landmarks=points.landmarks[i].cpu().numpy(),
        image_size=(image.shape[-1], image.shape[-2]),
    )


class CompactAnalyzer:
    """Finds faces with a pyramid of pictures, then their points with a second network on a crop of each.

    Args:
        networks: all networks; they are switched to evaluation and to ``runtime``'s device.
        min_face: height in pixels of the smallest face to look for; less costs more time.
        max_pixels: a bound on the finest picture of the pyramid, hence on time and memory.
    """

    name = "compact"

    def __init__(
        self,
        networks: AnalyzerNetworks,
        runtime: Runtime | None = None,
        *,
        min_face: float = MIN_FACE,
        max_pixels: float = MAX_PIXELS,
    ) -> None:
        if min_face <= 0 or max_pixels < 48 * 48:
            raise ArgumentError("min_face", min_face, "use more than 0 pixels, and max_pixels of at least 2304")
        self.networks = networks.eval().requires_grad_(False).to((runtime or Runtime()).device)
        self.min_face, self.max_pixels = min_face, max_pixels

    @property
    def device(self) -> torch.device:
        """Where the weights are now; whoever moves the networks need not tell this object."""
        return self.networks.calibration.device

    @classmethod
    def from_state(
        cls, state: Mapping[str, Tensor], config: Mapping, runtime: Runtime | None = None
    ) -> CompactAnalyzer:
        """An analyzer from the tensors and the configuration that :meth:`state` gave (half precision is widened).

        Raises:
            FileFormatError: the two do not fit each other.
        """
        try:
            networks = AnalyzerNetworks.of(config)
            wide = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
            networks.load_state_dict(wide)
        except (KeyError, TypeError, RuntimeError) as error:
            raise FileFormatError("face analyzer", error, "use the weights that its configuration describes") from error
        return cls(networks, runtime)

    def state(self) -> tuple[dict[str, Tensor], dict]:
        """Tensors and configuration for :meth:`from_state`."""
        return dict(self.networks.state_dict()), self.networks.config()

    def analyze(self, image: Tensor, threshold: float | None = None) -> list[Face]:
        """Every face with a score of at least ``threshold`` (0..1, default 0.3), best first.

        A picture of at most FILLED pixels is taken to be filled by one face, whatever its score. Somebody has cut it
        out around a face, and even a careless cut says better where the face is than the detector can (RESULTS.md,
        "Pictures that are nothing but a face"). In one of at most LIKELY_FILLED both are heard.
        """
        threshold = THRESHOLD if threshold is None else threshold
        image = image.to(self.device, torch.float32)
        side = max(image.shape[-2:])
        filling = self._filling(image) if side <= LIKELY_FILLED else []
        if filling and side <= FILLED:
            return filling
        found = self.detect(image, CANDIDATE)
        faces = self._faces(image, found, threshold) if len(found.scores) else []
        return reconciled(faces, filling, filling_share(image))

    def _faces(self, image: Tensor, found: Found, threshold: float) -> list[Face]:
        """The candidates that are faces, best first."""
        points = self.crop_points(image, found.keypoints)
        scores = self._scores(found, points)
        order = scores.argsort(descending=True, stable=True)
        return [_face(image, found, points, scores, i) for i in order[scores[order] >= threshold].tolist()]

    def _scores(self, found: Found, points: CropPoints) -> Tensor:
        """The chance [N] that each candidate is a face."""
        return (evidence(found, points) @ self.networks.calibration).sigmoid()

    @torch.no_grad()
    def _filling(self, image: Tensor) -> list[Face]:
        """The face that fills a tiny picture; none where it is too thin for one, or of one colour.

        The picture and its mirror image are the same face, and the mean of what is read in both is nearer to it. The
        detector is not asked: it speaks neither for nor against.
        """
        net = self.networks.filling
        if net is None or min(image.shape[-2:]) < MIN_FACE or not shows_something(image):
            return []
        square = middle_square(image)
        points = _mean(_read(net, image, square), _mirrored(_read(net, image.flip(-1), square), image.shape[-1]))
        undecided = image.new_full((1,), 0.5)
        found = Found(scores=undecided, boxes=box_from_keypoints(points.keypoints), keypoints=points.keypoints)
        return [_face(image, found, points, self._scores(found, points), 0)]

    @torch.no_grad()
    def detect(self, image: Tensor, threshold: float = THRESHOLD) -> Found:
        """Candidates of the first network alone, after suppression of doubles, in pixels of ``image`` [1, 3, H, W]."""
        height, width = image.shape[-2:]
        parts = []
        for level in pyramid(width, height, min_face=self.min_face, max_pixels=self.max_pixels):
            picture = level.render(image).contiguous(memory_format=torch.channels_last)
            parts.append(to_photo(decode(self.networks.detector(picture)[0], threshold), level))
        return suppress(join(parts))

    def landmarks(self, image: Tensor, rough: np.ndarray) -> np.ndarray:
        """68 landmarks [68, 2] in pixels around a box [4] or five keypoints [5, 2] of ``image`` [1, 3, H, W]."""
        return self.crop_landmarks(image, torch.from_numpy(np.asarray(rough, np.float32))[None])[0].cpu().numpy()

    def crop_landmarks(self, images: Tensor, rough: Tensor, passes: int = 2) -> Tensor:
        """68 landmarks [B, 68, 2] of one face in each of ``images``; see :meth:`crop_points`."""
        return self.crop_points(images, rough, passes).landmarks

    @torch.no_grad()
    def crop_points(self, images: Tensor, rough: Tensor, passes: int = 2) -> CropPoints:
        """Points of one face in each picture, without gradients.

        Args:
            images: [B, 3, H, W], RGB in 0..1, or one picture [1, 3, H, W] with all the faces; low-resolution pictures
                may come as they are or enlarged.
            rough: where the faces are, in pixels: boxes [B, 4] or five keypoints [B, 5, 2].
            passes: how often to look; from the second time on the crop follows the points found before.
        """
        if rough.shape[1:] not in ((4,), (KEYPOINTS, 2)) or len(images) not in (1, len(rough)):
            what = f"shape {tuple(rough.shape)} for {len(images)} pictures"
            raise ArgumentError("rough position", what, "give boxes [B, 4] or keypoints [B, 5, 2], one per picture")
        images = images.to(self.device, torch.float32)
        rough = rough.to(self.device, torch.float32)
        crop = crop_from_box(rough) if rough.ndim == 2 else crop_from_keypoints(rough)
        points = _read(self.networks.landmarks, images, crop)
        for _ in range(1, passes):
            points = _read(self.networks.landmarks, images, crop_from_keypoints(points.keypoints))
        return points


def _read(net: LandmarkNet, images: Tensor, crop: Tensor) -> CropPoints:
    """The points of the face in each crop [B, 5] of pictures [B, 3, H, W] or of one picture, in its pixels."""
    pixels = sample_crops(images, crop, net.config.crop).contiguous(memory_format=torch.channels_last)
    inside, spread = net(pixels)
    points = to_picture(inside, crop)
    # The mean of a two-dimensional Laplace distribution's distance is twice its scale.
    error = 2 * spread[:, KEYPOINTS:].exp().mean(1) * crop[:, 2]
    return CropPoints(keypoints=points[:, :KEYPOINTS], landmarks=points[:, KEYPOINTS:], spread=error)


def _mirrored(points: CropPoints, width: int) -> CropPoints:
    """What was read in a mirrored picture of ``width`` pixels, as points of the picture itself."""
    turn = lambda each, order: (each * each.new_tensor([-1, 1]) + each.new_tensor([width - 1, 0]))[:, order]
    return CropPoints(
        keypoints=turn(points.keypoints, MIRROR_5), landmarks=turn(points.landmarks, MIRROR_68), spread=points.spread
    )


def _mean(first: CropPoints, second: CropPoints) -> CropPoints:
    return CropPoints(
        keypoints=(first.keypoints + second.keypoints) / 2,
        landmarks=(first.landmarks + second.landmarks) / 2,
        spread=(first.spread + second.spread) / 2,
    )
