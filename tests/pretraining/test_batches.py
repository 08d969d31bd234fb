"""Training batches: repeatable, mixed as the settings say, geometrically true."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from idfsr_core.errors import ArgumentError
from idfsr_core.pretraining.batches import BatchMaker, BatchSettings

from .library import drawn_library, equal

ALWAYS_OWN = BatchSettings(batch=8, style_other=0, style_none=0, lone=0, references_none=0, identity_none=0)


def maker(photos: int = 3, **changes) -> BatchMaker:
    return BatchMaker(drawn_library(photos=photos), replace(ALWAYS_OWN, **changes))


def test_a_batch_is_a_function_of_seed_step_and_process():
    assert equal(maker().make(3), maker().make(3))
    assert not equal(maker().make(3), maker().make(4))
    assert not equal(maker().make(3), maker().make(3, process=1))
    assert not equal(maker().make(3), BatchMaker(drawn_library(), ALWAYS_OWN, seed=1).make(3))


def test_shapes_and_ranges():
    for step in range(3):
        batch = maker().make(step)
        assert batch.target.shape == batch.cond.style.shape == (8, 3, 128, 128)
        assert batch.cond.lr.shape[-1] in (16, 8, 4)
        for picture in (batch.target, batch.cond.lr, batch.cond.style, batch.cond.references, batch.cond.mask):
            assert 0 <= picture.min() <= picture.max() <= 1
        assert torch.allclose(batch.cond.identity.norm(dim=1), torch.ones(8), atol=1e-5)


def test_the_batch_says_whose_vector_is_that_of_several_photos():
    assert not maker(identity_truth=1.0).make(0).several.any()
    assert not maker(identity_none=1.0).make(0).several.any()
    several = torch.cat([maker(identity_truth=0.0).make(step).several for step in range(4)])
    assert several.any()  # each person has two photos beside the target, of which one or both are pooled
    assert not several.all()


def test_the_true_keypoints_follow_the_crop():
    """The eyes of the drawn faces are discs: the keypoints must lie on them, mirrored and jittered or not."""
    library = drawn_library()
    batch = BatchMaker(library, ALWAYS_OWN).make(0)
    for target, keypoints in zip(batch.target, batch.keypoints, strict=True):
        left, right = keypoints[:2].round().long()
        # both eyes of a person have one colour, which the cheek below has not
        eyes = target[:, left[1], left[0]], target[:, right[1], right[0]]
        assert torch.allclose(*eyes, atol=0.08)
        assert keypoints[0, 0] < keypoints[1, 0]


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({"style_none": 1.0}, lambda cond: not cond.style_coverage.any()),
        ({"identity_none": 1.0}, lambda cond: not cond.identity.any()),
        ({"references_none": 1.0}, lambda cond: not cond.reference_valid.any()),
        ({}, lambda cond: bool(cond.reference_valid.any(1).all()) and bool(cond.style_coverage.any())),
    ],
)
def test_each_drop_out_is_independent(changes, seen):
    assert seen(maker(**changes).make(1).cond)


def test_style_of_somebody_else_is_somebody_else():
    drawn = [maker(style_other=1.0)._draw(np.random.default_rng(n)) for n in range(40)]
    library = drawn_library()
    assert all(library.identities[item["style"]] != library.identities[item["target"]] for item in drawn)
    own = [maker()._draw(np.random.default_rng(n)) for n in range(40)]
    assert all(library.identities[item["style"]] == library.identities[item["target"]] for item in own)
    assert all(item["style"] != item["target"] for item in own)


def test_references_are_other_photos_of_the_person():
    library = drawn_library()
    for number in range(40):
        item = maker()._draw(np.random.default_rng(number))
        assert item["target"] not in item["references"]
        assert {int(library.identities[photo]) for photo in item["references"]} == {
            int(library.identities[item["target"]])
        }


def test_lone_people_have_no_references_and_their_own_vector():
    item = maker(lone=1.0)._draw(np.random.default_rng(0))
    assert item["references"] == []
    assert item["identity"].tolist() == [item["target"]]


def test_the_aim_is_pooled_from_the_same_photos_as_the_vector():
    library = drawn_library()
    assert library.embeddings is not None
    turned = np.roll(library.embeddings, 1, axis=1)  # the same people as another encoder sees them
    batch = BatchMaker(library, ALWAYS_OWN, aims=turned).make(3)
    assert batch.aim is not None
    assert torch.allclose(batch.aim, batch.cond.identity.roll(1, dims=1), atol=1e-6)
    assert torch.allclose(batch.aim.norm(dim=1), torch.ones(8), atol=1e-5)
    assert BatchMaker(library, ALWAYS_OWN).make(3).aim is None
    with pytest.raises(ArgumentError, match="aims"):
        BatchMaker(library, ALWAYS_OWN, aims=turned[1:])


def test_libraries_that_cannot_be_used_are_refused():
    with pytest.raises(ArgumentError, match="annotated"):
        BatchMaker(replace(drawn_library(), landmarks=None), ALWAYS_OWN)
    with pytest.raises(ArgumentError, match="second photos"):
        BatchMaker(drawn_library(people=0, lone=3), ALWAYS_OWN)
    with pytest.raises(ArgumentError, match="scales"):
        BatchSettings(scales={8: 0.5})


def test_a_batch_of_256_px_is_that_of_128_px_seen_twice_as_large():
    """Every jitter is a share of the face, so that equal draws and equally small faces give the same picture."""
    plain = {"batch": 4, "degradations": {"area": 1.0}}
    small = maker(**plain, scales={8: 1.0}).make(2)
    settings = replace(ALWAYS_OWN, **plain, size=256, scales={16: 1.0})
    large = BatchMaker(drawn_library(times=2), settings).make(2)
    assert large.target.shape == large.cond.style.shape == (4, 3, 256, 256)
    assert large.cond.lr.shape == small.cond.lr.shape
    assert torch.allclose(large.keypoints + 0.5, (small.keypoints + 0.5) * 2, atol=2e-2)
    for name in ("mask", "style_coverage"):
        halved = torch.nn.functional.avg_pool2d(getattr(large.cond, name), 2)
        assert (halved - getattr(small.cond, name)).abs().max() < 0.06, name
    assert (large.cond.lr - small.cond.lr).abs().mean() < 0.01
    assert torch.equal(large.cond.identity, small.cond.identity)


def test_photos_that_are_too_small_for_the_model_are_refused():
    with pytest.raises(ArgumentError, match="photos of 192 px, for faces of 128 px"):
        BatchMaker(drawn_library(), replace(ALWAYS_OWN, size=256))


def test_what_the_other_photos_agree_on_is_laid_into_style_and_reference_alike():
    plain, merged = maker(photos=5).make(2), maker(photos=5, merged=1.0, merged_share=(0.5, 0.5)).make(2)
    change = merged.cond.style - plain.cond.style
    assert torch.equal(plain.target, merged.target)
    assert change.abs().amax((1, 2, 3)).min() > 0
    assert change.abs().max() <= 0.05 + 1e-6  # half of what one photo may differ by
    beside = merged.cond.references[:, 0] - plain.cond.references[:, 0]
    inner = (plain.cond.references[:, 0] > 0.05) & (plain.cond.references[:, 0] < 0.95)
    inner &= (plain.cond.style > 0.05) & (plain.cond.style < 0.95)
    assert torch.allclose(beside[inner], change[inner], atol=1e-6)


def test_one_other_photo_agrees_with_nobody():
    """As when a face is restored."""
    plain, merged = maker(photos=3).make(2), maker(photos=3, merged=1.0).make(2)
    assert torch.equal(plain.cond.style, merged.cond.style)


def test_somebody_else_s_photo_gets_nothing_of_the_person():
    plain, merged = (maker(photos=5, style_other=1.0, merged=share).make(2) for share in (0.0, 1.0))
    assert torch.equal(plain.cond.style, merged.cond.style)
