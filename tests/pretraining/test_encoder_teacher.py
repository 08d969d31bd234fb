"""EdgeFace as a teacher, with a backbone of the same structure that needs no timm."""

from typing import cast

import numpy as np
import pytest
import torch
from torch import nn

from idfsr_core.identity.edgeface import EdgeFaceTorch
from idfsr_core.pretraining.encoder_hints import FeatureTeacher, ask
from idfsr_core.pretraining.encoder_teacher import EdgeFaceTeacher


class _Stage(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, depth: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(inputs, outputs, stride, stride)
        self.blocks = nn.Sequential(*(nn.Conv2d(outputs, outputs, 1) for _ in range(depth)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks(self.enter(x))


class _Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        sizes = [(3, 4, 4, 1), (4, 5, 2, 1), (5, 6, 2, 6), (6, 7, 2, 1)]
        self.stages = nn.Sequential(*(_Stage(*size) for size in sizes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.stages(x).mean((2, 3))


class _Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = _Backbone()

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return self.backbone(faces * 2 - 1)


@pytest.fixture
def encoder() -> _Encoder:
    torch.manual_seed(0)
    return _Encoder()


def test_features_come_from_five_places_with_the_embedding(encoder):
    teacher, faces = EdgeFaceTeacher(cast(EdgeFaceTorch, encoder)), torch.rand(2, 3, 112, 112)
    said, again = teacher.answer(faces), teacher.answer(faces)
    assert [tuple(f.shape[1:]) for f in said.features] == [(28, 28, 4), (14, 14, 5), (7, 7, 6), (7, 7, 6), (3, 3, 7)]
    assert len(again.features) == 5, "nothing is left of the first time"
    assert torch.allclose(said.embedding.norm(dim=1), torch.ones(2), atol=1e-5)
    assert not said.embedding.requires_grad
    stages, x = encoder.backbone.stages, faces * 2 - 1
    deep = stages[2].enter(stages[1](stages[0](x)))
    for block in list(stages[2].blocks)[:4]:
        deep = block(deep)
    assert torch.allclose(said.features[2], deep.permute(0, 2, 3, 1), atol=1e-6)
    assert torch.allclose(said.features[4].mean((1, 2)), encoder(faces), atol=1e-6)


def test_a_gradient_can_be_taken_through_it_and_leaves_nothing_behind(encoder):
    teacher, faces = EdgeFaceTeacher(cast(EdgeFaceTorch, encoder)), torch.rand(2, 3, 112, 112, requires_grad=True)
    (slope,) = torch.autograd.grad(teacher.embed(faces).sum(), faces)
    assert float(slope.abs().sum()) > 0
    assert len(teacher.answer(faces).features) == 5


def test_it_answers_to_bytes_as_other_teachers_do(encoder):
    teacher = EdgeFaceTeacher(cast(EdgeFaceTorch, encoder))
    faces = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)
    said = ask(teacher, torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 255)
    assert np.allclose(teacher.embed_aligned(faces), said.embedding.numpy(), atol=1e-6)
    assert isinstance(teacher, FeatureTeacher)
