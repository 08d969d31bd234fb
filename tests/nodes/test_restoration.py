"""Restore Face and Paste Face, at the end of the whole chain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.nodes.running import Pack
from tests.tiny import portrait, write_bundle

PLACES = ((0.3, 0.5, 0.15), (0.7, 0.5, 0.3))  # of the faces; the left one is half as large


def picture(seed: int = 1, side: int = 80) -> Tensor:
    """As ComfyUI has it: [1, H, W, 3]."""
    return torch.nn.functional.avg_pool2d(portrait(2 * side, seed), 2).movedim(1, -1)


def person(pack: Pack, model: Any = None, seed: int = 0) -> Any:
    """Somebody as the model's encoder might see them."""
    encoder = (model or pack.model()).bundle.encoder
    vector = torch.randn(encoder.dim, generator=torch.Generator().manual_seed(seed))
    return pack.core("identity.embedding").IdentityEmbedding(
        vector=vector / vector.norm(), encoder=encoder.name, encoder_hash=encoder.hash, photos=2, kind="pooled"
    )


def chain(
    pack: Pack, image: Tensor, index: int = 0, references: Tensor | None = None, model: Any = None, **crop: Any
) -> dict[str, Any]:
    """Detect, select, crop, mask (and warp): what Restore Face takes."""
    model = model or pack.model()
    analyzer = pack.stub_analyzer(*PLACES, model=model)
    faces, *_ = pack.run("IDFSRDetectFaces", image=image, analyzer=analyzer)
    face, _ = pack.run("IDFSRSelectFace", faces=faces, how="left to right", index=index)
    crop, alignment, _ = pack.run("IDFSRCropFace", image=image, face=face, **crop)
    _, mask, _ = pack.run("IDFSRMaskFace", crop=crop, alignment=alignment, face=face)
    given = {"model": model, "crop": crop, "alignment": alignment, "mask": mask, "identity": person(pack, model)}
    if references is not None:
        one = pack.stub_analyzer((0.5, 0.5, 0.4), model=model)
        warped, coverage, _ = pack.run("IDFSRWarpReference", references=references, face=face, analyzer=one, crop=crop)
        given |= {"warped": warped, "coverage": coverage}
    return given


def mixed(pack: Pack) -> dict[str, Any]:
    """Three pictures: a small face, none, a large face; two references on each."""
    first, second = (chain(pack, picture(), index) for index in (0, 1))
    nobody = torch.full_like(first["crop"], 0.5)
    items = (first["alignment"].items[0], None, second["alignment"].items[0])
    scales = (first["alignment"].scales[0], 1.0, second["alignment"].scales[0])
    return {
        "model": first["model"],
        "identity": first["identity"],
        "crop": torch.cat([first["crop"], nobody, second["crop"]]),
        "alignment": pack.sockets.Alignments(items, scales),
        "mask": torch.cat([first["mask"], 0 * first["mask"], second["mask"]]),
        "warped": torch.cat([portrait(128, seed) for seed in range(6)]).movedim(1, -1),
        "coverage": torch.ones(6, 128, 128),
    }


def one_of(pack: Pack, given: dict[str, Any], index: int) -> dict[str, Any]:
    """One picture of :func:`mixed`."""
    place = given["alignment"]
    alone = {name: given[name][index : index + 1] for name in ("crop", "mask")}
    alone |= {name: given[name][2 * index : 2 * index + 2] for name in ("warped", "coverage")}
    alignment = pack.sockets.Alignments(place.items[index : index + 1], place.scales[index : index + 1])
    return given | alone | {"alignment": alignment}


# --- restore ---


