"""The two loaders."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from tests.nodes.running import TINY, Pack


def test_the_shipped_model_says_its_licence(pack: Pack) -> None:
    (model,) = pack.run("IDFSRLoadModel")
    assert model.name == "shipped"
    assert model.bundle.parts == ("denoiser", "analyzer", "encoder", "match")
    (text,) = pack.ui["text"]
    assert "Licence: research, non-commercial" in text
    assert model.bundle.card.name in text
    assert model.bundle.card.data in text
    assert "composite_best 16x, landmarks found: identity 0." in text
    assert "{" not in text
    assert pack.said == [text]


def test_the_licence_is_in_the_description_and_the_tooltip(pack: Pack) -> None:
    schema = pack.nodes["IDFSRLoadModel"].GET_SCHEMA()
    for text in (schema.description, schema.inputs[0].as_dict()["tooltip"]):
        assert "non-commercial" in text


def test_a_bundle_in_the_folder_is_offered_and_opened(pack: Pack) -> None:
    schema = pack.nodes["IDFSRLoadModel"].GET_SCHEMA()
    assert schema.inputs[0].options["options"] == ["shipped", TINY]
    (model,) = pack.run("IDFSRLoadModel", model=TINY)
    assert model.bundle.card.name == "tiny"


def test_a_file_that_is_no_bundle_says_so(pack: Pack) -> None:
    folder = Path(pack.stand_in.folders.models_dir) / "idfsr"
    (folder / "other.safetensors").write_bytes(b"something else")
    with pytest.raises(pack.core("errors").FileFormatError, match=r"other\.safetensors.*damaged or not safetensors"):
        pack.run("IDFSRLoadModel", model="other.safetensors")


def test_a_file_that_was_replaced_is_loaded_again(pack: Pack) -> None:
    node = pack.nodes["IDFSRLoadModel"]
    told = node.fingerprint_inputs(model=TINY)
    assert node.fingerprint_inputs(model=TINY) == told
    pack.bridge.model_path(TINY).unlink()
    assert node.fingerprint_inputs(model=TINY) != told


def test_the_compact_analyzer_is_the_models_own(pack: Pack) -> None:
    model = pack.model()
    (analyzer,) = pack.run("IDFSRLoadFaceAnalyzer", model=model)
    assert (analyzer.name, analyzer.finder, analyzer.encoder) == (
        "compact",
        model.bundle.analyzer,
        model.bundle.encoder,
    )


def test_without_a_model_the_shipped_analyzer_is_used(pack: Pack) -> None:
    (analyzer,) = pack.run("IDFSRLoadFaceAnalyzer")
    assert analyzer.patcher is pack.shipped().patcher


def test_a_bundle_without_the_analyzer_says_what_it_holds(pack: Pack, tmp_path: Path) -> None:
    from idfsr_core.bundle import save_bundle
    from tests import tiny

    save_bundle(tmp_path / "models" / "idfsr" / "part.safetensors", {"denoiser": tiny.networks()["denoiser"]})
    (model,) = pack.run("IDFSRLoadModel", model="part.safetensors")
    assert "denoiser" in pack.ui["text"][0]
    with pytest.raises(pack.core("errors").FileFormatError, match="holds denoiser"):
        pack.run("IDFSRLoadFaceAnalyzer", model=model)


def add_pack(pack: Pack, name: str) -> None:
    folder = Path(pack.stand_in.folders.models_dir) / "insightface" / "models" / name
    folder.mkdir(parents=True)
    for file in ("det_10g.onnx", "w600k_r50.onnx"):
        (folder / file).write_bytes(b"not a network")


def test_without_insightface_a_pack_is_answered_with_a_sentence(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    add_pack(pack, "buffalo_l")
    for name in ("insightface", "insightface.model_zoo"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        pack.core("errors").MissingPackageError, match="insightface: not installed; pip install"
    ) as told:
        pack.run("IDFSRLoadFaceAnalyzer", analyzer="buffalo_l", model=pack.model())
    assert "Traceback" not in str(told.value)
    pack.run("IDFSRLoadFaceAnalyzer", model=pack.model())


@pytest.mark.skipif(importlib.util.find_spec("insightface") is None, reason="needs insightface")
def test_a_damaged_pack_is_named(pack: Pack) -> None:
    add_pack(pack, "broken")
    with pytest.raises(pack.core("errors").FileFormatError, match=r"det_10g\.onnx"):
        pack.run("IDFSRLoadFaceAnalyzer", analyzer="broken", model=pack.model())


@pytest.mark.shared
@pytest.mark.skipif(importlib.util.find_spec("insightface") is None, reason="needs insightface")
def test_real_packs_are_found_through_extra_paths_and_find_faces(pack: Pack, shared_dir: Path) -> None:
    pack.stand_in.folders.add_model_folder_path("insightface", str(shared_dir / "weights" / "insightface"))
    assert {"edge_xs", "mbf_y1"} <= set(pack.bridge.list_packs())
    model = pack.shipped()
    (analyzer,) = pack.run("IDFSRLoadFaceAnalyzer", analyzer="edge_xs", model=model)
    assert analyzer.encoder.hash != model.bundle.encoder.hash
    assert analyzer.patcher is model.patcher, "its landmarks come from the compact network"
    picture = pack.core("samples").truth("anna")
    pack.bridge.use(analyzer)
    (face,) = analyzer.finder.analyze(picture)
    assert analyzer.finder.landmarks(picture, face.keypoints).shape == (68, 2)
    keypoints = torch.from_numpy(face.keypoints)[None]
    assert analyzer.encoder.embed(picture, keypoints).vectors.norm().item() == pytest.approx(1, abs=1e-4)


def test_a_pack_that_was_removed_is_named(pack: Pack) -> None:
    with pytest.raises(pack.core("errors").MissingPackageError, match="gone"):
        pack.bridge.load_analyzer("gone", pack.model())
