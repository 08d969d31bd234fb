"""Many faces through the denoiser."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from idfsr_core.diffusion.conditioning import upsample
from idfsr_core.errors import ArgumentError, Cancelled
from idfsr_core.face_batch import FaceBatch, describe, gather, restore_faces
from idfsr_core.geometry import Alignment
from idfsr_core.identity.embedding import IdentityEmbedding
from idfsr_core.identity.encoders import Embedded
from idfsr_core.identity.glimpse import SmallViews
from idfsr_core.options import RestoreOptions
from idfsr_core.runtime import Runtime
from idfsr_core.steps import align
from tests.diffusion.faces import TINY, tiny_denoiser
from tests.tiny import stub_face

SIDE = TINY["size"]
SIZES = (4, None, 8, 4, 16, 4)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def batch(sizes: tuple[int | None, ...] = SIZES, places: int = 2) -> FaceBatch:
    crops = [upsample(draw(1, 3, size or 5, size or 5, seed=n) * 0.6 + 0.2, SIDE) for n, size in enumerate(sizes)]
    return FaceBatch(
        crops=torch.cat(crops),
        masks=draw(len(sizes), 1, SIDE, SIDE, seed=7),
        lr_sizes=sizes,
        warped=draw(len(sizes), places, 3, SIDE, SIDE, seed=8),
        coverage=torch.ones(len(sizes), places, 1, SIDE, SIDE),
    )


def one(faces: FaceBatch, index: int) -> FaceBatch:
    place = slice(index, index + 1)
    return FaceBatch(
        crops=faces.crops[place],
        masks=faces.masks[place],
        lr_sizes=faces.lr_sizes[place],
        warped=faces.warped[place],
        coverage=faces.coverage[place],
    )


def person(vector: Tensor) -> IdentityEmbedding:
    return IdentityEmbedding(vector=vector, encoder="stub", encoder_hash="0", photos=2, kind="fitted")


VECTOR = draw(TINY["identity_dim"], seed=9) - 0.5
IDENTITY = person(VECTOR)


@pytest.mark.parametrize("chunk", [1, 2, 32])
def test_a_face_comes_out_the_same_alone_and_among_others(chunk: int) -> None:
    faces, denoiser, options = batch(), tiny_denoiser(), RestoreOptions(steps=2, seed=3)
    result = restore_faces(denoiser, faces, IDENTITY, options, chunk=chunk)
    assert result.shape == faces.crops.shape
    for index, size in enumerate(SIZES):
        alone = restore_faces(denoiser, one(faces, index), IDENTITY, options)
        assert torch.allclose(result[index : index + 1], alone, atol=1e-5), f"face {index} of {size} px"


def test_a_picture_without_a_face_is_left_as_it_is() -> None:
    faces = batch()
    result = restore_faces(tiny_denoiser(), faces, IDENTITY)
    unchanged = [torch.equal(result[i], faces.crops[i]) for i in range(len(SIZES))]
    assert unchanged == [size is None for size in SIZES]


def test_nothing_but_pictures_without_a_face() -> None:
    faces = batch((None, None))
    seen: list[int] = []
    result = restore_faces(tiny_denoiser(), faces, IDENTITY, None, Runtime(progress=lambda *a: seen.append(a[0])))
    assert torch.equal(result, faces.crops)
    assert seen == []


def test_chunks_are_small_and_of_one_size() -> None:
    faces = batch((4, 4, 8, 4, None, 4, 4))
    chunks = faces.chunks(2)
    assert [size for size, _ in chunks] == [4, 4, 4, 8]
    assert max(len(places) for _, places in chunks) == 2
    assert sorted(place for _, places in chunks for place in places) == [0, 1, 2, 3, 5, 6]


def test_progress_runs_over_the_whole_batch_and_ends_with_the_finished_first_face() -> None:
    told: list[tuple[int, int, Tensor]] = []
    runtime = Runtime(progress=lambda done, total, image: told.append((done, total, image)))
    result = restore_faces(tiny_denoiser(), batch(), IDENTITY, RestoreOptions(steps=3), runtime, chunk=2)
    # 4 px: three faces in two chunks, 8 px and 16 px: one each
    assert [done for done, _, _ in told] == [*range(1, 13), 12]
    assert {total for _, total, _ in told} == {12}
    assert torch.equal(told[-1][2], result[:1])


def test_cancelling_takes_effect_before_the_next_step() -> None:
    done: list[int] = []
    runtime = Runtime(progress=lambda n, *_: done.append(n), cancelled=lambda: len(done) >= 2)
    with pytest.raises(Cancelled):
        restore_faces(tiny_denoiser(), batch(), IDENTITY, RestoreOptions(steps=3), runtime)
    assert done == [1, 2]


def test_guidance_and_identity_change_the_result() -> None:
    faces, denoiser = batch(), tiny_denoiser()
    plain = restore_faces(denoiser, faces, IDENTITY)
    for other in (
        restore_faces(denoiser, faces, person(-VECTOR)),
        restore_faces(denoiser, faces, IDENTITY, RestoreOptions(style_guidance=3.0)),
        restore_faces(denoiser, faces, IDENTITY, RestoreOptions(identity_guidance=3.0)),
    ):
        assert float((other - plain).abs().max()) > 1e-3


class LookingEncoder:
    """Reads a colour off each face, which is as good as a vector, and nothing off dark ones."""

    name, hash, dim = "stub", "0", TINY["identity_dim"]

    def embed(self, image: Tensor, keypoints: Tensor) -> Embedded:
        colour = image.mean((2, 3)).repeat(1, self.dim // 3 + 1)[:, : self.dim]
        return Embedded(
            vectors=colour / colour.norm(dim=1, keepdim=True), quality=(image.mean((1, 2, 3)) > 0.4).float()
        )


def test_each_face_is_looked_at_by_itself_and_what_cannot_be_read_does_not_count() -> None:
    faces, denoiser = batch((8, 16, 12, 16), places=0), tiny_denoiser()
    faces = replace(faces, crops=faces.crops * torch.tensor([0.3, 1, 1, 1])[:, None, None, None])
    small = SmallViews(sides=(8, 16), vectors=draw(2, TINY["identity_dim"], seed=4))
    known = replace(IDENTITY, small=small)
    plain = restore_faces(denoiser, faces, known)
    seen = restore_faces(denoiser, faces, known, encoder=LookingEncoder())
    changed = [float((a - b).abs().max()) > 1e-4 for a, b in zip(seen, plain, strict=True)]
    assert changed == [False, True, True, True]
    alone = restore_faces(denoiser, one(faces, 3), known, encoder=LookingEncoder())
    assert torch.allclose(seen[3:], alone, atol=1e-5)
    unused = RestoreOptions(glimpse=0.0)
    assert torch.equal(restore_faces(denoiser, faces, known, unused, encoder=LookingEncoder()), plain)


def test_references_are_not_needed_and_one_mask_serves_all() -> None:
    faces = batch(places=0)
    shared = replace(faces, masks=faces.masks[:1])
    repeated = replace(faces, masks=faces.masks[:1].expand(len(SIZES), -1, -1, -1))
    denoiser = tiny_denoiser()
    assert torch.equal(restore_faces(denoiser, shared, IDENTITY), restore_faces(denoiser, repeated, IDENTITY))


def test_what_does_not_fit_together_is_refused() -> None:
    faces = batch()
    with pytest.raises(ArgumentError, match="6 masks, 2 sizes"):
        replace(faces, lr_sizes=(4, 4))
    with pytest.raises(ArgumentError, match="coverage"):
        replace(faces, coverage=faces.coverage[:, :1])


# --- from a graph -----------------------------------------------------------------------------------------------------


def place(width: float = 16) -> Alignment:
    return align(stub_face(50, 50, width, (100, 100)))


def test_a_batch_is_gathered_from_what_flows_through_a_graph() -> None:
    crops, masks = draw(2, 3, 128, 128), draw(1, 1, 64, 64)
    warped, coverage = draw(6, 3, 128, 128, seed=1), draw(6, 1, 128, 128, seed=2)
    faces, notes = gather(crops, (place(), None), (8.0, 1.0), masks, warped, coverage)
    assert faces.lr_sizes == (16, None)
    assert faces.warped.shape == (2, 3, 3, 128, 128)
    assert torch.equal(faces.warped[1, 0], warped[3]), "face after face"
    assert faces.masks.shape == (1, 1, 128, 128)
    assert notes == ("mask resized from 64x64 to 128x128 pixels",)
    plain, none = gather(crops, (place(), None), (8.0, 1.0), draw(2, 1, 128, 128))
    assert plain.warped.shape[1] == 0
    assert none == ()
    assert torch.equal(
        gather(crops, (None, None), (1.0, 1.0), masks, warped)[0].coverage, torch.ones(2, 3, 1, 128, 128)
    )


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"alignments": (None,), "scales": (1.0,)}, "alignment: of 1 pictures, but there are 2 crops"),
        ({"crops": torch.zeros(2, 3, 512, 512)}, "crop: 512x512 pixels, but the model works at 128x128"),
        ({"masks": torch.zeros(3, 1, 128, 128)}, "mask: 3 masks for 2 crops"),
        ({"masks": torch.zeros(1, 1, 96, 128)}, "mask: 128x96 pixels"),
        ({"warped": torch.zeros(3, 3, 128, 128)}, "warped: 3 pictures for 2 crops"),
        ({"warped": torch.zeros(2, 3, 64, 64)}, "warped: 64x64 pixels"),
        ({"coverage": torch.zeros(4, 1, 128, 128)}, "coverage: 4 masks of 128x128 pixels for 2 warped"),
        ({"warped": None}, "coverage: connected without warped"),
    ],
)
def test_bad_wiring_is_told_in_the_words_of_the_inputs(changes: dict[str, Any], what: str) -> None:
    given: dict[str, Any] = {
        "crops": torch.zeros(2, 3, 128, 128),
        "alignments": (None, None),
        "scales": (1.0, 1.0),
        "masks": torch.zeros(2, 1, 128, 128),
        "warped": torch.zeros(2, 3, 128, 128),
        "coverage": torch.zeros(2, 1, 128, 128),
    }
    with pytest.raises(ArgumentError, match=what):
        gather(**(given | changes))


def test_each_face_is_described() -> None:
    told = describe(batch((4, None, 16)))
    assert told[0] == "crop of 4x4 real pixels, scale 8.0"
    assert "left as it was" in told[1]
    assert "already sharp" in told[2]
