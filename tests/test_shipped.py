"""The real path: the shipped bundle on the sample people, offline."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from idfsr_core.bundle import SHIPPED, Bundle, load_bundle
from idfsr_core.cli import main
from idfsr_core.commands.demo import SAMPLES, sample_people
from idfsr_core.diffusion.conditioning import downsample
from idfsr_core.face_choice import find_face
from idfsr_core.identity.embedding import similarity
from idfsr_core.images import read_image
from idfsr_core.options import RestoreOptions
from idfsr_core.references import PreparedReferences, embed_face, prepare_references
from idfsr_core.restoration import Restoration, restore_image

GOLDEN = Path(__file__).with_name("golden_shipped.json")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle()


@pytest.fixture(scope="module")
def people(bundle: Bundle) -> dict[str, PreparedReferences]:
    """Everybody's photos but the first, which is in the scene."""
    return {
        name: prepare_references(bundle.analyzer, bundle.encoder, ((p.name, read_image(p)) for p in photos[1:]))
        for name, photos in sample_people(SAMPLES).items()
    }


@pytest.fixture(scope="module")
def restored(bundle: Bundle, people: dict[str, PreparedReferences]) -> dict[str, Restoration]:
    """Everybody restored in the scene, looked for by likeness."""
    scene = read_image(SAMPLES / "scene.jpg")
    return {name: restore_image(bundle, scene, photos, RestoreOptions(steps=1)) for name, photos in people.items()}


def test_the_bundle_is_small_whole_and_says_where_it_comes_from(bundle: Bundle) -> None:
    assert SHIPPED.stat().st_size <= 48 * 1024**2
    assert bundle.parts == ("denoiser", "analyzer", "encoder", "match")
    card = bundle.card
    assert "non-commercial" in card.licence
    assert card.data
    assert card.training["denoiser"]
    assert card.metrics


def test_every_reference_shows_a_face(people: dict[str, PreparedReferences]) -> None:
    for name, photos in people.items():
        assert len(photos.photos) == 5, (name, photos.notes)


def test_everybody_is_found_in_the_scene(restored: dict[str, Restoration]) -> None:
    told = json.loads((SAMPLES / "samples.json").read_text())["scene"]
    for name, result in restored.items():
        keypoints = np.array(told[name])
        eyes = np.linalg.norm(keypoints[1] - keypoints[0])
        error = np.linalg.norm(result.face.keypoints - keypoints, axis=1).mean() / eyes
        assert error < 0.25, f"{name}: keypoints {error:.2f} eye distances off"


def test_the_faces_become_more_like_the_people(
    bundle: Bundle, people: dict[str, PreparedReferences], restored: dict[str, Restoration]
) -> None:
    for name, result in restored.items():
        assert result.similarity_after > result.similarity_before, name
        keypoints = result.alignment.to_crop(result.face.keypoints)
        vector, _ = embed_face(bundle.encoder, result.crop, keypoints)
        alike = {other: float(similarity(vector, photos.identity.vector)) for other, photos in people.items()}
        assert max(alike, key=lambda other: alike[other]) == name, alike


def test_the_faces_agree_with_the_picture(restored: dict[str, Restoration]) -> None:
    """LR-PSNR: the restored face made small again, against the pixels it came from (before, made small as well)."""
    for name, result in restored.items():
        side = round(128 / result.scale)
        small, given = (downsample(each, side) for each in (result.crop, result.before))
        error = float((small - given).square().mean())
        assert -10 * np.log10(error) > 28, f"{name}: {-10 * np.log10(error):.1f} dB"


def test_steering_makes_the_faces_more_like_the_people(
    bundle: Bundle, people: dict[str, PreparedReferences], restored: dict[str, Restoration]
) -> None:
    scene = read_image(SAMPLES / "scene.jpg")
    for name, photos in people.items():
        plain = restore_image(bundle, scene, photos, RestoreOptions(steering=0))
        assert restored[name].similarity_after > plain.similarity_after + 0.02, name
        assert float((restored[name].crop - plain.crop).abs().mean()) < 0.01, "it is hardly seen"


