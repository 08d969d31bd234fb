"""The denoiser's configuration."""

import json

import pytest

from idfsr_core.diffusion.config import DenoiserConfig
from idfsr_core.errors import ArgumentError, FileFormatError


def test_round_trip_through_json():
    config = DenoiserConfig(channels=(32, 64), attention=(False, True), start="noise", start_noise=1.0, slope=False)
    assert DenoiserConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 100},
        {"channels": (60, 128, 256)},
        {"attention": (True,)},
        {"start": "reference"},
        {"start": "noise"},
        {"start": "noise", "start_noise": 1.0, "slope": True},
        {"start_noise": 1.5},
        {"heads": 0},
    ],
)
def test_bad_values_are_refused(changes):
    with pytest.raises(ArgumentError):
        DenoiserConfig(**changes)


def test_an_unknown_key_is_named():
    with pytest.raises(FileFormatError, match="colour"):
        DenoiserConfig.from_dict({"colour": 1})


def test_a_file_from_before_the_slope_has_none():
    values = DenoiserConfig().to_dict()
    del values["slope"]
    assert not DenoiserConfig.from_dict(values).slope
