"""Pyramid geometry, decoding of maps, suppression of doubles."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from idfsr_core.faces.decoding import (
    ALIGN,
    STRIDE,
    Found,
    Level,
    decode,
    encode,
    join,
    overlap,
    pyramid,
    suppress,
    to_photo,
)

FACE = torch.tensor([[-4.0, -5.0], [4.0, -5.0], [0.0, 0.0], [-3.0, 4.0], [3.0, 4.0]])


def _to_level(points: torch.Tensor, level: Level) -> torch.Tensor:
    return (points + 0.5) * torch.tensor(level.zoom, dtype=points.dtype) - 0.5 + level.pad


def _maps(level: Level, keypoints: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
    """What a perfect detector would say of one face, in a level's own pixels."""
    columns = -(-(level.width + 2 * level.pad) // ALIGN) * ALIGN // STRIDE
    rows = -(-(level.height + 2 * level.pad) // ALIGN) * ALIGN // STRIDE
    maps = torch.zeros(15, rows, columns)
    maps[0] = -20
    middle = (box[:2] + box[2:]) / 2
    cell = ((middle - (STRIDE - 1) / 2) / STRIDE).round().long()
    maps[0, cell[1], cell[0]] = 4.0
    maps[1:, cell[1], cell[0]] = encode(keypoints[None], box[None], cell[None])[0]
    return maps


@pytest.mark.parametrize(("width", "height"), [(201, 149), (97, 203), (640, 480), (33, 30)])
def test_a_face_decodes_to_its_place_at_every_level(width, height):
    levels = pyramid(width, height, min_face=3.0, max_pixels=3.2e6)
    centre = torch.tensor([0.43 * width, 0.61 * height])
    for level in levels:
        size = 0.5 * min(level.width, level.height) if min(level.width, level.height) < 64 else 30.0
        keypoints = centre + FACE * size / 10 / max(level.zoom)
        box = torch.cat([keypoints.amin(0) - 1, keypoints.amax(0) + 1])
        inside = _to_level(box.view(2, 2), level).flatten()
        maps = _maps(level, _to_level(keypoints, level), inside)
        found = to_photo(decode(maps, 0.5), level)
        assert len(found.scores) == 1
        torch.testing.assert_close(found.keypoints[0], keypoints, atol=2e-3, rtol=1e-4)
        torch.testing.assert_close(found.boxes[0], box, atol=2e-3, rtol=1e-4)
        assert found.scores[0].item() == pytest.approx(torch.tensor(4.0).sigmoid().item())


@pytest.mark.parametrize(("width", "height"), [(400, 300), (31, 900), (3, 2), (1, 1), (4000, 3000)])
def test_levels_span_from_tiny_faces_to_the_whole_frame(width, height):
    levels = pyramid(width, height, min_face=3.0, max_pixels=3.2e6)
    assert max(levels[-1].width, levels[-1].height) <= 48
    assert levels[0].width * levels[0].height <= 3.3e6
    zooms = [level.zoom[0] for level in levels]
    assert zooms == sorted(zooms, reverse=True)
    if width * height * 16 <= 3.2e6:
        assert levels[0].width == 4 * width


def test_rendered_level_is_the_photo_where_the_geometry_says():
    image = torch.zeros(1, 3, 60, 80)
    image[..., 20:28, 40:48] = 1.0
    for level in pyramid(80, 60, min_face=3.0, max_pixels=1e6):
        picture = level.render(image)
        assert picture.shape[-1] % ALIGN == 0
        assert picture.shape[-2] % ALIGN == 0
        weight = picture[0, 0]
        y, x = torch.meshgrid(*(torch.arange(n).float() for n in weight.shape), indexing="ij")
        centre = torch.stack([(weight * x).sum(), (weight * y).sum()]) / weight.sum()
        expected = _to_level(torch.tensor([43.5, 23.5]), level)
        assert (centre - expected).abs().max() < 0.6


def test_peak_next_to_a_higher_one_is_dropped_and_a_far_one_kept():
    maps = torch.full((15, 10, 12), -9.0)
    maps[1:] = 0.0
    maps[0, 4, 4], maps[0, 4, 5], maps[0, 8, 9] = 3.0, 2.0, 1.0
    found = decode(maps, 0.5)
    assert sorted(found.scores.tolist(), reverse=True) == pytest.approx([0.9526, 0.7311], abs=1e-4)


def _found(scores: list[float], boxes: list[list[float]]) -> Found:
    return Found(
        scores=torch.tensor(scores), boxes=torch.tensor(boxes).reshape(-1, 4), keypoints=torch.zeros(len(scores), 5, 2)
    )


def test_suppression_keeps_the_better_of_two_and_the_one_apart():
    found = _found([0.6, 0.9, 0.5], [[0.0, 0, 10, 10], [1.0, 1, 11, 11], [30.0, 30, 40, 40]])
    assert suppress(found).scores.tolist() == pytest.approx([0.9, 0.5])


def test_suppression_drops_a_part_of_a_face():
    assert len(suppress(_found([0.9, 0.8], [[0.0, 0, 40, 40], [10.0, 10, 18, 18]])).scores) == 1


def test_suppression_of_nothing_is_nothing():
    assert len(suppress(_found([], [])).scores) == 0
    assert len(join([_found([], []), _found([0.5], [[0.0, 0, 1, 1]])]).scores) == 1


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 40))
def test_survivors_do_not_overlap_and_everything_else_does(seed, count):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 50
    boxes = torch.cat([corner, corner + 4 + torch.rand(count, 2, generator=generator) * 30], 1)
    found = Found(scores=torch.rand(count, generator=generator), boxes=boxes, keypoints=torch.zeros(count, 5, 2))
    kept = suppress(found, limit=0.3, inside=1.1)
    apart = overlap(kept.boxes, kept.boxes).fill_diagonal_(0)
    assert apart.max() <= 0.3
    assert kept.scores.tolist() == sorted(kept.scores.tolist(), reverse=True)
    best = overlap(found.boxes, kept.boxes)
    better = kept.scores[None] >= found.scores[:, None]
    assert ((best > 0.3) & better | (best == 1)).any(1).all()
