"""What the conditions accept and how they are taken apart."""

from dataclasses import replace

import pytest
import torch

from idfsr_core.errors import ArgumentError

from .faces import random_conditioning


@pytest.mark.parametrize("name", ["lr", "style", "style_coverage", "references", "reference_valid"])
def test_a_wrong_shape_is_refused_by_name(name):
    cond = random_conditioning()
    with pytest.raises(ArgumentError, match=f"Conditioning.{name}"):
        replace(cond, **{name: getattr(cond, name)[..., :-1]})


def test_scale_is_crop_pixels_per_lr_pixel():
    assert random_conditioning(lr=4).scale == 8
    assert random_conditioning(lr=5).scale == pytest.approx(6.4)


def test_select_takes_whole_faces():
    cond = random_conditioning(batch=3)
    one = cond.select(slice(1, 2))
    assert torch.equal(one.style, cond.style[1:2])
    assert one.references.shape[0] == 1


def test_without_identity_takes_vector_and_references_but_not_style():
    cond = random_conditioning().without_identity()
    assert not cond.reference_valid.any()
    assert not cond.identity.any()
    assert cond.style_coverage.all()


def test_one_identity_serves_the_batch():
    vector = torch.randn(24)
    assert torch.equal(random_conditioning(batch=3).with_identity(vector).identity, vector.expand(3, -1))
