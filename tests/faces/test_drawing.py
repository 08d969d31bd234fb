"""Numbered boxes."""

import pytest
import torch

from idfsr_core.errors import ArgumentError
from idfsr_core.faces.drawing import READABLE, draw_all, draw_faces, drawing_zoom
from tests.tiny import stub_face


@pytest.mark.parametrize(
    ("size", "zoom"), [((512, 300), 1), ((256, 176), 2), ((176, 256), 2), ((64, 64), 8), ((3, 1), 171)]
)
def test_small_pictures_are_enlarged_by_whole_factors(size: tuple[int, int], zoom: int) -> None:
    assert drawing_zoom(*size) == zoom
    assert max(size) * zoom >= READABLE


def test_a_picture_without_faces_stays_as_it_is() -> None:
    image = torch.rand(1, 3, 64, 600, generator=torch.Generator().manual_seed(0))
    assert (draw_faces(image, []) - image).abs().max() < 1 / 255


def test_the_box_is_drawn_where_the_face_is_and_nowhere_else() -> None:
    image = torch.full((1, 3, 300, 600), 0.5)
    face = stub_face(200, 150, 60, (600, 300))
    changed = (draw_faces(image, [face]) - image).abs().amax(1)[0] > 0.02
    rows, columns = changed.any(1).nonzero()[:, 0], changed.any(0).nonzero()[:, 0]
    x0, y0, x1, y1 = face.box.tolist()
    assert abs(int(columns[0]) - x0) <= 3
    assert abs(int(columns[-1]) - x1) <= 3
    assert abs(int(rows[-1]) - y1) <= 3
    assert y0 - 40 < int(rows[0]) < y0 - 10  # the number above it
    assert not changed[140:160, 190:210].any()  # a face of 60 pixels keeps its own


def test_every_number_has_its_own_colour_and_shape() -> None:
    image = torch.full((1, 3, 300, 600), 0.5)
    places = [stub_face(x, 150, 60, (600, 300)) for x in (100, 300, 500)]
    page = draw_faces(image, places)
    tiles = [page[..., 70:240, x - 45 : x + 45] for x in (100, 300, 500)]
    for a, b in ((0, 1), (1, 2), (0, 2)):
        assert (tiles[a] - tiles[b]).abs().max() > 0.3


def test_landmarks_show_on_large_faces_only() -> None:
    image = torch.full((1, 3, 600, 600), 0.5)
    large = draw_faces(image, [stub_face(300, 300, 200, (600, 600))])
    assert ((large - 0.5).abs().amax(1)[0, 250:350, 250:350] > 0.3).sum() > 20


@pytest.mark.parametrize("place", [(0, 0), (600, 300), (-40, 150), (700, 400)])
def test_faces_at_and_beyond_the_border_are_no_trouble(place: tuple[int, int]) -> None:
    page = draw_faces(torch.full((1, 3, 300, 600), 0.5), [stub_face(*place, 60, (600, 300))])
    assert page.shape == (1, 3, 300, 600)
    assert page.isfinite().all()


def test_a_batch_is_drawn_picture_by_picture() -> None:
    images = torch.rand(3, 3, 40, 64, generator=torch.Generator().manual_seed(1))
    faces = [[], [stub_face(30, 20, 12, (64, 40))], []]
    pages = draw_all(images, faces)
    assert pages.shape == (3, 3, 320, 512)
    for index in range(3):
        assert torch.equal(pages[index : index + 1], draw_faces(images[index : index + 1], faces[index]))
    assert pages.movedim(1, -1).is_contiguous()
    with pytest.raises(ArgumentError, match="2 pictures for 3"):
        draw_all(images, faces[:2])
