"""Encoders by name, and ONNX recognition models: made-up graphs here, the real ones where they lie."""

import importlib.util
import json
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from idfsr_core.errors import ArgumentError, FileFormatError, MissingPackageError
from idfsr_core.geometry import arcface_template
from idfsr_core.identity.encoders import Embedded, open_encoder
from idfsr_core.identity.insight import InsightFaceEncoder, OnnxEncoder, sharpness

onnx = pytest.importorskip("onnx", reason="needs the package onnx, which comes with insightface")
POINTS = arcface_template().float()[None]


def _write_model(path: Path, *, normalises: bool = False, size: int = 112, batch: int | str = "N") -> Path:
    """A recognition model whose vector is the mean colour of 16 places, 48 numbers."""
    from onnx import TensorProto, helper, numpy_helper

    source, nodes, constants = "data", [], []
    if normalises:  # as models converted from MXNet begin
        constants = [
            numpy_helper.from_array(np.array([127.5], np.float32), "mean"),
            numpy_helper.from_array(np.array([1 / 127.5], np.float32), "scale"),
        ]
        nodes = [
            helper.make_node("Sub", ["data", "mean"], ["centred"], name="_minusscalar0"),
            helper.make_node("Mul", ["centred", "scale"], ["scaled"], name="_mulscalar0"),
        ]
        source = "scaled"
    side = size // 4
    nodes += [
        helper.make_node("AveragePool", [source], ["pooled"], kernel_shape=[side, side], strides=[side, side]),
        helper.make_node("Flatten", ["pooled"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "places",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [batch, 3, size, size])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [batch, 48])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def _face(count: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 8, 8, generator=generator)
    return torch.nn.functional.interpolate(coarse, (112, 112), mode="bilinear")


def _expected(faces: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.nn.functional.avg_pool2d(faces * 2 - 1, 28).flatten(1))


@pytest.mark.parametrize("normalises", [False, True])
@pytest.mark.parametrize("batch", ["N", 1])
def test_a_model_gets_the_input_that_it_expects(tmp_path, normalises, batch):
    encoder = OnnxEncoder(_write_model(tmp_path / "places.onnx", normalises=normalises, batch=batch))
    found = encoder.embed(_face(3), POINTS.expand(3, 5, 2))
    assert encoder.dim == 48
    assert encoder.name == "places"
    assert torch.allclose(found.vectors, _expected(_face(3)), atol=1e-3)
    assert ((found.quality >= 0) & (found.quality <= 1)).all()


def test_aligned_faces_serve_a_teacher(tmp_path):
    encoder = OnnxEncoder(_write_model(tmp_path / "places.onnx"))
    faces = (_face() * 255).round().to(torch.uint8)
    raw = torch.from_numpy(encoder.embed_aligned(faces.permute(0, 2, 3, 1).numpy()))
    assert torch.allclose(torch.nn.functional.normalize(raw), _expected(faces / 255), atol=1e-4)


@pytest.mark.parametrize("inside", ["", "pack"])
def test_both_layouts_of_a_pack_open(tmp_path, inside):
    _write_model(tmp_path / "pack" / inside / "recognition.onnx")
    encoder = open_encoder(tmp_path / "pack")
    assert isinstance(encoder, InsightFaceEncoder)
    assert encoder.name == "recognition"


def test_a_hash_tells_models_apart(tmp_path):
    first = OnnxEncoder(_write_model(tmp_path / "a.onnx"))
    same = OnnxEncoder(_write_model(tmp_path / "b.onnx"))
    other = OnnxEncoder(_write_model(tmp_path / "c.onnx", normalises=True))
    assert first.hash == same.hash != other.hash


def test_the_compact_encoder_is_asked_of_the_bundle():
    made = SimpleNamespace(name="compact")
    assert open_encoder("compact", compact=lambda: made) is made  # pyright: ignore[reportArgumentType]
    with pytest.raises(ArgumentError, match="bundle"):
        open_encoder("compact")


def test_names_and_files_that_are_no_encoder_are_refused(tmp_path):
    with pytest.raises(ArgumentError, match="antelope"):
        open_encoder("antelope")
    with pytest.raises(MissingPackageError):
        open_encoder(tmp_path)
    with pytest.raises(MissingPackageError):
        open_encoder(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(FileFormatError):
        open_encoder(tmp_path / "text.onnx")
    with pytest.raises(FileFormatError, match="112"):
        open_encoder(_write_model(tmp_path / "large.onnx", size=128))


def test_sharpness_falls_as_a_face_shrinks():
    generator = torch.Generator().manual_seed(1)
    fine = torch.nn.functional.interpolate(torch.rand(4, 3, 56, 56, generator=generator), (112, 112), mode="bilinear")
    values = [sharpness(fine)]
    for side in (28, 14, 7):
        small = torch.nn.functional.adaptive_avg_pool2d(fine, side)
        values.append(sharpness(torch.nn.functional.interpolate(small, (112, 112), mode="bilinear")))
    stacked = torch.stack(values)
    assert (stacked.diff(dim=0) < 0).all()
    assert sharpness(torch.full((1, 3, 112, 112), 0.5)) == pytest.approx(0, abs=1e-6)


def test_a_result_that_does_not_fit_is_refused():
    with pytest.raises(ArgumentError):
        Embedded(vectors=torch.ones(2, 4), quality=torch.ones(3))


def _photos(shared_dir: Path, count: int) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """Photos of two people, [N, 3, 192, 192], their keypoints and names."""
    import cv2

    folder = shared_dir / "data" / "faces"
    rows = [json.loads(line) for line in (folder / "index.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["split"] == "val"]
    people = sorted({row["identity"] for row in rows})[:2]
    rows = [row for name in people for row in [r for r in rows if r["identity"] == name][:count]]
    images = []
    for row in rows:
        with tarfile.open(folder / row["shard"]) as tar:
            file = tar.extractfile(row["file"])
            assert file is not None
            data = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR)
            images.append(np.ascontiguousarray(np.asarray(data)[:, :, ::-1]))
    points = torch.tensor([row["keypoints"] for row in rows])
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255, points, [r["identity"] for r in rows]


@pytest.mark.shared
def test_the_research_encoders_know_people_apart(shared_dir):
    images, points, people = _photos(shared_dir, 3)
    one = torch.tensor([[a == b for a in people] for b in people]) & ~torch.eye(len(people), dtype=torch.bool)
    two = torch.tensor([[a != b for a in people] for b in people])
    weights = shared_dir / "weights"
    models = weights / "insightface" / "models"
    for spec, dim in ((models / "edge_xs", 512), (models / "mbf_y1", 128), (weights / "mobileface_v2.onnx", 256)):
        encoder = open_encoder(spec)
        vectors = encoder.embed(images, points).vectors
        likeness = vectors @ vectors.T
        assert encoder.dim == dim
        assert likeness[one].mean() > likeness[two].max() + 0.1


@pytest.mark.shared
@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="needs the optional package timm")
def test_edgeface_in_torch_equals_the_onnx_file(shared_dir):
    from idfsr_core.identity.edgeface import EdgeFaceTorch

    images, points, _ = _photos(shared_dir, 2)
    weights = shared_dir / "weights"
    ours = EdgeFaceTorch(weights / "edgeface_xs_timm_edgenext_x_small.safetensors")
    theirs = open_encoder(weights / "insightface" / "models" / "edge_xs")
    images.requires_grad_(True)
    vectors = ours.embed(images, points)
    cosines = (vectors * theirs.embed(images, points).vectors).sum(1)
    assert cosines.min() > 1 - 1e-5
    vectors[:, 0].sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert ours.train().training is False
    assert all(not value.requires_grad for value in ours.parameters())