def test_the_figures_of_the_sample_people_are_those_of_the_golden_file(
    restored: dict[str, Restoration], request: pytest.FixtureRequest
) -> None:
    """A change of weights or of the way shows here; renew with ``--renew-golden``."""
    figures = {name: _figures(result) for name, result in restored.items()}
    if request.config.getoption("--renew-golden"):
        GOLDEN.write_text(json.dumps(figures, indent=2) + "\n")
    wanted = json.loads(GOLDEN.read_text())
    assert figures.keys() == wanted.keys()
    for name, values in figures.items():
        assert values == pytest.approx(wanted[name], abs=0.01), name


def _figures(result: Restoration) -> dict[str, float]:
    """Similarities with the person as the bundle's encoder sees it, and what the face is made of."""
    return {
        "similarity_before": round(result.similarity_before, 4),
        "similarity_after": round(result.similarity_after, 4),
        "scale": round(result.scale / 100, 4),  # hundredths, so that one tolerance fits all
        "mean": round(float(result.crop.mean()), 4),
    }


def test_another_seed_and_the_same_seed(bundle: Bundle, people: dict[str, PreparedReferences]) -> None:
    scene, photos = read_image(SAMPLES / "scene.jpg"), people["anna"]
    first, second = (restore_image(bundle, scene, photos, RestoreOptions(steps=1, seed=3)) for _ in range(2))
    assert torch.equal(first.image, second.image)


def test_a_picture_without_people_has_no_face(bundle: Bundle) -> None:
    from idfsr_core.errors import FaceNotFoundError

    sky = read_image(SAMPLES / "scene.jpg")[..., :45, :]
    with pytest.raises(FaceNotFoundError):
        find_face(bundle.analyzer, bundle.encoder, sky, RestoreOptions())


def test_the_demo_writes_its_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--output", str(tmp_path), "--steps", "1", "--device", "cpu"]) == 0
    names = sample_people(SAMPLES)
    written = {"scene.png", "scene-restored.png", "sheet.png", *(f"{name}.png" for name in names)}
    assert {path.name for path in tmp_path.iterdir()} == written
    said = capsys.readouterr().out
    assert all(f"{name}: face of " in said for name in names)
    before, after = (read_image(tmp_path / name) for name in ("scene.png", "scene-restored.png"))
    assert before.shape == after.shape
    changed = (before - after).abs().amax(1)[0] > 2 / 255
    assert 0.005 < float(changed.float().mean()) < 0.06, "the faces change and nothing else does"


@pytest.mark.parametrize("side", [4, 6, 8])
def test_a_picture_that_is_nothing_but_a_face_is_taken_as_one(bundle: Bundle, side: int) -> None:
    """A cut of a few pixels, off the middle by a tenth of the face: the points are nearer than half an eye distance."""
    photo = read_image(next(iter(sample_people(SAMPLES).values()))[0])
    face = max(bundle.analyzer.analyze(photo), key=lambda each: each.height)
    half = 0.7 * face.height
    x, y = (face.box[:2] + face.box[2:]) / 2 + 0.1 * face.width
    x, y, half = round(float(x)), round(float(y)), round(float(half))
    cut = photo[..., max(0, y - half) : y + half, max(0, x - half) : x + half]
    tiny = torch.nn.functional.adaptive_avg_pool2d(cut, side)
    found, why = find_face(bundle.analyzer, bundle.encoder, tiny, RestoreOptions())
    grown = (found.keypoints + 0.5) * (np.array([cut.shape[-1], cut.shape[-2]]) / side) - 0.5
    true = face.keypoints - [max(0, x - half), max(0, y - half)]
    assert np.linalg.norm(grown - true, axis=1).mean() < 0.5 * np.linalg.norm(true[1] - true[0])
    assert why == f"the picture is {side}x{side} pixels: the face is taken to fill it"