@pytest.mark.parametrize("scale", [0.0, 20.0])
def test_the_chain_gives_what_the_core_gives(pack: Pack, scale: float) -> None:
    image, references = picture(), torch.cat([portrait(seed=1)] * 2).movedim(1, -1)
    given = chain(pack, image, 1, references, scale=scale)
    restored, report = pack.run("IDFSRRestoreFace", **given, steps=2, seed=5)
    core, bundle = pack.core("restoration"), pack.model().bundle
    analyzer, one = pack.stub_analyzer(*PLACES).finder, pack.stub_analyzer((0.5, 0.5, 0.4)).finder
    photos = pack.core("references").prepare_references(
        one, bundle.encoder, [(f"reference {n}", each[None].movedim(-1, 1)) for n, each in enumerate(references)]
    )
    options = core.RestoreOptions(steps=2, seed=5, face=1, scale=scale or None)
    wanted = core.restore_image(bundle, image.movedim(-1, 1), photos, options, given["identity"], analyzer=analyzer)
    assert float((restored.movedim(-1, 1) - wanted.crop).abs().max()) < 1e-3
    assert float((restored.movedim(-1, 1) - wanted.before).abs().max()) > 0.02, "something was restored"
    assert f"scale {wanted.scale:.1f}" in report
    assert pack.said[-1] == report
    place = {"alignment": given["alignment"], "face_mask": given["mask"]}
    pasted, _ = pack.run("IDFSRPasteFace", image=image, crop=restored, **place)
    assert pasted.movedim(-1, 1).shape == wanted.image.shape
    assert float((pasted.movedim(-1, 1) - wanted.image).abs().max()) < 1e-3


def test_the_chain_gives_what_the_core_gives_with_the_shipped_model(pack: Pack) -> None:
    """Everything real: the group picture, anna looked for by likeness, her best reference."""
    model = pack.shipped()
    (analyzer,) = pack.run("IDFSRLoadFaceAnalyzer", model=model)
    references, image, _ = pack.run("IDFSRSamplePerson", person="anna", picture="group")
    named = ((f"reference {n}", each[None].movedim(-1, 1)) for n, each in enumerate(references))
    photos = pack.core("references").prepare_references(analyzer.finder, analyzer.encoder, named)
    wanted = pack.core("restoration").restore_image(model.bundle, image.movedim(-1, 1), photos)
    faces, *_ = pack.run("IDFSRDetectFaces", image=image, analyzer=analyzer)
    face, _ = pack.run("IDFSRSelectFace", faces=faces, how="like identity", identity=photos.identity)
    crop, alignment, scale = pack.run("IDFSRCropFace", image=image, face=face)
    _, mask, _ = pack.run("IDFSRMaskFace", crop=crop, alignment=alignment, face=face)
    warped, coverage, _ = pack.run("IDFSRWarpReference", references=references, face=face, analyzer=analyzer, crop=crop)
    restored, _ = pack.run(
        "IDFSRRestoreFace",
        model=model,
        crop=crop,
        alignment=alignment,
        mask=mask,
        identity=photos.identity,
        warped=warped,
        coverage=coverage,
    )
    pasted, _ = pack.run("IDFSRPasteFace", image=image, crop=restored, alignment=alignment, face_mask=mask)
    assert scale == pytest.approx(wanted.scale, abs=1e-4)
    assert float((restored.movedim(-1, 1) - wanted.crop).abs().max()) < 1e-3
    assert float((pasted.movedim(-1, 1) - wanted.image).abs().max()) < 1e-3


def test_a_model_of_256_px_goes_through_the_whole_chain_at_its_own_size(pack: Pack, tmp_path: Path) -> None:
    write_bundle(tmp_path / "models" / "idfsr" / "large.safetensors", size=256)
    model = pack.model("large.safetensors")
    image, references = picture(), portrait(400, seed=1).movedim(1, -1)
    given = chain(pack, image, 1, references, model)
    assert given["crop"].shape == given["warped"].shape == (1, 256, 256, 3)
    assert given["mask"].shape == given["coverage"].shape == (1, 256, 256)
    restored, report = pack.run("IDFSRRestoreFace", **given)
    analyzer, one = pack.stub_analyzer(*PLACES).finder, pack.stub_analyzer((0.5, 0.5, 0.4)).finder
    photo = [("reference 0", references.movedim(-1, 1))]
    photos = pack.core("references").prepare_references(one, model.bundle.encoder, photo, size=256)
    options = pack.core("options").RestoreOptions(face=1)
    core = pack.core("restoration")
    wanted = core.restore_image(
        model.bundle, image.movedim(-1, 1), photos, options, given["identity"], analyzer=analyzer
    )
    assert float((restored.movedim(-1, 1) - wanted.crop).abs().max()) < 1e-3
    assert f"scale {wanted.scale:.1f}" in report
    small = chain(pack, image, 1)
    with pytest.raises(pack.core("errors").ArgumentError, match="connect this model to the Load Face Analyzer"):
        pack.run("IDFSRRestoreFace", **(small | {"model": model}))


