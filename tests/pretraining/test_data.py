"""Reading photos: from an archive, from folders, with a cache of annotations."""

import io
import json
import tarfile

import numpy as np
import pytest
import torch

from idfsr_core.errors import FileFormatError
from idfsr_core.pretraining.data import PHOTO_SIZE, read_archive, write_archive

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


def test_a_written_archive_is_read_back(tmp_path):
    library = drawn_library()
    write_archive(tmp_path / "a", library, "val", shard=5)
    assert len(list((tmp_path / "a").glob("*.tar"))) == 3
    again = read_archive(tmp_path / "a", "val")
    assert again.photos == library.photos
    assert again.names == library.names
    assert np.array_equal(again.identities, library.identities)
    assert np.allclose(again.keypoints, library.keypoints, atol=0.006)
    with pytest.raises(FileFormatError, match="there already"):
        write_archive(tmp_path / "a", library)
    with pytest.raises(FileFormatError, match="384 px"):
        write_archive(tmp_path / "b", drawn_library(times=2))


def test_embeddings_are_computed_once_per_label(tmp_path):
    library, calls = drawn_library(), []

    def embed(images, keypoints):
        calls.append(len(images))
        return torch.full((len(images), 5), float(len(calls)))

    first = library.embedded(embed, label="a", cache=tmp_path)
    assert np.array_equal(first, library.embedded(embed, label="a", cache=tmp_path))
    assert not np.array_equal(first, library.embedded(embed, label="b", cache=tmp_path))
    assert calls == [13, 13]


def test_the_research_archive_is_read(shared_dir):
    val = read_archive(shared_dir / "data" / "faces", "val")
    assert (len(val), len(val.names)) == (1313, 64)
