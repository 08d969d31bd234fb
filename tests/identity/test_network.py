"""The compact encoder's network: shapes, gradients, configuration."""

import pytest
import torch

from idfsr_core.errors import ArgumentError
from idfsr_core.identity.network import EncoderConfig, EncoderNetwork

TINY = EncoderConfig(
    widths=(8, 8, 12),
    outputs=(4, 6, 6),
    depths=(1, 2, 1),
    kernels=(3, 3, 5),
    strides=(8, 2, 1),
    expansions=(2, 2, 3),
    attention=(False, True, True),
    heads=4,
    dim=16,
)


def _changed(**values) -> EncoderConfig:
    return EncoderConfig(**{**TINY.to_dict(), **values})


def test_embedding_and_quality_have_their_shapes_and_range():
    torch.manual_seed(0)
    vectors, quality = EncoderNetwork(TINY).eval()(torch.rand(3, 3, 112, 112))
    assert vectors.shape == (3, 16)
    assert quality.shape == (3,)
    assert vectors.isfinite().all()
    assert ((quality > 0) & (quality < 1)).all()


def test_features_of_every_segment_come_along():
    torch.manual_seed(0)
    network, faces = EncoderNetwork(TINY), torch.rand(2, 3, 112, 112)
    vectors, quality, features = network.with_features(faces)
    assert [tuple(f.shape) for f in features] == [(2, 14, 14, 4), (2, 7, 7, 6), (2, 7, 7, 6)]
    assert torch.equal(vectors, network(faces)[0])
    assert torch.equal(quality, network(faces)[1])


def test_a_segment_sees_what_it_is_fed():
    torch.manual_seed(0)
    network = EncoderNetwork(TINY)
    one, other = network.with_features(torch.rand(2, 3, 112, 112))[2], torch.rand(2, 3, 112, 112)
    numbers = []

    def feed(number: int, own: torch.Tensor) -> torch.Tensor:
        numbers.append(number)
        return one[number] if number == 1 else own

    vectors, _, found = network.with_features(other, feed)
    alone = network.with_features(other)[2]
    assert numbers == [0, 1, 2]
    assert torch.equal(found[1], alone[1]), "the fed segment's own features are what is given back"
    assert torch.equal(found[2], one[2])
    assert torch.equal(vectors, network._heads(one[2])[0])


def test_every_parameter_gets_a_gradient():
    torch.manual_seed(0)
    network = EncoderNetwork(TINY)
    vectors, quality = network(torch.rand(4, 3, 112, 112))
    (vectors * torch.randn_like(vectors)).sum().add(quality.sum()).backward()
    without = [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    assert without == []
    assert all(value.grad.isfinite().all() for value in network.parameters() if value.grad is not None)


def test_the_quality_teaches_its_own_head_only():
    network = EncoderNetwork(TINY)
    faces = torch.rand(2, 3, 112, 112, requires_grad=True)
    network(faces)[1].sum().backward()
    taught = {name for name, value in network.named_parameters() if value.grad is not None}
    assert taught == {"quality.weight", "quality.bias"}
    assert faces.grad is None


def test_gradients_reach_every_part_of_the_face():
    torch.manual_seed(0)
    faces = torch.rand(1, 3, 112, 112, requires_grad=True)
    EncoderNetwork(TINY)(faces)[0][0, 0].backward()
    assert faces.grad is not None
    assert (faces.grad != 0).float().mean() > 0.9


@pytest.mark.parametrize("attends", [False, True])
def test_only_attention_sees_far(attends):
    torch.manual_seed(0)
    config = EncoderConfig(
        widths=(8,), outputs=(8,), depths=(1,), kernels=(3,), strides=(8,), expansions=(2,), attention=(attends,)
    )
    network, faces = EncoderNetwork(config), torch.rand(1, 3, 112, 112)
    changed = faces.clone()
    changed[..., 80:, 80:] = 0
    near, far = (network.with_features(f)[2][0][0, 0, 0] for f in (faces, changed))
    assert torch.equal(near, far) is not attends


def test_rows_that_make_no_patch_are_left_out():
    config = _changed(widths=(8, 8), outputs=(4, 6), depths=(1, 1), kernels=(3, 3), strides=(16, 2),
        expansions=(2, 2), attention=(False, False))  # fmt: skip
    assert EncoderNetwork(config).with_features(torch.rand(1, 3, 112, 112))[2][1].shape == (1, 3, 3, 6)


def test_autocast_keeps_the_heads_in_float32():
    network = EncoderNetwork(TINY).eval()
    with torch.autocast("cpu", torch.bfloat16):
        vectors, quality = network(torch.rand(2, 3, 112, 112))
    assert vectors.dtype == quality.dtype == torch.float32


def test_configuration_survives_its_dictionary():
    assert EncoderConfig.from_dict(TINY.to_dict()) == TINY


@pytest.mark.parametrize(
    ("values", "remedy"),
    [
        ({"heads": 0}, "positive"),
        ({"dim": -1}, "positive"),
        ({"widths": (8, 8, 1.5)}, "positive"),
        ({"expansions": (2, 2, 0)}, "positive"),
        ({"widths": (8, 8)}, "as many entries"),
        ({"attention": (False, True)}, "as many entries"),
        ({"attention": (0, 1, 1)}, "true or false"),
        ({"kernels": (3, 4, 5)}, "odd"),
        ({"widths": (8, 10, 12)}, "heads divide"),
        ({"outputs": (4, 6, 8)}, "stride 1"),
        ({"strides": (16, 8, 1)}, "leave a pixel"),
        (dict.fromkeys(("widths", "outputs", "depths", "kernels", "strides", "expansions", "attention"), ()), "least"),
    ],
)
def test_impossible_configurations_are_refused(values, remedy):
    with pytest.raises(ArgumentError, match=remedy):
        _changed(**values)


def test_foreign_fields_are_refused_by_name():
    with pytest.raises(ArgumentError, match="colour"):
        EncoderConfig.from_dict({**TINY.to_dict(), "colour": 3})


def test_the_shipped_size_is_small():
    parameters = sum(value.numel() for value in EncoderNetwork().parameters())
    assert 3_600_000 < parameters < 3_800_000