def test_a_batch_of_different_scales_with_a_picture_without_a_face(pack: Pack) -> None:
    given = mixed(pack)
    restored, report = pack.run("IDFSRRestoreFace", **given, seed=2)
    assert restored.shape == (3, 128, 128, 3)
    assert torch.equal(restored[1], given["crop"][1])
    assert "1: no face" in report
    for index in (0, 2):
        alone, _ = pack.run("IDFSRRestoreFace", **one_of(pack, given, index), seed=2)
        assert torch.allclose(restored[index : index + 1], alone, atol=1e-5)
        assert float((alone - given["crop"][index]).abs().max()) > 0.02


def test_an_equal_seed_gives_an_equal_result(pack: Pack) -> None:
    given = mixed(pack)
    first, again, other = (pack.run("IDFSRRestoreFace", **given, seed=seed)[0] for seed in (3, 3, 2**53 - 1))
    assert torch.equal(first, again)
    assert float((first - other).abs().max()) > 1e-4


@pytest.mark.parametrize(
    "widget", [{"style_guidance": 2.0}, {"identity_guidance": 3.0}, {"consistency": 1.0}, {"steps": 3}, {"steering": 0}]
)
def test_every_widget_changes_the_result(pack: Pack, widget: dict[str, Any]) -> None:
    given = mixed(pack)
    plain, changed = pack.run("IDFSRRestoreFace", **given)[0], pack.run("IDFSRRestoreFace", **given, **widget)[0]
    assert float((plain - changed).abs().max()) > 1e-4


def test_the_scheduler_counts_from_several_steps_on(pack: Pack) -> None:
    given = mixed(pack)
    euler, other = (pack.run("IDFSRRestoreFace", **given, steps=4, scheduler=s)[0] for s in ("euler", "dpm++"))
    assert float((euler - other).abs().max()) > 1e-4


def test_identity_and_references_change_the_result(pack: Pack) -> None:
    given = mixed(pack)
    plain = pack.run("IDFSRRestoreFace", **given)[0]
    somebody_else = pack.run("IDFSRRestoreFace", **(given | {"identity": person(pack, seed=1)}))[0]
    bare = {name: value for name, value in given.items() if name not in ("warped", "coverage")}
    without = pack.run("IDFSRRestoreFace", **bare)[0]
    assert float((plain - somebody_else).abs().max()) > 1e-4
    assert float((plain - without).abs().max()) > 1e-2


def test_a_mask_of_another_size_is_resized_and_said_so(pack: Pack) -> None:
    given = mixed(pack)
    _, report = pack.run("IDFSRRestoreFace", **(given | {"mask": torch.ones(1, 64, 64)}))
    assert "mask resized from 64x64 to 128x128" in report


def test_progress_has_previews_and_the_finished_picture_at_last(pack: Pack) -> None:
    given = one_of(pack, mixed(pack), 0)
    before = len(pack.progress)
    restored, _ = pack.run("IDFSRRestoreFace", **given, steps=3)
    told = pack.progress[before:]
    assert [(done, total) for done, total, _ in told] == [(1, 3), (2, 3), (3, 3), (3, 3)]
    previews = [preview for _, _, preview in told]
    assert all(previews)
    _, last, _ = previews[-1]
    wanted = (restored[0] * 255).round().byte()
    assert torch.equal(torch.tensor(list(last.getdata()), dtype=torch.uint8).view(128, 128, 3), wanted)
    assert len(pack.ui["images"]) == 1


