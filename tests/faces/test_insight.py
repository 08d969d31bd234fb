"""insightface packs: finding them, errors, and real photos where the research folder is present."""

import json

import numpy as np
import pytest
import torch

from idfsr_core.errors import FileFormatError, MissingPackageError
from idfsr_core.faces import insight
from idfsr_core.faces.dense_onnx import DenseLandmarkModel
from idfsr_core.faces.insight import InsightFaceAnalyzer, pack_folder, providers_for
from idfsr_core.faces.yunet import YuNetAnalyzer
from idfsr_core.images import read_image
from idfsr_core.runtime import Runtime


@pytest.mark.parametrize("inner", ["", "buffalo", "other"])
def test_both_layouts_of_an_unpacked_pack(tmp_path, inner):
    place = tmp_path / "buffalo" / inner
    place.mkdir(parents=True)
    (place / "det.onnx").touch()
    assert pack_folder(tmp_path / "buffalo") == place


def test_no_pack(tmp_path):
    with pytest.raises(MissingPackageError, match="no such folder"):
        pack_folder(tmp_path / "missing")
    with pytest.raises(MissingPackageError, match=r"no \.onnx file"):
        pack_folder(tmp_path)


def test_damaged_model(tmp_path):
    pytest.importorskip("insightface")
    (tmp_path / "det.onnx").write_bytes(b"no model" * 50)
    with pytest.raises(FileFormatError, match=r"det\.onnx"):
        InsightFaceAnalyzer(tmp_path)


def test_missing_package_is_named(tmp_path, monkeypatch):
    (tmp_path / "det.onnx").touch()
    monkeypatch.setitem(__import__("sys").modules, "insightface.model_zoo", None)
    with pytest.raises(MissingPackageError, match="insightface"):
        InsightFaceAnalyzer(tmp_path)


def test_providers_end_with_the_processor():
    for device in ("cpu", "cuda:1", "mps"):
        assert providers_for(Runtime(device=device))[-1] == "CPUExecutionProvider"


def test_dense_model_errors(tmp_path):
    with pytest.raises(MissingPackageError, match="no such file"):
        DenseLandmarkModel(tmp_path / "pfld.onnx")
    (tmp_path / "pfld.onnx").write_bytes(b"no model" * 50)
    with pytest.raises(FileFormatError, match="pfld"):
        DenseLandmarkModel(tmp_path / "pfld.onnx")


def test_yunet_errors(tmp_path):
    with pytest.raises(MissingPackageError, match="no such file"):
        YuNetAnalyzer(tmp_path / "yunet.onnx")
    (tmp_path / "yunet.onnx").write_bytes(b"no model" * 50)
    with pytest.raises(FileFormatError, match="yunet"):
        YuNetAnalyzer(tmp_path / "yunet.onnx")


@pytest.fixture(scope="module")
def pack(shared_dir):
    pytest.importorskip("insightface")
    return InsightFaceAnalyzer(shared_dir / "weights" / "insightface" / "models" / "edge_xs")


@pytest.fixture(scope="module")
def scene(shared_dir):
    row = json.loads((shared_dir / "data" / "scenes" / "index.jsonl").read_text().splitlines()[0])
    return read_image(shared_dir / "data" / "scenes" / row["file"]), np.array(row["faces"][0]["keypoints"])


@pytest.mark.shared
def test_finds_the_face_of_a_photo(pack, scene):
    image, truth = scene
    (face,) = pack.analyze(image)
    assert np.abs(face.keypoints - truth).max() < 4
    assert face.landmarks is None


@pytest.mark.shared
def test_finds_a_face_that_fills_the_frame_and_a_tiny_one(pack, scene):
    image, truth = scene
    low, high = truth.min(0).astype(int) - 12, truth.max(0).astype(int) + 18
    close = image[..., low[1] : high[1], low[0] : high[0]]
    assert np.abs(pack.analyze(close)[0].keypoints + low - truth).max() < 6
    tiny = torch.nn.functional.interpolate(image, size=(image.shape[-2] // 10, image.shape[-1] // 10), mode="area")
    (face,) = pack.analyze(tiny)
    assert np.abs(face.keypoints * 10 - truth).max() < 12


@pytest.mark.shared
def test_dense_landmarks_come_from_a_separate_model(pack, scene, shared_dir, monkeypatch):
    image, truth = scene
    with pytest.raises(MissingPackageError, match="68-point"):
        pack.landmarks(image, truth)
    monkeypatch.setattr(pack, "dense", DenseLandmarkModel(shared_dir / "weights" / "pfld_68.onnx"))
    (face,) = pack.analyze(image)
    assert face.landmarks is not None
    assert np.abs(face.landmarks[30] - truth[2]).max() < 6
    assert np.abs(pack.landmarks(image, face.box) - face.landmarks).max() < 8


def test_pack_without_a_detector(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    (tmp_path / "encoder.onnx").touch()
    monkeypatch.setattr(insight, "_open_models", lambda folder, providers: {})
    with pytest.raises(MissingPackageError, match="no face detector"):
        InsightFaceAnalyzer(tmp_path)


@pytest.mark.shared
def test_yunet_finds_the_same_face(scene, shared_dir):
    image, truth = scene
    faces = YuNetAnalyzer(shared_dir / "weights" / "face_detection_yunet_2023mar.onnx").analyze(image)
    assert np.abs(faces[0].keypoints - truth).max() < 8
