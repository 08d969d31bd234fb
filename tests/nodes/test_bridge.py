"""The bridge: pictures, weights, progress, interrupt, folders."""

from __future__ import annotations

import gc
import math
import shutil
import sys
import weakref
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests import tiny
from tests.comfy_stand_in import PACK
from tests.nodes.running import TINY, Pack

SIZES = st.integers(1, 9)


# --- pictures ---------------------------------------------------------------------------------------------------------


@given(batch=st.integers(1, 3), height=SIZES, width=SIZES)
def test_pictures_come_back_as_they_were(loaded, batch: int, height: int, width: int) -> None:
    bridge = sys.modules[f"{PACK}.nodes.bridge"]
    image = torch.rand(batch, height, width, 3)
    core = bridge.to_core(image)
    assert core.shape == (batch, 3, height, width)
    assert torch.equal(core[:, :, 0, 0], image[:, 0, 0, :])
    assert torch.equal(bridge.to_comfy(core), image)
    mask = torch.rand(batch, height, width)
    assert bridge.mask_to_core(mask).shape == (batch, 1, height, width)
    assert torch.equal(bridge.mask_to_comfy(bridge.mask_to_core(mask)), mask)


def test_the_pictures_of_a_long_batch_are_not_copied(pack: Pack) -> None:
    image = torch.rand(4, 5, 6, 3)
    core = pack.bridge.to_core(image)
    assert core.untyped_storage().data_ptr() == image.untyped_storage().data_ptr()


def test_alpha_is_dropped_and_grey_gets_three_channels(pack: Pack) -> None:
    image = torch.rand(1, 4, 5, 4)
    assert torch.equal(pack.bridge.to_core(image), pack.bridge.to_core(image[..., :3]))
    grey = pack.bridge.to_core(image[..., :1])
    assert grey.shape == (1, 3, 4, 5)
    assert torch.equal(grey[:, 0], grey[:, 2])


@pytest.mark.parametrize("shape", [(0, 8, 8, 3), (1, 0, 8, 3), (8, 8, 3), (1, 8, 8, 2)])
def test_an_empty_batch_is_named(pack: Pack, shape: tuple[int, ...]) -> None:
    with pytest.raises(pack.core("errors").ImageError, match="photos"):
        pack.bridge.to_core(torch.zeros(shape), "photos")


def test_masks_come_with_or_without_a_batch_and_are_held_to_the_range(pack: Pack) -> None:
    mask = torch.tensor([[-1.0, 0.5], [1.0, 2.0]])
    core = pack.bridge.mask_to_core(mask)
    assert core.shape == (1, 1, 2, 2)
    assert core.flatten().tolist() == [0, 0.5, 1, 1]
    assert torch.equal(pack.bridge.mask_to_core(mask[None, None]), core)
    with pytest.raises(pack.core("errors").ImageError, match="coverage"):
        pack.bridge.mask_to_core(torch.zeros(0, 2, 2), "coverage")


def test_what_leaves_is_float32_in_range(pack: Pack) -> None:
    image = pack.bridge.to_comfy(torch.tensor([-0.2, 0.5, 1.2]).half().view(1, 3, 1, 1))
    assert image.dtype == torch.float32
    assert image.flatten().tolist() == [0, 0.5, 1]


# --- weights ----------------------------------------------------------------------------------------------------------


def weights(model) -> list[torch.Tensor]:
    return [*model.patcher.model.parameters(), *model.patcher.model.buffers()]


def test_weights_are_no_inference_tensors_whoever_asks(pack: Pack) -> None:
    with torch.inference_mode():
        model = pack.model()
        pack.bridge.use(model)
        assert not any(value.is_inference() for value in weights(model))
        assert not any(value.requires_grad for value in weights(model))
    assert pack.stand_in.loaded == [model.patcher]


def test_all_networks_are_in_the_module_that_comfyui_moves(pack: Pack) -> None:
    model = pack.model()
    inside = {id(value) for value in weights(model)}
    bundle = model.bundle
    for network in (bundle.denoiser, bundle.analyzer.networks, bundle.encoder.network):
        assert {id(value) for value in network.parameters()} <= inside
    analyzer = pack.bridge.load_analyzer("compact", model)
    assert analyzer.patcher is model.patcher
    assert analyzer.finder is bundle.analyzer
    assert analyzer.encoder is bundle.encoder


def test_networks_follow_the_device(pack: Pack) -> None:
    """Without a GPU the device "meta" tells who would still compute on the old one."""
    model = pack.model()
    model.patcher.load_device = torch.device("meta")
    runtime = pack.bridge.use(model)
    assert runtime.device == "meta"
    assert model.bundle.analyzer.device.type == "meta"
    assert {value.device.type for value in weights(model)} == {"meta"}
    del model
    gc.collect()


