"""The two networks: shapes, gradients, configuration."""

import json

import pytest
import torch

from idfsr_core.errors import ArgumentError
from idfsr_core.faces.networks import Detector, DetectorConfig, LandmarkConfig, LandmarkNet

LANDMARK = LandmarkConfig(crop=32, widths=(4, 6, 8, 10), hidden=12)
DETECTOR = DetectorConfig(widths=(4, 6, 8, 10))


def test_landmark_net_gives_points_and_spread():
    points, spread = LandmarkNet(LANDMARK).eval()(torch.rand(3, 3, 32, 32))
    assert points.shape == (3, 73, 2)
    assert spread.shape == (3, 73)
    assert points.dtype == spread.dtype == torch.float32


def test_points_stay_float32_under_autocast():
    net = LandmarkNet(LANDMARK).eval()
    with torch.autocast("cpu", torch.bfloat16):
        points, _ = net(torch.rand(2, 3, 32, 32))
    assert points.dtype == torch.float32


def test_detector_gives_a_map_of_cells():
    maps = Detector(DETECTOR).eval()(torch.rand(2, 3, 48, 80))
    assert maps.shape == (2, 15, 12, 20)


def test_fresh_detector_sees_hardly_any_face():
    maps = Detector(DETECTOR).eval()(torch.rand(1, 3, 64, 64))
    assert maps[0, 0].sigmoid().mean() < 0.1


@pytest.mark.parametrize("net", [LandmarkNet(LANDMARK), Detector(DETECTOR)], ids=["landmarks", "detector"])
def test_gradient_reaches_every_parameter(net):
    side = 32
    output = net.train()(torch.rand(4, 3, side, side))
    values = output if isinstance(output, tuple) else (output,)
    weight = torch.Generator().manual_seed(0)
    torch.stack([(v * torch.randn(v.shape, generator=weight)).sum() for v in values]).sum().backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


def test_configuration_round_trip():
    assert LandmarkConfig(**LANDMARK.to_dict()) == LANDMARK
    assert DetectorConfig(**json.loads(json.dumps(DETECTOR.to_dict()))) == DETECTOR


@pytest.mark.parametrize("wrong", [{"crop": 30}, {"crop": 0}, {"widths": (1, 2, 3)}, {"widths": (1, 2, 3, 0)}])
def test_wrong_configuration_is_named(wrong):
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        LandmarkConfig(**wrong)
