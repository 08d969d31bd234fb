"""Stage 2 on tiny networks: what is fitted, what stays, what is never lost."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from idfsr_core.diffusion.judge import Judge
from idfsr_core.errors import ArgumentError, Cancelled, EncoderMismatchError
from idfsr_core.fitting import FittingResult, FittingSettings, fit_identity
from idfsr_core.identity.compact import CompactEncoder
from idfsr_core.identity.embedding import IdentityEmbedding
from idfsr_core.references import CROP_SIZE, Reference
from idfsr_core.runtime import Runtime
from tests import tiny

SHORT = FittingSettings(steps=4, batch=2, scales=(16,), evaluate_every=2, learning_rate=0.02, patience=9)


@pytest.fixture(scope="module")
def networks() -> dict:
    """A denoiser whose last layer is not zero, so that conditions matter."""
    parts: dict[str, Any] = {**tiny.networks()}
    torch.manual_seed(0)
    torch.nn.init.normal_(parts["denoiser"].head[2].weight, std=0.1)
    return {"denoiser": parts["denoiser"].eval(), "encoder": CompactEncoder(parts["encoder"])}


def photos(count: int) -> list[Reference]:
    return [
        Reference(
            name=f"{number}.jpg",
            crop=tiny.portrait(CROP_SIZE, number),
            landmarks=torch.from_numpy(tiny.dense_template()) + 32,
            embedding=torch.nn.functional.normalize(torch.randn(32), dim=0),
            quality=1.0,
        )
        for number in range(count)
    ]


def start(encoder: CompactEncoder) -> IdentityEmbedding:
    vector = torch.nn.functional.normalize(torch.ones(encoder.dim), dim=0)
    return IdentityEmbedding(vector=vector, encoder=encoder.name, encoder_hash=encoder.hash, photos=4, kind="pooled")


def fit(networks: dict, count: int, settings: FittingSettings = SHORT, **runtime) -> FittingResult:
    encoder = networks["encoder"]
    return fit_identity(networks["denoiser"], encoder, start(encoder), photos(count), settings, Runtime(**runtime))


@pytest.mark.parametrize("count", [1, 3])
def test_few_photos_are_all_used_and_the_last_vector_is_returned(networks, count):
    result = fit(networks, count)
    assert result.kept_out is None
    assert (result.steps, result.best_step, result.stopped) == (4, 4, "steps")
    assert result.identity.kind == "fitted"
    assert not np.allclose(result.identity.vector, start(networks["encoder"]).vector)


def test_the_vector_returned_is_never_worse_than_the_start_on_the_photo_kept_out(networks):
    result = fit(networks, 5)
    assert result.kept_out in [photo.name for photo in photos(5)]
    assert [point.step for point in result.curve] == [0, 2, 4]
    found = {point.step: point.similarity for point in result.curve if point.similarity is not None}
    assert found[result.best_step] == max(found.values())
    assert result.identity.kind == ("fitted" if result.best_step else "pooled")


def test_weights_and_their_flags_stay_as_they_were(networks):
    denoiser = networks["denoiser"]
    next(denoiser.parameters()).requires_grad_(False)
    before = {name: value.clone() for name, value in denoiser.state_dict().items()}
    flags = [parameter.requires_grad for parameter in denoiser.parameters()]
    fit(networks, 2)
    assert all(torch.equal(before[name], value) for name, value in denoiser.state_dict().items())
    assert flags == [parameter.requires_grad for parameter in denoiser.parameters()]
    assert all(parameter.grad is None for parameter in denoiser.parameters())


def test_fitting_works_inside_inference_mode(networks):
    with torch.inference_mode():
        inside = fit(networks, 2)
    assert np.allclose(inside.identity.vector, fit(networks, 2).identity.vector, atol=1e-5)


def test_cancelling_returns_the_best_so_far(networks):
    done = []
    result = fit(networks, 2, progress=lambda step, *_: done.append(step), cancelled=lambda: len(done) == 3)
    assert (result.stopped, result.steps, done) == ("cancelled", 3, [1, 2, 3])
    assert result.best_step == 2


def test_the_fit_stops_when_the_photo_kept_out_gains_nothing(networks):
    # a rate so small that float32 sees no change: no look can be better than the start
    result = fit(networks, 4, replace(SHORT, steps=40, learning_rate=1e-6, patience=2))
    assert result.steps < 40
    assert result.stopped == "no more gain"


def test_the_pull_holds_the_vector_at_the_start(networks):
    origin = torch.as_tensor(start(networks["encoder"]).vector)
    far = lambda pull: (
        torch.as_tensor(fit(networks, 2, replace(SHORT, pull=pull, steps=8)).identity.vector) - origin
    ).norm()
    assert far(100.0) < 0.8 * far(0.0)


@pytest.mark.parametrize("count", [0, 21])
def test_too_few_or_too_many_photos_are_refused(networks, count):
    with pytest.raises(ArgumentError, match=f"{count} photos"):
        fit(networks, count)


def test_a_start_of_another_encoder_is_refused(networks):
    other = replace(start(networks["encoder"]), encoder="edge_xs")
    with pytest.raises(EncoderMismatchError, match="edge_xs"):
        fit_identity(networks["denoiser"], networks["encoder"], other, photos(2), SHORT)


@pytest.mark.parametrize("changes", [{"steps": 0}, {"learning_rate": 0.0}, {"pull": -1.0}, {"scales": ()}])
def test_bad_settings_are_refused_by_name(changes):
    with pytest.raises(ArgumentError, match=next(iter(changes))):
        FittingSettings(**changes)


def in_inference_mode() -> dict:
    """Networks whose weights were made inside inference mode, as a node may be handed them."""
    with torch.inference_mode():
        parts: dict[str, Any] = {**tiny.networks()}
        torch.nn.init.normal_(parts["denoiser"].head[2].weight, std=0.1)
        return {"denoiser": parts["denoiser"].eval(), "encoder": CompactEncoder(parts["encoder"])}


def test_weights_and_photos_made_inside_inference_mode_can_be_fitted_to():
    parts = in_inference_mode()
    weight = parts["denoiser"].head[2].weight
    assert weight.is_inference()
    with torch.inference_mode():
        shown = photos(2)
        result = fit_identity(parts["denoiser"], parts["encoder"], start(parts["encoder"]), shown, SHORT)
    assert result.best_step == 4
    assert parts["denoiser"].head[2].weight is weight


def test_each_step_shows_the_photo_kept_out_as_restored_so_far(networks):
    seen: list[Any] = []
    fit(networks, 4, replace(SHORT, scales=(8, 16)), progress=lambda step, total, image: seen.append(image))
    assert [image.shape for image in seen] == [(1, 3, 128, 3 * 128)] * 4
    assert torch.equal(seen[0], seen[0].clamp(0, 1))
    assert not torch.equal(seen[0], seen[1])  # there was a look at step 2
    fit(networks, 2, progress=lambda step, total, image: seen.append(image))
    assert seen[4:] == [None] * 4


@pytest.mark.parametrize("when", ["cancelled", "progress"])
def test_an_interrupt_passes_through_and_leaves_the_networks_as_they_were(networks, when):
    class Interrupt(BaseException):
        pass

    calls = []

    def raising(*_):
        calls.append(1)
        if len(calls) > 6:
            raise Interrupt
        return False

    weights = list(networks["denoiser"].parameters())
    flags = [weight.requires_grad for weight in weights]
    with pytest.raises(Interrupt):
        fit(networks, 2, replace(SHORT, steps=20), **{when: raising})
    assert all(a is b for a, b in zip(weights, networks["denoiser"].parameters(), strict=True))
    assert flags == [weight.requires_grad for weight in weights]
    assert all(weight.grad is None for weight in weights)


def test_cancelling_takes_effect_while_the_photos_are_prepared(networks):
    with pytest.raises(Cancelled):
        fit(networks, 4, cancelled=lambda: True)


def test_before_and_after_are_those_of_the_start_and_of_the_vector_returned(networks):
    result = fit(networks, 5)
    found = {point.step: point.similarity for point in result.curve}
    assert (result.before, result.after) == (found[0], found[result.best_step])
    few = fit(networks, 2)
    assert (few.before, few.after) == (None, None)


def test_photos_prepared_for_another_model_are_refused(networks):
    encoder = networks["encoder"]
    large = replace(photos(1)[0], crop=tiny.portrait(384))
    with pytest.raises(ArgumentError, match="256 px"):
        fit_identity(networks["denoiser"], encoder, start(encoder), [large], SHORT)


@pytest.mark.parametrize(("photos_of_start", "asked"), [(1, False), (4, True)])
def test_the_vector_of_one_photo_leads_nobody_in_the_fit_either(
    networks: dict, monkeypatch: pytest.MonkeyPatch, photos_of_start: int, asked: bool
) -> None:
    seen = []
    plain = Judge.slope
    monkeypatch.setattr(Judge, "slope", lambda self, *given: (seen.append(1), plain(self, *given))[1])
    encoder = networks["encoder"]
    begun = replace(start(encoder), photos=photos_of_start)
    fit_identity(networks["denoiser"], encoder, begun, photos(3), SHORT)
    assert bool(seen) == asked