def test_loaders_share_weights_and_let_them_go(pack: Pack) -> None:
    first, second = pack.model(), pack.model()
    assert first.patcher is second.patcher
    assert first.bundle is second.bundle
    analyzer = pack.bridge.load_analyzer("compact", first)
    alive = weakref.ref(first.patcher.model)
    pack.stand_in.loaded.clear()
    del first, second
    assert alive() is not None
    assert pack.model().bundle.analyzer is analyzer.finder
    del analyzer
    assert alive() is None, "nobody holds the networks, so they must go at once, without waiting for the collector"


def test_a_changed_file_is_opened_again(pack: Pack) -> None:
    path = pack.bridge.model_path(TINY)
    first, told = pack.model(), pack.bridge.model_fingerprint(TINY)
    path.unlink()
    tiny.write_bundle(path, seed=1)
    assert pack.model().bundle.hash != first.bundle.hash
    assert pack.bridge.model_fingerprint(TINY) != told


def test_fitting_works_with_weights_that_comfyui_moved_in_inference_mode(pack: Pack) -> None:
    """ComfyUI unloads models in the middle of a prompt, which runs in inference mode."""
    with torch.inference_mode():
        bundle = pack.core("bundle").load_bundle(pack.tiny_bundle)
        networks = pack.bridge.IDFSRNetworks(bundle)
        for parameter in networks.parameters():
            parameter.data = parameter.data.clone()
        result = fit_one_step(pack, bundle)
    assert result.steps == 1
    assert math.isfinite(result.curve[-1].loss)
    assert result.identity.kind == "fitted"


def fit_one_step(pack: Pack, bundle):
    encoder, fitting = bundle.encoder, pack.core("fitting")
    references, embedding = pack.core("references"), pack.core("identity.embedding")
    photos = [
        references.Reference(
            name=f"{number}.jpg",
            crop=tiny.portrait(references.CROP_SIZE, number),
            landmarks=torch.from_numpy(tiny.dense_template()) + 32,
            embedding=torch.nn.functional.normalize(torch.ones(encoder.dim), dim=0),
            quality=1.0,
        )
        for number in range(2)
    ]
    vector = torch.nn.functional.normalize(torch.ones(encoder.dim), dim=0)
    start = embedding.IdentityEmbedding(
        vector=vector, encoder=encoder.name, encoder_hash=encoder.hash, photos=2, kind="pooled"
    )
    settings = fitting.FittingSettings(steps=1, batch=2, scales=(16,), evaluate_every=1)
    return fitting.fit_identity(bundle.denoiser, encoder, start, photos, settings)


# --- running ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "half", "dtype"),
    [
        ("cpu", "bf16", "float32"),
        ("cuda", "bf16", "bfloat16"),
        ("cuda", "fp16", "float16"),
        ("cuda", None, "float32"),
        ("mps", "fp16", "float32"),
    ],
)
def test_precision_is_comfyuis_choice_on_a_gpu(pack: Pack, device: str, half: str | None, dtype: str) -> None:
    pack.stand_in.half = half
    assert pack.bridge.compute_dtype(torch.device(device)) == dtype


def test_steps_move_the_bar(pack: Pack) -> None:
    runtime = pack.bridge.use(pack.model())
    runtime.progress(1, 3, torch.rand(2, 3, 8, 8))
    assert pack.progress == [(1, 3, None)], "no preview unless asked for"


def test_several_calls_of_the_core_share_one_bar(pack: Pack) -> None:
    runtime = pack.bridge.use(pack.model(), progress_total=5)
    for done, total in [(1, 2), (2, 2), (1, 1), (1, 2), (2, 2)]:
        runtime.progress(done, total)
    assert [report[:2] for report in pack.progress] == [(n, 5) for n in range(1, 6)]


def test_the_preview_is_the_first_picture(pack: Pack) -> None:
    runtime = pack.bridge.use(pack.model(), preview=True)
    runtime.progress(1, 1, torch.stack([torch.ones(3, 4, 6), torch.zeros(3, 4, 6)]))
    (_, _, (form, picture, most)) = pack.progress[0]
    assert (form, picture.size, most) == ("JPEG", (6, 4), 512)
    assert picture.getpixel((0, 0)) == (255, 255, 255)


def test_an_interrupt_passes_through_as_it_is(pack: Pack) -> None:
    runtime = pack.bridge.use(pack.model())
    runtime.check()
    pack.interrupt()
    with pytest.raises(pack.interrupted):
        runtime.check()
    runtime.check()  # ComfyUI lowers the flag, so the next prompt runs
    pack.interrupt()
    with pytest.raises(pack.interrupted):
        runtime.progress(1, 2)


