"""The command line through its main(): what it writes and says, and that bad input costs one line and exit code 2."""

import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from idfsr_core.cli import COMMANDS, main
from idfsr_core.images import read_image, to_uint8, write_image
from tests import tiny
from tests.tiny import StubAnalyzer, portrait

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A bundle of random tiny networks."""
    return str(tiny.write_bundle(tmp_path_factory.mktemp("bundle") / "tiny.safetensors"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with two equal portraits: surely one person."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a", "b"):
        write_image(folder / f"{name}.png", portrait(seed=1))
    return folder


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A small picture of 40x40 pixels."""
    write_image(tmp_path / "small.png", torch.nn.functional.avg_pool2d(portrait(seed=1), 4))
    return tmp_path / "small.png"


@pytest.fixture
def finds(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Say where the analyzer finds faces; without a word it finds one in the middle."""

    def at(*places: tuple[float, float, float]) -> None:
        monkeypatch.setattr("idfsr_core.commands.common.analyzer_of", lambda *_: StubAnalyzer(*places))

    at((0.5, 0.5, 0.4))
    return at


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must fail: exit code 2, one line on stderr, nothing written; returns the line."""

    def run(*arguments: object) -> str:
        before = files_in(tmp_path)
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert code == 2, (out, err)
        assert out == ""
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert "Traceback" not in err
        assert files_in(tmp_path) == before
        return err

    return run


def restore(bundle: str, picture: object, *arguments: object) -> list[str]:
    return [str(a) for a in ("restore", picture, "--bundle", bundle, "--steps", 1, "--device", "cpu", *arguments)]


# --- what works -------------------------------------------------------------------------------------------------------


def test_restore_writes_and_says_what_it_did(
    bundle: str, picture: Path, photos: Path, tmp_path: Path, finds: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    output, crop = tmp_path / "new" / "out.png", tmp_path / "face.png"
    assert main(restore(bundle, picture, "--references", photos, "--output", output, "--crop", crop)) == 0
    said = capsys.readouterr().out
    for word in ("the only face found", "scale       4.0x", "reference   ", "2 photos", "before", "after", "MiB RAM"):
        assert word in said
    assert read_image(output).shape == (1, 3, 160, 160)
    assert read_image(crop).shape == (1, 3, 128, 128)


def test_restore_json_is_one_object_with_all_options(
    bundle: str, picture: Path, photos: Path, finds: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = restore(bundle, picture, "--references", photos, "--json", "--seed", 7, "--no-refine")
    assert main(arguments) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["options"]["seed"] == 7
    assert said["options"]["refine"] is False
    assert said["output"].endswith("small_restored.png")
    assert said["peak_mib"]["ram"] > 1
    assert Path(said["output"]).is_file()


def test_the_same_seed_writes_the_same_file(
    bundle: str, picture: Path, photos: Path, tmp_path: Path, finds: Callable
) -> None:
    outputs = [tmp_path / f"{name}.png" for name in ("one", "two", "three")]
    for output, seed in zip(outputs, (3, 3, 4), strict=True):
        assert main(restore(bundle, picture, "--references", photos, "--output", output, "--seed", seed)) == 0
    first, second, third = (output.read_bytes() for output in outputs)
    assert first == second != third


def test_a_box_says_where_the_face_is(
    bundle: str, picture: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], finds: Callable
) -> None:
    finds((0.1, 0.1, 0.1), (0.5, 0.5, 0.4), (0.9, 0.9, 0.1))
    assert main(restore(bundle, picture, "--references", photos, "--box", 12, 10, 28, 30, "--output", tmp_path)) == 0
    assert "in the given box" in capsys.readouterr().out
    assert (tmp_path / "small_restored.png").is_file()


def test_a_box_works_with_the_bundle_s_own_analyzer(
    bundle: str, picture: Path, tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """References prepared with a stub, the face itself with the random tiny networks of the bundle."""
    identity = tmp_path / "anna.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr("idfsr_core.commands.common.analyzer_of", lambda *_: StubAnalyzer((0.5, 0.5, 0.4)))
        assert main(["encode", str(photos), "--output", str(identity), "--bundle", bundle, "--device", "cpu"]) == 0
    assert main(restore(bundle, picture, "--identity", identity, "--box", 12, 10, 28, 30)) == 0


def test_encode_and_restore_with_the_identity(
    bundle: str, picture: Path, photos: Path, tmp_path: Path, finds: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    identity = tmp_path / "anna.safetensors"
    assert main(["encode", str(photos), "--output", str(identity), "--bundle", bundle, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert set(said["quality"]) == {"a.png", "b.png"}
    assert main(restore(bundle, picture, "--identity", identity, "--references", photos)) == 0
    assert main(restore(bundle, picture, "--identity", identity)) == 0
    assert "no reference photos" in capsys.readouterr().out


def test_a_folder_goes_on_past_a_bad_file(
    bundle: str, photos: Path, tmp_path: Path, finds: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    stills = tmp_path / "stills"
    stills.mkdir()
    for name in ("a.png", "b.jpg", "b.png"):
        write_image(stills / name, portrait(40))
    (stills / "c.png").write_bytes((stills / "a.png").read_bytes()[:300])
    assert main(restore(bundle, stills, "--references", photos)) == 1
    assert files_in(tmp_path / "stills_restored") == {"a.png", "b.jpg.png", "b.png.png"}
    out, err = capsys.readouterr()
    assert out.count("written") == 3
    assert "3 of 4 pictures restored" in err
    assert "not restored: " in err
    assert "c.png" in err


@pytest.mark.parametrize("scale", ["8", "2.5"])
@pytest.mark.parametrize("kind", ["area", "bicubic", "blind"])
def test_degrade(tmp_path: Path, scale: str, kind: str) -> None:
    write_image(tmp_path / "in.png", torch.cat([portrait(80), portrait(80, seed=2)], 3))
    arguments = [
        "degrade",
        str(tmp_path / "in.png"),
        "--scale",
        scale,
        "--kind",
        kind,
        "--output",
        str(tmp_path / "o.png"),
    ]
    assert main(arguments) == 0
    assert read_image(tmp_path / "o.png").shape[-2:] == (80 / float(scale), 160 / float(scale))
    assert main([*arguments, "--keep-size"]) == 0
    assert read_image(tmp_path / "o.png").shape[-2:] == (80, 160)


def test_degrade_averages_the_pixels(tmp_path: Path) -> None:
    image = portrait(64)
    write_image(tmp_path / "in.png", image)
    main(["degrade", str(tmp_path / "in.png"), "--scale", "8", "--output", str(tmp_path / "out.png")])
    wanted = torch.nn.functional.avg_pool2d(image, 8)
    assert (read_image(tmp_path / "out.png") - wanted).abs().max() < 1.5 / 255


PIXELS = to_uint8(torch.nn.functional.avg_pool2d(portrait(seed=1), 4))
WRITERS: dict[str, Callable[[Path], object]] = {
    "grey.png": lambda path: cv2.imwrite(str(path), PIXELS[:, :, 0]),
    "deep.png": lambda path: cv2.imwrite(str(path), PIXELS.astype(np.uint16) * 257),
    "deep-grey.tiff": lambda path: cv2.imwrite(str(path), PIXELS[:, :, 0].astype(np.uint16) * 257),
    "rgba.png": lambda path: cv2.imwrite(str(path), np.dstack([PIXELS, np.full(PIXELS.shape[:2], 200, np.uint8)])),
    "cmyk.jpg": lambda path: _write_cmyk(path),
}


def _write_cmyk(path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.fromarray(PIXELS).convert("CMYK").save(path)


@pytest.mark.parametrize("name", WRITERS)
def test_unusual_pictures_work(bundle: str, photos: Path, tmp_path: Path, finds: Callable, name: str) -> None:
    WRITERS[name](tmp_path / name)
    assert main(restore(bundle, tmp_path / name, "--references", photos, "--output", tmp_path / "out.png")) == 0
    assert read_image(tmp_path / "out.png").shape == (1, 3, 160, 160)


# --- what is refused --------------------------------------------------------------------------------------------------


def test_no_face(bundle: str, picture: Path, photos: Path, finds: Callable, refused: Callable) -> None:
    identity = photos / "id.safetensors"
    assert main(["encode", str(photos), "--output", str(identity), "--bundle", bundle]) == 0
    finds()
    assert "no face found in 40x40 pixels" in refused(*restore(bundle, picture, "--identity", identity))
    assert "a.png" in refused("encode", photos, "--output", photos / "no.safetensors", "--bundle", bundle)


def test_several_faces_and_no_choice(
    bundle: str, picture: Path, photos: Path, tmp_path: Path, finds: Callable, refused: Callable
) -> None:
    identity = tmp_path / "id.safetensors"
    assert main(["encode", str(photos), "--output", str(identity), "--bundle", bundle]) == 0
    finds((0.5, 0.5, 0.4), (0.5, 0.5, 0.4))
    line = refused(*restore(bundle, picture, "--identity", identity))
    assert "2 faces, none stands out" in line
    assert "--face N" in line
    assert "no face number 7" in refused(*restore(bundle, picture, "--identity", identity, "--face", 7))


@pytest.mark.parametrize(
    ("box", "said"),
    [((0, 0, 3, 20), "at least 4 pixels"), ((41, 0, 60, 20), "outside the picture"), ((-9, 0, -2, 20), "outside")],
)
def test_bad_boxes(
    bundle: str, picture: Path, photos: Path, finds: Callable, refused: Callable, box: tuple, said: str
) -> None:
    assert said in refused(*restore(bundle, picture, "--references", photos, "--box", *box))


def png_header(width: int, height: int) -> bytes:
    """A PNG of which only the header is there."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))


def _bad_pictures() -> dict[str, bytes]:
    encoded = cv2.imencode(".png", PIXELS)[1].tobytes()
    jpeg = cv2.imencode(".jpg", PIXELS)[1].tobytes()
    return {
        "text.png": b"this is no picture",
        "empty.jpg": b"",
        "cut.png": encoded[: len(encoded) // 2],
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "tiny.png": cv2.imencode(".png", PIXELS[:1, :1])[1].tobytes(),
        "huge.png": png_header(20_000, 20_000),
    }


@pytest.mark.parametrize("name", _bad_pictures())
def test_bad_pictures(
    bundle: str, photos: Path, picture: Path, tmp_path: Path, finds: Callable, refused: Callable, name: str
) -> None:
    bad = tmp_path / name
    bad.write_bytes(_bad_pictures()[name])
    assert name in refused(*restore(bundle, bad, "--references", photos))
    assert name in refused(*restore(bundle, picture, "--references", bad))
    assert name in refused("degrade", bad, "--output", tmp_path / "out.png")


def test_missing_and_empty_places(
    bundle: str, photos: Path, picture: Path, tmp_path: Path, finds: Callable, refused: Callable
) -> None:
    (tmp_path / "empty").mkdir()
    for place in ("empty", "gone"):
        assert place in refused(*restore(bundle, picture, "--references", tmp_path / place))
        assert place in refused(*restore(bundle, tmp_path / place, "--references", photos))
    assert "--references" in refused(*restore(bundle, picture))
    assert "gone" in refused(*restore(bundle, picture, "--identity", tmp_path / "gone.safetensors"))


def test_identity_of_another_encoder(
    bundle: str, photos: Path, picture: Path, tmp_path: Path, finds: Callable, refused: Callable
) -> None:
    other = tiny.write_bundle(tmp_path / "other.safetensors", seed=5)
    identity = tmp_path / "id.safetensors"
    assert main(["encode", str(photos), "--output", str(identity), "--bundle", str(other)]) == 0
    assert "identity: made by" in refused(*restore(bundle, picture, "--identity", identity))


def test_damaged_bundle_and_identity(
    bundle: str, photos: Path, picture: Path, tmp_path: Path, finds: Callable, refused: Callable
) -> None:
    identity = tmp_path / "id.safetensors"
    assert main(["encode", str(photos), "--output", str(identity), "--bundle", bundle]) == 0
    for source, option in ((Path(bundle), "--bundle"), (identity, "--identity")):
        damaged = tmp_path / f"damaged-{source.name}"
        content = source.read_bytes()
        for broken in (content[: len(content) // 2], content[:4], b"", b"{}" * 50):
            damaged.write_bytes(broken)
            line = refused(*restore(bundle, picture, "--references", photos, option, damaged))
            assert damaged.name in line


@pytest.mark.parametrize(
    ("option", "value"), [("--steps", 0), ("--consistency", 2), ("--face", "biggest"), ("--enlarge", 0), ("--face", -1)]
)
def test_options_out_of_range(
    bundle: str, photos: Path, picture: Path, finds: Callable, refused: Callable, option: str, value: object
) -> None:
    arguments = ["restore", picture, "--references", photos, "--bundle", bundle, f"{option}={value}"]
    assert option.strip("-") in refused(*arguments)


def test_a_device_that_is_not_there(bundle: str, photos: Path, picture: Path, refused: Callable) -> None:
    line = refused("restore", picture, "--references", photos, "--bundle", bundle, "--device", "cuda:77")
    assert "--device: cuda:77" in line


def test_unwritable_outputs(
    bundle: str, photos: Path, picture: Path, tmp_path: Path, finds: Callable, refused: Callable
) -> None:
    (tmp_path / "file").write_text("in the way")
    for output in (tmp_path / "file" / "out.png", tmp_path / "out.gif"):
        assert output.parent.name in refused(*restore(bundle, picture, "--references", photos, "--output", output))
        assert output.parent.name in refused(*restore(bundle, picture, "--references", photos, "--crop", output))
        assert output.parent.name in refused("degrade", picture, "--scale", 4, "--output", output)
    assert "file" in refused("encode", photos, "--output", tmp_path / "file" / "id.safetensors", "--bundle", bundle)


def test_a_full_disk_leaves_nothing(
    bundle: str, photos: Path, picture: Path, finds: Callable, refused: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left" in refused(*restore(bundle, picture, "--references", photos))


def test_references_of_different_people(
    bundle: str, picture: Path, tmp_path: Path, finds: Callable, refused: Callable
) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    for seed in range(4):
        write_image(folder / f"{seed}.png", portrait(seed=seed * 11))
    orthogonal = iter(torch.eye(32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("idfsr_core.references.embed_face", lambda *_: (next(orthogonal), 1.0))
        assert "keep photos of one person only" in refused(*restore(bundle, picture, "--references", folder))


# --- help and the process ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [module.__name__.rpartition(".")[2] for module in COMMANDS])
def test_every_help_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    said = capsys.readouterr().out
    assert f"python -m idfsr_core {command}" in said.partition("example")[2]
    assert "default" in said or command == "pretrain"


@pytest.mark.parametrize("part", ["denoiser", "encoder", "analyzer", "bundle"])
def test_every_training_explains_itself(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["pretrain", part, "--help"])
    assert stopped.value.code == 0
    assert "--output" in capsys.readouterr().out


def test_a_teacher_is_a_pack_or_a_file(tmp_path: Path, refused: Callable[..., str]) -> None:
    weights = tmp_path / "edgeface.safetensors"
    weights.write_bytes(b"nothing of the kind")
    train = ("pretrain", "encoder", "--data", tmp_path, "--output", tmp_path / "run", "--device", "cpu", "--teacher")
    assert "EdgeFace" in refused(*train, weights)
    assert "no_pack" in refused(*train, tmp_path / "no_pack")


def test_every_option_of_restoring_is_an_argument() -> None:
    from idfsr_core.cli import build_parser
    from idfsr_core.commands.restore import options_of
    from idfsr_core.options import RestoreOptions

    args = build_parser().parse_args(["restore", "x.png"])
    assert set(RestoreOptions.__dataclass_fields__) <= set(vars(args))
    assert options_of(args) == RestoreOptions()


@pytest.mark.slow
def test_a_folder_is_split_over_processes(
    bundle: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes, three pictures and one that is none; the bundle's own analyzer inside a given box."""
    identity, stills = tmp_path / "id.safetensors", tmp_path / "stills"
    with monkeypatch.context() as patch:
        patch.setattr("idfsr_core.commands.common.analyzer_of", lambda *_: StubAnalyzer((0.5, 0.5, 0.4)))
        assert main(["encode", str(photos), "--output", str(identity), "--bundle", bundle, "--device", "cpu"]) == 0
    stills.mkdir()
    for name in "abc":
        write_image(stills / f"{name}.png", portrait(40))
    (stills / "d.png").write_bytes(b"no picture")
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "idfsr_core"]
    command = [*launch, *restore(bundle, stills, "--identity", identity, "--box", 12, 10, 28, 30)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 1, done.stderr
    assert files_in(tmp_path / "stills_restored") == {"a.png", "b.png", "c.png"}
    assert done.stdout.count("written") == 3
    assert done.stderr.count("3 of 4 pictures restored") == 1
    assert done.stderr.count("not restored: ") == 1


def test_the_process_gives_the_code_and_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "idfsr_core", "degrade", str(tmp_path / "gone.png"), "--output", "x.png"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
