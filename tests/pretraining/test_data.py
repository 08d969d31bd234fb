"""Reading photos: from an archive, from folders, with a cache of annotations."""

import io
import json
import tarfile

import numpy as np
import pytest
import torch

from idfsr_core.errors import FileFormatError
from idfsr_core.images import write_image
from idfsr_core.pretraining.data import MARGIN, PHOTO_SIZE, read_archive, read_folders
from tests.tiny import FFHQ_128, portrait

from .library import drawn_library


@pytest.fixture
def archive(tmp_path):
    library = drawn_library()
    rows = []
    with tarfile.open(tmp_path / "faces-00.tar", "w") as tar:
        for number, photo in enumerate(library.photos):
            name = f"people/{number}.png"
            entry = tarfile.TarInfo(name)
            entry.size = len(photo)
            tar.addfile(entry, io.BytesIO(photo))
            rows.append(
                {
                    "file": name,
                    "shard": "faces-00.tar",
                    "identity": library.names[library.identities[number]],
                    "split": "val" if library.identities[number] == 0 else "train",
                    "keypoints": library.keypoints[number].tolist(),
                }
            )
    (tmp_path / "index.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return tmp_path


def test_an_archive_is_read_by_split(archive):
    train, val = read_archive(archive, "train"), read_archive(archive, "val")
    assert (len(train), len(train.names)) == (10, 4)
    assert (len(val), val.names) == (3, ["person 0"])
    assert train.tensor([0, 1]).shape == (2, 3, PHOTO_SIZE, PHOTO_SIZE)
    assert [len(person) for person in train.people()] == [3, 3, 3, 1]


@pytest.mark.parametrize("split", ["test", ""])
def test_an_unknown_split_is_refused(archive, split):
    with pytest.raises(FileFormatError, match="split"):
        read_archive(archive, split)


def test_a_folder_without_index_is_refused(tmp_path):
    with pytest.raises(FileFormatError, match=r"index\.jsonl"):
        read_archive(tmp_path, "train")


def test_folders_become_people_and_photos_without_a_face_are_left_out(tmp_path):
    for person, count in (("anna", 2), ("ben", 1), ("empty", 1)):
        (tmp_path / person).mkdir()
        for number in range(count):
            write_image(
                tmp_path / person / f"{number}.png", portrait(200, number) if person != "empty" else portrait(90)
            )
    points = FFHQ_128 * 1.1 + 20
    library = read_folders(tmp_path, lambda image: points if image.shape[-1] == 200 else None)
    assert library.names == ["anna", "ben"]
    assert library.identities.tolist() == [0, 0, 1]
    assert np.allclose(library.keypoints[0], FFHQ_128 + MARGIN, atol=0.6)


def test_annotations_are_computed_once_per_label(tmp_path):
    library, calls = drawn_library(), []

    def landmarks(images, keypoints):
        calls.append(len(images))
        return keypoints.repeat(1, 14, 1)[:, :68]

    embed = lambda images, keypoints: torch.ones(len(images), 5)
    first = library.annotated(landmarks, embed, "a", tmp_path, batch=8)
    again = library.annotated(landmarks, embed, "a", tmp_path, batch=8)
    assert calls == [8, 5]
    assert first.landmarks is not None
    assert np.array_equal(first.landmarks, again.landmarks)  # pyright: ignore[reportArgumentType]
    library.annotated(landmarks, embed, "b", tmp_path, batch=8)
    assert len(calls) == 4


def test_the_research_archive_is_read(shared_dir):
    val = read_archive(shared_dir / "data" / "faces", "val")
    assert (len(val), len(val.names)) == (1313, 64)
