"""Pictures in and out: every kind that should work, every kind that should not, and nothing left behind."""

import io
import os
import resource
import signal
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageOps

from idfsr_core.errors import ArgumentError, ImageError, OutputError
from idfsr_core.headers import read_header
from idfsr_core.images import (
    atomic_path,
    check_image,
    down,
    list_images,
    read_image,
    to_tensor,
    to_uint8,
    up,
    write_bytes,
    write_image,
)


def smooth_pixels(height=40, width=56):
    y, x = np.mgrid[0:height, 0:width]
    return np.stack((x * 4 % 256, y * 5 % 256, (x + y) * 2 % 256), -1).astype(np.uint8)


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def read_bytes(tmp_path, data, name="picture"):
    path = tmp_path / name
    path.write_bytes(data)
    return read_image(path)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WebP"])
def test_lossless_files_come_back_exactly(tmp_path, kind):
    pixels = smooth_pixels()
    options = {"lossless": True} if kind == "WebP" else {}
    image = read_bytes(tmp_path, encoded(Image.fromarray(pixels), kind, **options))
    assert image.shape == (1, 3, 40, 56)
    assert image.dtype == torch.float32
    assert np.array_equal(to_uint8(image), pixels)


def test_cmyk_jpeg_has_the_colours_that_pillow_sees(tmp_path):
    wide = np.kron(
        np.array([[[220, 30, 40], [30, 160, 60]], [[40, 60, 200], [230, 220, 210]]], np.uint8), np.ones((24, 24, 1))
    )
    picture = Image.fromarray(wide.astype(np.uint8)).convert("CMYK")
    data = encoded(picture, "JPEG", quality=95)
    assert Image.open(io.BytesIO(data)).mode == "CMYK"
    seen = to_uint8(read_bytes(tmp_path, data)).astype(int)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert np.abs(seen - expected).max() <= 2


def test_sixteen_bits_keep_their_precision(tmp_path):
    values = np.linspace(0, 65535, 40 * 56).reshape(40, 56).astype(np.uint16)
    image = read_bytes(tmp_path, encoded(Image.fromarray(values), "PNG"))
    assert np.abs(image[0, 1].numpy() * 65535 - values).max() < 0.01


def test_grey_becomes_three_equal_channels(tmp_path):
    grey = smooth_pixels()[..., 0]
    for kind in ("PNG", "JPEG"):
        image = read_bytes(tmp_path, encoded(Image.fromarray(grey), kind))
        assert torch.equal(image[:, 0], image[:, 1])
        assert torch.equal(image[:, 0], image[:, 2])


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_over_white(tmp_path, mode):
    picture = Image.new("RGBA", (8, 8), (200, 200, 200, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 4, 8))
    image = read_bytes(tmp_path, encoded(picture.convert(mode), "PNG"))
    assert (image[..., :4] == 1).all()
    assert torch.allclose(image[..., 4:], torch.tensor(200 / 255))


def test_palette_and_one_bit_pictures(tmp_path):
    pixels = smooth_pixels()
    palette = Image.fromarray(pixels).quantize(64)
    assert np.array_equal(to_uint8(read_bytes(tmp_path, encoded(palette, "PNG"))), np.asarray(palette.convert("RGB")))
    bits = Image.fromarray(pixels[..., 0]).convert("1")
    assert np.array_equal(to_uint8(read_bytes(tmp_path, encoded(bits, "PNG"))), np.asarray(bits.convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WebP", "JPEG"])
def test_orientation_turns_the_picture_upright(tmp_path, kind, orientation):
    picture = Image.fromarray(smooth_pixels())
    exif = Image.Exif()
    exif[274] = orientation
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {"lossless": True} if kind == "WebP" else {}
    data = encoded(picture, kind, exif=exif, **options)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")).astype(int)
    seen = to_uint8(read_bytes(tmp_path, data)).astype(int)
    assert seen.shape == expected.shape
    assert np.abs(seen - expected).max() <= (2 if kind == "JPEG" else 0)


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WebP", "JPEG"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.97])
def test_a_file_cut_short_is_refused(tmp_path, kind, share):
    data = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)), kind)
    with pytest.raises(ImageError, match="picture"):
        read_bytes(tmp_path, data[: int(len(data) * share)])


def test_a_progressive_jpeg_with_a_thumbnail_cut_short_is_refused(tmp_path):
    thumbnail = encoded(Image.fromarray(smooth_pixels()), "JPEG")
    exif = b"Exif\0\0" + b"II*\0\x08\0\0\0\0\0\0\0\0\0" + thumbnail
    data = encoded(Image.fromarray(smooth_pixels(200, 200)), "JPEG", progressive=True, exif=exif)
    assert read_bytes(tmp_path, data).shape == (1, 3, 200, 200)
    with pytest.raises(ImageError, match="cut short"):
        read_bytes(tmp_path, data[: int(len(data) * 0.8)])


