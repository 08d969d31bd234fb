"""The compact encoder's network: shapes, gradients, configuration."""

import pytest
import torch

from idfsr_core.errors import ArgumentError
from idfsr_core.identity.network import EncoderConfig, EncoderNetwork

TINY = EncoderConfig(stem=4, widths=(4, 6, 8), depths=(1, 1, 1), head=8, dim=16)


def test_embedding_and_quality_have_their_shapes_and_range():
    torch.manual_seed(0)
    vectors, quality = EncoderNetwork(TINY).eval()(torch.rand(3, 3, 112, 112))
    assert vectors.shape == (3, 16)
    assert quality.shape == (3,)
    assert vectors.isfinite().all()
    assert ((quality > 0) & (quality < 1)).all()


@pytest.mark.parametrize("widths", [(4,), (4, 6), (4, 6, 8)])
def test_any_number_of_stages_works(widths):
    config = EncoderConfig(stem=4, widths=widths, depths=(1,) * len(widths), head=8, dim=16)
    assert EncoderNetwork(config).eval()(torch.rand(1, 3, 112, 112))[0].shape == (1, 16)


def test_every_parameter_gets_a_gradient():
    torch.manual_seed(0)
    network = EncoderNetwork(TINY)
    vectors, quality = network(torch.rand(4, 3, 112, 112))
    (vectors * torch.randn_like(vectors)).sum().add(quality.sum()).backward()
    # the second convolution of a fresh block stands behind a zero; its own scale opens it in the first step
    without = [name for name, value in network.named_parameters() if value.grad is None]
    assert without == []
    assert all(value.grad.isfinite().all() for value in network.parameters() if value.grad is not None)


def test_autocast_keeps_the_heads_in_float32():
    network = EncoderNetwork(TINY).eval()
    with torch.autocast("cpu", torch.bfloat16):
        vectors, quality = network(torch.rand(2, 3, 112, 112))
    assert vectors.dtype == quality.dtype == torch.float32


def test_configuration_survives_its_dictionary():
    assert EncoderConfig.from_dict(TINY.to_dict()) == TINY


@pytest.mark.parametrize(
    "values",
    [
        {"stem": 0},
        {"widths": (4, 6)},
        {"widths": (), "depths": ()},
        {"dim": -1},
        {"head": 1.5},
    ],
)
def test_impossible_configurations_are_refused(values):
    with pytest.raises(ArgumentError):
        EncoderConfig(**values)


def test_foreign_fields_are_refused_by_name():
    with pytest.raises(ArgumentError, match="colour"):
        EncoderConfig.from_dict({**TINY.to_dict(), "colour": 3})


def test_the_shipped_size_is_small():
    parameters = sum(value.numel() for value in EncoderNetwork().parameters())
    assert 2_000_000 < parameters < 2_600_000
