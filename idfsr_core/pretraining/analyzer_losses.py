"""What the networks of the compact analyzer minimise."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..faces.cropping import face_unit
from ..faces.decoding import POINT_UNIT, encode
from ..faces.points import KEYPOINTS
from .analyzer_data import LandmarkBatch
from .analyzer_scenes import SceneBatch


def landmark_loss(model: nn.Module, batch: LandmarkBatch, autocast: bool) -> dict[str, Tensor]:
    """Negative log-likelihood of the points under a round Laplace distribution, plus the plain distance.

    With r the distance and b the predicted spread, both in units of the face, ``-log p = r / b + 2 log b + const`` in
    two dimensions. The plain distance keeps the gradient of hard points alive, which a large b would drown.
    """
    with torch.autocast(batch.crops.device.type, torch.bfloat16, enabled=autocast):
        points, spread = model(batch.crops.contiguous(memory_format=torch.channels_last))
    distance = (points - batch.points).norm(dim=-1) / batch.unit[:, None]
    width = spread - batch.unit.log()[:, None]
    likelihood = distance * torch.exp(-width) + 2 * width
    counts = torch.ones_like(distance)
    counts[batch.mirrored, :KEYPOINTS] = 0.0
    counts[:, :KEYPOINTS] *= 4.0  # five points steer alignment: together they weigh as much as twenty others
    total = counts.sum()
    plain = (distance * counts).sum() / total
    loss = 0.25 * (likelihood * counts).sum() / total + 3 * plain
    straight = ~batch.mirrored
    five = distance[straight, :KEYPOINTS].mean() if straight.any() else plain.detach()
    return {"loss": loss, "five": five.detach(), "dense": distance[:, KEYPOINTS:].mean().detach()}


def detector_loss(model: nn.Module, batch: SceneBatch, autocast: bool) -> dict[str, Tensor]:
    """Penalty-reduced focal loss of the heat (CornerNet, arXiv 1808.01244, eq. 1) and the places of the faces."""
    with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=autocast):
        maps = model(batch.images.contiguous(memory_format=torch.channels_last))
    maps = maps.float()
    heat = focal_loss(maps[:, 0], batch.heat, batch.counts)
    if not len(batch.cells):
        return {"loss": heat, "heat": heat.detach(), "box": heat.detach() * 0, "five": heat.detach() * 0}
    picture, column, row = batch.cells.T
    values = maps[picture, 1:, row, column]
    targets = encode(batch.keypoints, batch.boxes, batch.cells[:, 1:])
    box = F.smooth_l1_loss(values[:, :4], targets[:, :4], beta=0.1)
    reach = (values[:, 4:] - targets[:, 4:]).unflatten(1, (-1, 2)).norm(dim=-1) * POINT_UNIT
    five = (reach / face_unit(batch.keypoints)[:, None]).mean()
    return {"loss": heat + box + 2 * five, "heat": heat.detach(), "box": box.detach(), "five": five.detach()}


def focal_loss(logits: Tensor, heat: Tensor, counts: Tensor) -> Tensor:
    """Focal loss of heat maps [B, h, w] per face: cells near a centre are excused in part, others in full."""
    likely, unlikely = F.logsigmoid(logits), F.logsigmoid(-logits)
    chance = logits.sigmoid()
    centre = heat > 0.999
    hit = -((1 - chance) ** 2) * likely
    miss = -((1 - heat) ** 4) * chance**2 * unlikely
    return (torch.where(centre, hit, miss) * counts).sum() / centre.sum().clamp_min(len(heat) // 4 + 1)