def test_an_interrupt_is_obeyed_within_one_step_and_the_next_run_works(pack: Pack) -> None:
    given = mixed(pack)
    wanted = pack.run("IDFSRRestoreFace", **given)[0]
    before = len(pack.progress)
    pack.interrupt(after=2)
    with pytest.raises(pack.interrupted):
        pack.run("IDFSRRestoreFace", **given, steps=50)
    assert len(pack.progress) - before == 2
    assert torch.equal(pack.run("IDFSRRestoreFace", **given)[0], wanted)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"crop": torch.zeros(3, 512, 512, 3)}, "crop: 512x512 pixels, but the model works at 128x128"),
        ({"crop": torch.zeros(2, 128, 128, 3)}, "alignment: of 3 pictures, but there are 2 crops"),
        ({"crop": torch.zeros(0, 128, 128, 3)}, "crop: 0 pictures"),
        ({"mask": torch.zeros(2, 128, 128)}, "mask: 2 masks for 3 crops"),
        ({"mask": torch.zeros(3, 80, 120)}, "mask: 120x80 pixels"),
        ({"warped": torch.zeros(4, 128, 128, 3)}, "warped: 4 pictures for 3 crops"),
        ({"warped": torch.zeros(3, 64, 64, 3)}, "warped: 64x64 pixels"),
        ({"coverage": torch.zeros(3, 128, 128)}, "coverage: 3 masks of 128x128 pixels for 6 warped"),
    ],
)
def test_bad_wiring_is_told_in_the_words_of_the_inputs(pack: Pack, change: dict[str, Any], what: str) -> None:
    with pytest.raises(pack.core("errors").IDFSRError, match=what):
        pack.run("IDFSRRestoreFace", **(mixed(pack) | change))


def test_an_identity_of_another_encoder_is_refused_by_name(pack: Pack) -> None:
    given = mixed(pack)
    foreign = replace(given["identity"], encoder="buffalo_l", encoder_hash="0123")
    with pytest.raises(pack.core("errors").EncoderMismatchError, match=r"buffalo_l.*Load Face Analyzer"):
        pack.run("IDFSRRestoreFace", **(given | {"identity": foreign}))


# --- paste ---


def test_two_people_by_two_pastes(pack: Pack) -> None:
    image = picture()
    small, large = chain(pack, image, 0), chain(pack, image, 1)
    white = torch.ones(1, 128, 128, 3)
    once, first = pack.run("IDFSRPasteFace", image=image, crop=white, alignment=small["alignment"])
    assert once.shape[1] > image.shape[1], "enlarged as far as the small face gains"
    twice, second = pack.run("IDFSRPasteFace", image=once, crop=0 * white, alignment=large["alignment"])
    assert twice.shape == once.shape
    assert first.shape == second.shape == once.shape[:3]
    untouched = second == 0
    assert torch.equal(twice[untouched], once[untouched])
    side = once.shape[1]
    at = lambda picture, place: picture[0, int(place[1] * side), int(place[0] * side)]
    assert float(at(twice, PLACES[0]).min()) > 0.99
    assert float(at(twice, PLACES[1]).max()) < 0.01


def test_keeping_the_size_keeps_every_pixel_beyond_the_crop(pack: Pack) -> None:
    image = picture()
    given = chain(pack, image)
    pasted, replaced = pack.run(
        "IDFSRPasteFace", image=image, crop=given["crop"], alignment=given["alignment"], enlarge=1.0
    )
    assert pasted.shape == image.shape
    assert torch.equal(pasted[replaced == 0], image[replaced == 0])
    assert 0.02 < float((replaced > 0).float().mean()) < 0.4


