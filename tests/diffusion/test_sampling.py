"""Schedules, guidance and the sampler."""

from dataclasses import replace

import pytest
import torch

from idfsr_core.diffusion.composite import composite, make_consistent
from idfsr_core.diffusion.config import DenoiserConfig
from idfsr_core.diffusion.denoiser import Denoiser
from idfsr_core.diffusion.guidance import guided_estimate
from idfsr_core.diffusion.judge import Judge
from idfsr_core.diffusion.sampling import SamplingSettings, sample, starting_noise
from idfsr_core.diffusion.schedule import SCHEDULERS, make_scheduler, noisy, velocity
from idfsr_core.errors import ArgumentError, Cancelled
from idfsr_core.runtime import Runtime

from .faces import TINY, random_conditioning, tiny_denoiser
from .judges import linear_judge


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_a_perfect_estimate_is_reached_by_every_scheduler(name, steps):
    x0, x = torch.rand(1, 3, 8, 8), torch.randn(1, 3, 8, 8)
    scheduler = make_scheduler(name, steps)
    assert len(scheduler.timesteps) == steps
    for timestep in scheduler.timesteps:
        time = float(timestep) / 1000
        x = scheduler.step(velocity(x, x0, time), timestep, x, return_dict=False)[0]
    assert torch.allclose(x, x0, atol=2e-2)


def test_the_path_joins_start_and_face():
    x0, start, noise = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    ends = noisy(x0, start, noise, 0.2, torch.tensor([0.0, 1.0]))
    assert torch.equal(ends[0], x0[0])
    assert torch.allclose(ends[1], start[1] + 0.2 * noise[1])


def test_an_untrained_denoiser_restores_the_consistent_composite():
    cond = random_conditioning()
    expected = make_consistent(composite(cond), cond.lr, SamplingSettings().consistency).clamp(0, 1)
    assert torch.allclose(sample(Denoiser(DenoiserConfig(**TINY)), cond), expected, atol=1e-5)


def test_one_seed_gives_one_face_and_another_seed_another():
    cond, denoiser = random_conditioning(), tiny_denoiser()
    with torch.no_grad():
        first, again = (sample(denoiser, cond, SamplingSettings(steps=2, seed=3)) for _ in range(2))
        other = sample(denoiser, cond, SamplingSettings(steps=2, seed=4))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-3)


def test_the_judge_is_asked_about_the_start_and_then_about_each_estimate():
    cond, asked = random_conditioning(), []
    cond = replace(cond, identity=cond.identity[:, :6])
    denoiser = tiny_denoiser(identity_dim=6)

    class Watched(Judge):
        def slope(self, faces, identity):
            asked.append(faces)
            return super().slope(faces, identity)

    plain = linear_judge()
    judge = Watched(encoder=plain.encoder, find=plain.find)
    with torch.inference_mode():
        judged = sample(denoiser, cond, SamplingSettings(steps=2), judge=judge)
        unjudged = sample(denoiser, cond, SamplingSettings(steps=2))
        sample(tiny_denoiser(identity_dim=6, slope=False), cond, judge=judge)
        sample(denoiser, cond, SamplingSettings(identity_guidance=0), judge=judge)
        sample(denoiser, cond, judge=replace(judge, leads=False))
    assert len(asked) == 2
    assert torch.allclose(asked[0], composite(cond), atol=1e-6)
    assert not torch.allclose(asked[1], asked[0], atol=1e-3)
    assert not torch.allclose(judged, unjudged, atol=1e-3)


def test_a_face_of_a_batch_has_the_noise_it_would_have_alone():
    cond = random_conditioning(batch=3)
    assert torch.equal(starting_noise(cond, 7)[2:], starting_noise(cond.select(slice(2, 3)), 9))


def test_the_faces_of_a_batch_can_share_their_noise():
    cond, denoiser = random_conditioning(batch=3), tiny_denoiser()
    noise = starting_noise(cond, 7, same=True)
    assert torch.equal(noise, starting_noise(cond.select(slice(0, 1)), 7).expand_as(noise))
    settings = SamplingSettings(seed=7, same_noise=True)
    with torch.no_grad():
        alone = sample(denoiser, cond.select(slice(2, 3)), settings)
        assert torch.allclose(sample(denoiser, cond, settings)[2:], alone, atol=1e-5)


def test_guidance_of_one_is_one_plain_forward():
    cond, denoiser = random_conditioning(), tiny_denoiser()
    calls = []
    denoiser.register_forward_hook(lambda *_: calls.append(1))
    x, time = torch.randn(2, 3, 32, 32), torch.ones(2)
    with torch.no_grad():
        plain = guided_estimate(denoiser, x, time, cond, 1, 1)
        assert len(calls) == 1
        assert torch.equal(plain, denoiser(x, time, cond))


def test_guidance_of_zero_leaves_its_condition_out():
    cond, denoiser = random_conditioning(), tiny_denoiser()
    x, time = torch.randn(2, 3, 32, 32), torch.ones(2)
    with torch.no_grad():
        anonymous = guided_estimate(denoiser, x, time, cond, 1, 0)
        assert torch.allclose(anonymous, denoiser(x, time, cond.without_identity()), atol=1e-5)
        nothing = guided_estimate(denoiser, x, time, cond, 0, 0)
        assert torch.allclose(nothing, denoiser(x, time, cond.without_identity().without_style()), atol=1e-5)


def test_progress_comes_after_each_step_with_a_preview():
    seen = []
    runtime = Runtime(progress=lambda done, total, image: seen.append((done, total, image.shape)))
    with torch.no_grad():
        sample(tiny_denoiser(), random_conditioning(), SamplingSettings(steps=3), runtime)
    assert seen == [(n, 3, (2, 3, 32, 32)) for n in (1, 2, 3)]


def test_cancelling_takes_effect_before_the_next_step():
    done = []
    runtime = Runtime(progress=lambda *_: done.append(1), cancelled=lambda: len(done) == 2)
    with torch.no_grad(), pytest.raises(Cancelled):
        sample(tiny_denoiser(), random_conditioning(), SamplingSettings(steps=9), runtime)
    assert len(done) == 2


@pytest.mark.parametrize(
    "changes", [{"steps": 0}, {"style_guidance": -1}, {"consistency": 2}, {"scheduler": "magic"}, {"seed": -1}]
)
def test_bad_settings_are_refused_by_name(changes):
    with pytest.raises(ArgumentError, match=next(iter(changes))):
        SamplingSettings(**changes)


def test_lower_precision_stays_close():
    cond, denoiser = random_conditioning(), tiny_denoiser()
    with torch.no_grad():
        exact = sample(denoiser, cond)
        rough = sample(denoiser, cond, runtime=Runtime(dtype="bfloat16"))
    assert rough.dtype == torch.float32
    assert (exact - rough).abs().mean() < 0.02


def test_settings_are_plain_values():
    assert SamplingSettings(**SamplingSettings(steps=2).to_dict()) == replace(SamplingSettings(), steps=2)