def test_bytes_after_the_end_of_a_jpeg_do_no_harm(tmp_path):
    data = encoded(Image.fromarray(smooth_pixels()), "JPEG")
    assert read_bytes(tmp_path, data + b"\xff\xd8\xff\xe0 half of a second picture").shape == (1, 3, 40, 56)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def huge_png(side):
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = zlib.compressobj(1)
    data = b"".join(rows.compress(b"\0" * (side + 1)) for _ in range(side)) + rows.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_twenty_thousand_pixels_a_side_are_refused_before_they_are_decoded(tmp_path):
    path = tmp_path / "wide.png"
    path.write_bytes(huge_png(20_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageError, match=r"wide\.png: 20000x20000 pixels; .*16384"):
        read_image(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB; decoded it would be 400,000


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WebP", "BMP", "TIFF"])
def test_sizes_are_known_from_the_header(kind):
    header = read_header(encoded(Image.new("RGB", (301, 17)), kind))
    assert header is not None
    assert (header.format, header.size, header.orientation, header.whole) == (kind, (301, 17), 1, True)


def test_a_single_pixel_is_refused(tmp_path):
    with pytest.raises(ImageError, match=r"1x1 pixels; .*at least 4"):
        read_bytes(tmp_path, encoded(Image.new("RGB", (1, 1)), "PNG"))


@pytest.mark.parametrize("data", [b"", b"not a picture", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF1234WEBP"])
def test_what_is_no_picture_is_refused(tmp_path, data):
    with pytest.raises(ImageError, match="JPEG, PNG, WebP, BMP or TIFF"):
        read_bytes(tmp_path, data)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["PNG", "JPEG", "WebP", "BMP", "TIFF"]))
def test_a_damaged_file_is_read_or_refused_but_nothing_else(tmp_path_factory, data, kind):
    whole = bytearray(encoded(Image.fromarray(smooth_pixels()), kind))
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=8)):
        whole[place] = value
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    try:
        image = read_image(path)
    except ImageError:
        return
    check_image(image)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="picture"):
        read_image(tmp_path)
    with pytest.raises(ImageError, match="no such folder"):
        list_images(tmp_path / "none")
    with pytest.raises(ImageError, match="no picture in it"):
        list_images(tmp_path)


def test_images_are_listed_by_name_without_hidden_files(tmp_path):
    for name in ("b.JPG", "a.png", "._a.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    assert [p.name for p in list_images(tmp_path)] == ["a.png", "b.JPG"]
    assert list_images(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2.0, 255.0])
def test_values_that_are_no_picture(value):
    image = torch.rand(1, 3, 8, 8)
    image[0, 1, 2, 3] = value
    with pytest.raises(ImageError, match=r"photo: (NaN|values)"):
        check_image(image, "photo")


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 8, 8, 3), (1, 1, 8, 8), (1, 3, 1, 1), (0, 3, 8, 8)])
def test_shapes_that_are_no_picture(shape):
    with pytest.raises(ImageError, match="photo"):
        check_image(torch.zeros(shape), "photo")


def test_arrays_that_are_no_picture():
    for pixels in (np.zeros((4, 4, 5), np.uint8), np.zeros((4, 4), np.int32), np.zeros(4, np.uint8)):
        with pytest.raises(ImageError):
            to_tensor(pixels)


# --- writing ----------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(arrays(np.uint8, (5, 7, 3)))
def test_bytes_survive_the_way_to_a_tensor_and_back(pixels):
    assert np.array_equal(to_uint8(to_tensor(pixels)), pixels)


def test_png_is_exact_and_jpeg_close(tmp_path):
    image = to_tensor(smooth_pixels())
    write_image(tmp_path / "a.png", image)
    assert torch.equal(read_image(tmp_path / "a.png"), image)
    smooth = up(torch.rand(1, 3, 4, 4), 64).clamp(0, 1)
    write_image(tmp_path / "a.jpg", smooth)
    assert (read_image(tmp_path / "a.jpg") - smooth).abs().max() < 0.06
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jpg", "a.png"]


def test_pictures_that_cannot_be_written(tmp_path):
    image = torch.rand(1, 3, 8, 8)
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "none" / "a.png", tmp_path / "file" / "a.png", tmp_path / "a.gif", tmp_path / "a"):
        with pytest.raises(OutputError, match="output"):
            write_image(path, image)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError, match="output"):
        write_image(tmp_path / "folder.png", image)
    with pytest.raises(ImageError, match="NaN"):
        write_image(tmp_path / "nan.png", image * float("nan"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="output"):
        write_image(tmp_path / "a.png", torch.rand(1, 3, 8, 8))


def test_a_disk_that_fills_up_leaves_the_old_file_and_nothing_else(tmp_path):
    old = tmp_path / "a.bin"
    write_bytes(old, b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        with pytest.raises(OutputError, match=r"output .*a\.bin: File too large"):
            write_bytes(old, b"x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert old.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [old]


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def interrupted():
        with atomic_path(tmp_path / "a.png") as temporary:
            assert temporary.parent == tmp_path
            assert temporary.suffix == ".png"
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


# --- resampling -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1, 2, 8, 16, 32])
def test_down_is_the_area_average(scale):
    image = torch.rand(2, 3, 64, 64)
    means = image.view(2, 3, 64 // scale, scale, 64 // scale, scale).mean((3, 5))
    assert torch.allclose(down(image, scale), means, atol=1e-6)


def test_down_keeps_flat_pictures_at_any_scale_and_up_brings_them_back():
    flat = torch.full((1, 3, 128, 96), 0.25)
    small = down(flat, 10.67)
    assert small.shape == (1, 3, 12, 9)
    assert torch.allclose(up(small, (128, 96)), flat, atol=1e-6)
    with pytest.raises(ArgumentError, match="scale"):
        down(flat, 0.5)


def test_importing_the_package_does_not_import_this():
    code = "import sys, idfsr_core; sys.exit('torch' in sys.modules or 'cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
