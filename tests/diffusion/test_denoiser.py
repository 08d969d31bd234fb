"""The denoiser as a network: what reaches it, what does not, and what gets a gradient."""

from dataclasses import replace

import pytest
import torch

from idfsr_core.diffusion.composite import composite
from idfsr_core.diffusion.config import DenoiserConfig
from idfsr_core.diffusion.denoiser import Denoiser, _without_grid

from .faces import TINY, random_conditioning, tiny_denoiser


def estimate(denoiser: Denoiser, cond, seed: int = 1) -> torch.Tensor:
    x = torch.randn(cond.style.shape, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return denoiser(x, torch.full((len(x),), 0.5), cond)


def test_an_untrained_denoiser_gives_back_the_composite():
    cond = random_conditioning()
    assert torch.allclose(estimate(Denoiser(DenoiserConfig(**TINY)), cond), composite(cond) * 2 - 1)


@pytest.mark.parametrize("places", [0, 1, 5])
@pytest.mark.parametrize("lr", [3, 4, 17])
def test_any_number_of_references_and_any_lr_size(places, lr):
    cond = random_conditioning(places=places, lr=lr)
    found = estimate(tiny_denoiser(), cond)
    assert found.shape == cond.style.shape
    assert found.isfinite().all()


def test_the_order_of_the_references_does_not_matter():
    cond = random_conditioning(places=3)
    order = torch.tensor([2, 0, 1])
    turned = replace(cond, references=cond.references[:, order])
    assert torch.allclose(estimate(tiny_denoiser(), cond), estimate(tiny_denoiser(), turned), atol=1e-4)


def test_a_reference_in_an_invalid_place_is_not_seen():
    cond = random_conditioning(places=2)
    cond = replace(cond, reference_valid=torch.tensor([[True, False]] * 2))
    changed = cond.references.clone()
    changed[:, 1] = 0.5
    assert torch.equal(estimate(tiny_denoiser(), cond), estimate(tiny_denoiser(), replace(cond, references=changed)))


@pytest.mark.parametrize("name", ["lr", "mask", "style", "references", "identity"])
def test_every_condition_changes_the_estimate(name):
    cond = random_conditioning()
    other = replace(cond, **{name: getattr(random_conditioning(seed=5), name)})
    assert not torch.allclose(estimate(tiny_denoiser(), cond), estimate(tiny_denoiser(), other), atol=1e-4)


def test_the_slope_changes_the_estimate_only_where_it_is_wanted():
    cond, slope = random_conditioning(), torch.randn(2, 3, 32, 32)
    x, time = torch.randn(2, 3, 32, 32), torch.ones(2)
    with torch.no_grad():
        for wanted in (True, False):
            denoiser = tiny_denoiser(slope=wanted)
            without = denoiser(x, time, cond)
            assert torch.equal(denoiser(x, time, cond, torch.zeros_like(slope)), without)
            assert torch.allclose(denoiser(x, time, cond, slope), without, atol=1e-4) != wanted


def test_from_noise_the_masked_face_is_not_seen():
    denoiser = tiny_denoiser(start="noise", start_noise=1.0, slope=False)
    # without references: what the picker compares with the LR pixels is not part of the paper's form
    cond = replace(random_conditioning(places=0), mask=torch.ones(2, 1, 32, 32))
    other = replace(cond, lr=torch.rand_like(cond.lr))
    assert torch.equal(estimate(denoiser, cond), estimate(denoiser, other))


def test_a_face_does_not_depend_on_the_others_of_its_batch():
    cond = random_conditioning(batch=3)
    x = torch.randn(3, 3, 32, 32)
    denoiser, time = tiny_denoiser(), torch.full((3,), 0.7)
    with torch.no_grad():
        together = denoiser(x, time, cond)[1:2]
        alone = denoiser(x[1:2], time[1:2], cond.select(slice(1, 2)))
    assert torch.allclose(together, alone, atol=1e-4)


def test_every_parameter_gets_a_gradient():
    denoiser = tiny_denoiser().train()
    cond = random_conditioning(places=2)
    cond = replace(cond, reference_valid=torch.tensor([[True, True], [True, False]]))
    denoiser(torch.randn(2, 3, 32, 32), torch.rand(2), cond).square().mean().backward()
    missing = [name for name, value in denoiser.named_parameters() if value.grad is None or not value.grad.any()]
    # a key bias adds the same to all scores of a softmax: diffusers has none, so nothing may be missing
    assert missing == []


@pytest.mark.parametrize("patch", [2, 4])
def test_what_repeats_with_every_patch_is_filtered_out(patch):
    pattern = torch.rand(1, 3, patch, patch)
    flat = _without_grid(pattern.repeat(1, 1, 8, 8), patch)
    inner = flat[..., patch:-patch, patch:-patch]
    assert torch.allclose(inner, pattern.mean((2, 3), keepdim=True).expand_as(inner), atol=1e-6)