def test_an_interrupt_ends_sampling_within_a_step(pack: Pack) -> None:
    model = pack.model()
    runtime = pack.bridge.use(model)
    config = model.bundle.denoiser.config
    ones = lambda *shape: torch.full(shape, 0.5)
    cond = pack.core("diffusion.conditioning").Conditioning(
        lr=ones(1, 3, 8, 8),
        mask=ones(1, 1, 128, 128),
        style=ones(1, 3, 128, 128),
        style_coverage=ones(1, 1, 128, 128),
        references=ones(1, 1, 3, 128, 128),
        reference_coverage=ones(1, 1, 1, 128, 128),
        reference_valid=torch.ones(1, 1, dtype=torch.bool),
        identity=ones(1, config.identity_dim),
    )
    sampling = pack.core("diffusion.sampling")
    pack.interrupt(after=2)
    with pytest.raises(pack.interrupted):
        sampling.sample(model.bundle.denoiser, cond, sampling.SamplingSettings(steps=50), runtime)
    assert len(pack.progress) == 2


# --- folders ----------------------------------------------------------------------------------------------------------


def test_models_are_the_shipped_one_and_those_in_the_folders(pack: Pack, tmp_path: Path) -> None:
    extra = tmp_path / "elsewhere"
    (extra / "old").mkdir(parents=True)
    shutil.copy(pack.tiny_bundle, extra / "old" / "mine.safetensors")
    (extra / "readme.txt").write_text("no model")
    folders = pack.stand_in.folders
    folders.folder_names_and_paths.clear()
    folders.add_model_folder_path("idfsr", str(extra))  # as extra_model_paths.yaml does, before the pack is loaded
    pack.bridge.register_folders()
    assert pack.bridge.list_models() == ["shipped", "old/mine.safetensors", TINY]
    assert pack.bridge.load_model("old/mine.safetensors").bundle.card.name == "tiny"
    assert pack.bridge.identity_folder() == extra / "identities"


def test_identities_are_no_models(pack: Pack) -> None:
    path = pack.bridge.identity_path("anna")
    assert path == pack.bridge.identity_folder() / "anna.safetensors"
    path.write_bytes(b"")
    assert pack.bridge.list_models() == ["shipped", TINY]
    assert pack.bridge.list_identities() == ["anna"]
    assert pack.bridge.identity_path(" anna.safetensors") == path


def test_an_identity_in_another_folder_is_found(pack: Pack, tmp_path: Path) -> None:
    pack.stand_in.folders.add_model_folder_path("idfsr_identities", str(tmp_path / "more"))
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "ben.safetensors").write_bytes(b"")
    assert pack.bridge.list_identities() == ["ben"]
    assert pack.bridge.identity_path("ben") == tmp_path / "more" / "ben.safetensors"
    assert pack.bridge.identity_path("clara").parent == pack.bridge.identity_folder()


@pytest.mark.parametrize(
    "name",
    ["", "  ", "../anna", "a/b", "a\\b", "/etc/passwd", "..", ".hidden", "con", "C:x", "a\0b", "x" * 200, "a\nb"],
)
def test_no_name_leads_out_of_the_folder(pack: Pack, name: str) -> None:
    with pytest.raises(pack.core("errors").ArgumentError, match="name"):
        pack.bridge.identity_path(name)


@given(name=st.text(max_size=40))
def test_any_name_stays_in_the_folder_or_is_refused(loaded, tmp_path_factory, name: str) -> None:
    bridge, errors = sys.modules[f"{PACK}.nodes.bridge"], sys.modules[f"{PACK}.idfsr_core.errors"]
    loaded[0].folders.reset(tmp_path_factory.getbasetemp() / "any-name")
    bridge.register_folders()
    try:
        path = bridge.identity_path(name)
    except errors.ArgumentError:
        return
    assert path.resolve().parent == bridge.identity_folder().resolve()
    assert path.suffix == ".safetensors"


def test_packs_are_folders_with_two_networks_for_faces(pack: Pack, tmp_path: Path) -> None:
    assert pack.bridge.list_packs() == []
    root = tmp_path / "models" / "insightface" / "models"
    for pack_name, files in {
        "full": ["det_10g.onnx", "w600k_r50.onnx", "genderage.onnx"],
        "nested/nested": ["det.onnx", "arc.onnx"],
        "half": ["det_10g.onnx", "genderage.onnx", "1k3d68.onnx"],
        "empty": [],
    }.items():
        (root / pack_name).mkdir(parents=True)
        for file in files:
            (root / pack_name / file).write_bytes(b"not a network")
    (root / "buffalo_l.zip").write_bytes(b"")
    assert pack.bridge.list_packs() == ["full", "nested"]
    assert pack.bridge.list_analyzers() == ["compact", "full", "nested"]
