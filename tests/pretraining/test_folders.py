"""People's own photos: cut out at any size, counted where they cannot be used, kept for the next start."""

from pathlib import Path

import numpy as np
import pytest
import torch

from idfsr_core.errors import FileFormatError
from idfsr_core.geometry import ffhq_template
from idfsr_core.images import write_image
from idfsr_core.pretraining.folders import read_folders
from tests.tiny import FFHQ_128, portrait

NATIVE = 220  # side in photo pixels of the FFHQ-style crop of the faces


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """anna with two photos, ben with one; one without a face, one that is none."""
    folder = tmp_path / "photos"
    for person, sides in (("anna", (400, 410)), ("ben", (400,)), ("empty", (90,))):
        (folder / person).mkdir(parents=True)
        for number, side in enumerate(sides):
            write_image(folder / person / f"{number}.png", portrait(side, number))
    (folder / "ben" / "broken.jpg").write_bytes(b"no picture")
    return folder


class Finder:
    """Finds a face in every large photo, and counts."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, image: torch.Tensor) -> np.ndarray | None:
        self.calls += 1
        points = (FFHQ_128 + 0.5) * (NATIVE / 128) - 0.5 + 70
        return points if image.shape[-1] >= 400 else None


def test_folders_become_people_and_the_others_are_counted(photos: Path) -> None:
    library = read_folders(photos, Finder())
    assert library.names == ["anna", "ben"]
    assert library.identities.tolist() == [0, 0, 1]
    assert library.photo(0).shape == (192, 192, 3)
    assert np.allclose(library.keypoints[0], ffhq_template(128) + 32, atol=0.6)
    assert library.left_out == ("1 unreadable", "1 without a face")


def test_a_larger_size_has_the_same_field_with_more_pixels(photos: Path) -> None:
    small, large = read_folders(photos, Finder()), read_folders(photos, Finder(), size=256)
    assert (large.side, large.size) == (384, 256)
    assert large.photo(1).shape == (384, 384, 3)
    assert np.allclose(large.keypoints + 0.5, (small.keypoints + 0.5) * 2, atol=1e-3)
    halved = torch.nn.functional.avg_pool2d(large.tensor([0, 1, 2]), 2)
    assert (halved - small.tensor([0, 1, 2])).abs().mean() < 0.01


def test_faces_that_cannot_fill_the_size_are_left_out(photos: Path) -> None:
    # 220 px fill four fifths of 256 px (205), and not of 512 px
    with pytest.raises(FileFormatError, match=r"3 with too small a face \(it has to fill 410 px of 512\)"):
        read_folders(photos, Finder(), size=512)


def test_the_cut_outs_are_kept_until_a_photo_changes(photos: Path, tmp_path: Path) -> None:
    finder, cache = Finder(), tmp_path / "cache"
    kept = [read_folders(photos, finder, cache=cache, label="a") for _ in range(2)]
    assert finder.calls == 4
    plain = read_folders(photos, Finder())
    for library in kept:
        assert list(library.photos) == list(plain.photos) == library.photos[:]
        assert np.array_equal(library.keypoints, plain.keypoints)
        assert np.array_equal(library.identities, plain.identities)
        assert (library.names, library.left_out, library.side) == (plain.names, plain.left_out, plain.side)
    assert kept[1]._digest("x") == plain._digest("x")
    with pytest.raises(IndexError):
        kept[0].photos[3]
    read_folders(photos, finder, cache=cache, label="b")
    write_image(photos / "ben" / "new.png", portrait(400, 9))
    assert len(read_folders(photos, finder, cache=cache, label="a")) == 4
    assert finder.calls == 4 + 4 + 5


def test_a_folder_with_nothing_to_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="empty"):
        read_folders(tmp_path, Finder())
