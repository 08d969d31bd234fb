"""Fit Identity: progress, preview, interrupt, the report, bad wiring."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests import tiny
from tests.nodes.running import Pack, PackFaces


def photos(count: int) -> Tensor:
    """A batch of pictures, as ComfyUI has them."""
    return torch.cat([tiny.portrait(seed=1) + 0.01 * number for number in range(count)]).clamp(0, 1).movedim(1, -1)


@pytest.fixture
def model(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Tiny networks that find a face in the middle of every picture."""
    model = pack.model()
    faces = PackFaces(tiny.StubAnalyzer((0.5, 0.5, 0.4)), pack.core("faces.face").Face)
    monkeypatch.setitem(vars(model.bundle), "analyzer", faces)
    return model


@pytest.fixture
def start(pack: Pack, model: Any) -> Any:
    """The photos' pooled identity."""
    analyzer = pack.stub_analyzer((0.5, 0.5, 0.4), model=model)
    identity = pack.run("IDFSREncodeIdentity", analyzer=analyzer, references={"photos_1": photos(4)})[0]
    pack.progress.clear()
    pack.said.clear()
    return identity


def test_a_fit_shows_its_steps_and_the_photo_kept_out(pack: Pack, model: Any, start: Any) -> None:
    inputs = {"model": model, "identity": start, "photos": {"photos_1": photos(4)}, "steps": 3}
    identity, curve, report = pack.run("IDFSRFitIdentity", **inputs)
    assert [(value, total) for value, total, _ in pack.progress] == [(1, 3), (2, 3), (3, 3)]
    kind, preview, _ = pack.progress[-1][2]
    assert (kind, preview.size) == ("JPEG", (4 * 128, 128))
    assert curve.shape == (1, 480, 640, 3)
    assert len(pack.ui["images"]) == 1
    assert "kept out" in report
    assert pack.said == [report]
    gained = report.startswith("similarity of photo")
    assert identity.kind == ("fitted" if gained else "pooled")
    assert gained or report.startswith("fitting brought nothing")


def test_few_photos_are_fitted_without_a_preview_and_the_seed_decides(pack: Pack, model: Any, start: Any) -> None:
    inputs = {"model": model, "identity": start, "photos": {"photos_1": photos(1), "photos_2": photos(1)}, "steps": 2}
    first, second, other = (pack.run("IDFSRFitIdentity", **inputs, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first[0].vector, second[0].vector)
    assert not torch.equal(first[0].vector, other[0].vector)
    assert first[0].kind == "fitted"
    assert "its gain is not known" in first[2]
    assert all(preview is None for _, _, preview in pack.progress)


def test_an_interrupt_ends_the_fit_within_a_step_and_breaks_nothing(pack: Pack, model: Any, start: Any) -> None:
    weights = {name: (weight, weight.clone()) for name, weight in model.bundle.denoiser.named_parameters()}
    inputs = {"model": model, "identity": start, "photos": {"photos_1": photos(2)}}
    pack.interrupt(after=2)
    with pytest.raises(pack.interrupted):
        pack.run("IDFSRFitIdentity", **inputs, steps=50)
    assert len(pack.progress) == 2
    assert pack.ui == {}
    assert pack.said == []
    for name, weight in model.bundle.denoiser.named_parameters():
        assert weight is weights[name][0]
        assert torch.equal(weight, weights[name][1])
        assert weight.grad is None
    assert pack.run("IDFSRFitIdentity", **inputs, steps=1)[0].kind == "fitted"


def test_an_interrupt_before_the_first_step_is_obeyed(pack: Pack, model: Any, start: Any) -> None:
    pack.interrupt()
    with pytest.raises(pack.interrupted):
        pack.run("IDFSRFitIdentity", model=model, identity=start, photos={"photos_1": photos(4)})
    assert pack.progress == []


def test_an_identity_of_another_encoder_is_refused_with_the_remedy(pack: Pack, model: Any, start: Any) -> None:
    other = type(start)(**{**vars(start), "encoder": "buffalo_l"})
    with pytest.raises(pack.core("errors").EncoderMismatchError, match=r"buffalo_l.*compact.*set to compact and conn"):
        pack.run("IDFSRFitIdentity", model=model, identity=other, photos={"photos_1": photos(4)})


@pytest.mark.parametrize(
    ("batch", "error", "told"),
    [(photos(1)[:0], "ImageError", "photos_1: 0 pictures"), (photos(21), "ArgumentError", "21 photos; give 1 to 20")],
)
def test_too_few_or_too_many_photos_are_refused(
    pack: Pack, model: Any, start: Any, batch: Tensor, error: str, told: str
) -> None:
    with pytest.raises(getattr(pack.core("errors"), error), match=told):
        pack.run("IDFSRFitIdentity", model=model, identity=start, photos={"photos_1": batch})
    assert pack.ui == {}


def test_the_widgets_begin_with_the_core_s_defaults(pack: Pack) -> None:
    settings = pack.core("fitting").FittingSettings()
    defaults = {each.id: each.default for each in pack.nodes["IDFSRFitIdentity"].GET_SCHEMA().inputs}
    assert (defaults["steps"], defaults["learning_rate"], defaults["seed"]) == (
        settings.steps,
        settings.learning_rate,
        settings.seed,
    )


@pytest.mark.slow
def test_the_shipped_model_is_fitted_to_a_sample_person(pack: Pack) -> None:
    samples = pack.core("bundle").SHIPPED.parent / "samples" / "anna"
    read = pack.core("images").read_image
    batch = torch.cat([read(samples / f"{number}.jpg") for number in (2, 3, 4, 5)]).movedim(1, -1)
    model = pack.shipped()
    analyzer = pack.bridge.load_analyzer("compact", model)
    start, _, told = pack.run("IDFSREncodeIdentity", analyzer=analyzer, references={"photos_1": batch})
    assert start.photos == 4, told
    inputs = {"model": model, "identity": start, "photos": {"photos_1": batch}, "steps": 2}
    fitted, _, report = pack.run("IDFSRFitIdentity", **inputs)
    assert "kept out" in report
    likeness = pack.run("IDFSRCompareIdentity", identity=fitted, other=start)[0]
    assert 0.9 < likeness <= 1
