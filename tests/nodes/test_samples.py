"""Sample Person."""

from __future__ import annotations

import pytest
import torch

from tests.nodes.running import Pack


@pytest.mark.parametrize("person", ["anna", "ben", "clara"])
@pytest.mark.parametrize(
    ("picture", "shape"),
    [("small portrait", (1, 24, 24, 3)), ("group", (1, 176, 256, 3)), ("frames", (12, 120, 160, 3))],
)
def test_it_gives_photos_a_bad_picture_and_the_truth(
    pack: Pack, person: str, picture: str, shape: tuple[int, ...]
) -> None:
    references, bad, truth = pack.run("IDFSRSamplePerson", person=person, picture=picture)
    assert references.shape == (5, 192, 192, 3)
    assert bad.shape == shape
    core = pack.core("samples")
    assert torch.equal(truth.movedim(-1, 1), core.truth(person))
    assert torch.equal(references.movedim(-1, 1), core.references(person))


def test_the_default_is_a_small_portrait_of_anna(pack: Pack) -> None:
    _, bad, truth = pack.run("IDFSRSamplePerson")
    assert torch.allclose(bad.movedim(-1, 1), torch.nn.functional.avg_pool2d(truth.movedim(-1, 1), 8))