def test_a_large_crop_has_its_room(pack: Pack) -> None:
    image = picture()
    given = chain(pack, image)
    crop = torch.nn.functional.interpolate(given["crop"].movedim(-1, 1), (512, 512), mode="bicubic").clamp(0, 1)
    inputs = {"image": image, "crop": crop.movedim(1, -1), "alignment": given["alignment"]}
    small = pack.run("IDFSRPasteFace", **(inputs | {"crop": given["crop"]}))[0]
    large = pack.run("IDFSRPasteFace", **inputs)[0]
    assert large.shape[1] > 3.5 * small.shape[1]


@pytest.mark.parametrize("mask", [torch.ones(1, 64, 64), torch.ones(1, 80, 80)])
def test_a_mask_of_the_crop_or_of_the_picture(pack: Pack, mask: Tensor) -> None:
    image = picture()
    given = chain(pack, image)
    mask[:, :, : mask.shape[2] // 3] = 0
    inputs = {"image": image, "crop": 1 - given["crop"], "alignment": given["alignment"], "enlarge": 1.0}
    whole, part = pack.run("IDFSRPasteFace", **inputs)[1], pack.run("IDFSRPasteFace", **inputs, mask=mask)[1]
    assert 0.2 < float(part.sum() / whole.sum()) < 0.9


def test_a_batch_with_a_picture_without_a_face(pack: Pack) -> None:
    given = mixed(pack)
    images = torch.cat([picture(seed) for seed in (1, 2, 1)])
    pasted, replaced = pack.run(
        "IDFSRPasteFace", image=images, crop=given["crop"], alignment=given["alignment"], enlarge=1.0
    )
    assert torch.equal(pasted[1], images[1])
    assert [float(each.max()) > 0 for each in replaced] == [True, False, True]
    assert [done for done, _, _ in pack.progress][-3:] == [1, 2, 3]


@pytest.mark.parametrize("method", ["lab", "wavelet"])
def test_colours_are_matched(pack: Pack, method: str) -> None:
    image = picture()
    given = chain(pack, image, 1)
    tinted = (given["crop"] * torch.tensor([1.0, 0.8, 0.7])).clamp(0, 1)
    inputs = {"image": image, "crop": tinted, "alignment": given["alignment"], "enlarge": 1.0}
    error = lambda colour: float((pack.run("IDFSRPasteFace", **inputs, colour_match=colour)[0] - image).abs().mean())
    assert error(method) < error("none") / 3


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"image": torch.zeros(1, 80, 100, 3)}, r"image: 100x80 pixels, where the face was cropped out of 80x80"),
        ({"image": torch.zeros(2, 80, 80, 3)}, "crop: 1 of them, but image has 2"),
        ({"image": torch.zeros(0, 80, 80, 3)}, "image: 0 pictures"),
        ({"crop": torch.zeros(1, 128, 100, 3)}, "crop: 100x128 pixels, not square"),
        ({"mask": torch.zeros(2, 128, 128)}, "mask: 2 masks for 1 crops"),
        ({"mask": torch.zeros(1, 128, 100)}, "mask: 100x128 pixels"),
        ({"image": torch.zeros(1, 800, 800, 3), "enlarge": 64.0}, "enlarge: 64 on 1 of 800x800"),
    ],
)
def test_bad_wiring_of_paste_is_told(pack: Pack, change: dict[str, Any], what: str) -> None:
    given = chain(pack, picture())
    inputs = {"image": picture(), "crop": given["crop"], "alignment": given["alignment"]} | change
    with pytest.raises(pack.core("errors").IDFSRError, match=what):
        pack.run("IDFSRPasteFace", **inputs)


def test_pasting_can_be_interrupted(pack: Pack) -> None:
    given = mixed(pack)
    images = torch.cat([picture()] * 3)
    pack.interrupt(after=1)
    before = len(pack.progress)
    with pytest.raises(pack.interrupted):
        pack.run("IDFSRPasteFace", image=images, crop=given["crop"], alignment=given["alignment"])
    assert len(pack.progress) - before == 1
