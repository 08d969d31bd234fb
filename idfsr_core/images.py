"""Pictures in and out of files, and the two resamplings that the method rests on.

Inside the package an image is a float32 tensor [B, 3, H, W], RGB, 0..1. BGR, uint8 and HWC live in this file only.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import ArgumentError, ImageError, OutputError
from .headers import read_header

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
MAX_SIDE = 16384  # pixels
MIN_SIDE = 4  # pixels: the smallest face that this package restores
_JPEG_QUALITY = 95


# --- files ------------------------------------------------------------------------------------------------------------


def read_image(path: str | Path) -> Tensor:
    """Read a photo as [1, 3, H, W] in 0..1, turned upright by its EXIF orientation.

    Reads JPEG (also grey and CMYK), PNG and TIFF (also 16-bit), WebP and BMP. Transparent pixels are laid over white,
    as most viewers show them. Colour profiles are not applied.

    Raises:
        ImageError: no such file, not an image, cut short, or a side below 4 or above 16384 pixels.
    """
    path = Path(path)
    data = _read_bytes(path)
    header = read_header(data)
    if header is None:
        raise ImageError(f"picture {path}", f"{len(data)} bytes, no image", "give a JPEG, PNG, WebP, BMP or TIFF file")
    _check_sides(f"picture {path}", *header.size)
    if not header.whole:
        raise ImageError(f"picture {path}", f"{header.format} file cut short", "copy it again from where it came from")
    pixels = _decode(data)
    # a decoder that stops early leaves another size, or nothing at all
    if pixels is None or pixels.shape[1::-1] != header.size:
        raise ImageError(f"picture {path}", f"damaged {header.format} file", "copy it again from where it came from")
    image = to_tensor(_upright(pixels, header.orientation), what=f"picture {path}")
    check_image(image, f"picture {path}")
    return image


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ImageError(f"picture {path}", "no such file", "check the path") from None
    except OSError as error:
        raise ImageError(f"picture {path}", error.strerror or error, "give an image file that can be read") from error


def _decode(data: bytes) -> np.ndarray | None:
    """Decode to RGB, RGBA or grey in the file's own depth, as it is stored."""
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    if pixels is None or pixels.ndim == 2:
        return pixels
    order = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}.get(pixels.shape[2])
    return pixels if order is None else cv2.cvtColor(pixels, order)


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation 1..8: from 5 on rows and columns change places, then the picture is mirrored."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def list_images(folder: str | Path) -> list[Path]:
    """The image files of a folder (not of folders in it) by name; a file gives itself.

    Raises:
        ImageError: no such folder, or no image in it.
    """
    folder = Path(folder)
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise ImageError(f"folder {folder}", "no such folder", "check the path")
    found = [p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file()]
    if not found:
        raise ImageError(f"folder {folder}", "no picture in it", f"put {', '.join(SUFFIXES)} files there")
    return sorted(found)


def write_image(path: str | Path, image: Tensor) -> None:
    """Write an image [1, 3, H, W] or [3, H, W] in 0..1 as PNG or JPEG, by the suffix; whole or not at all.

    Raises:
        OutputError: another suffix, or the file cannot be written.
        ImageError: the image holds NaN or infinity, or is of another shape.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".png", ".jpg", ".jpeg"):
        raise OutputError(f"output {path}", f"suffix {suffix!r}", "name the file .png or .jpg")
    settings = [] if suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    done, data = cv2.imencode(suffix, cv2.cvtColor(to_uint8(image), cv2.COLOR_RGB2BGR), settings)
    if not done:
        raise OutputError(f"output {path}", f"{tuple(image.shape)} not encoded", "write a smaller picture or a PNG")
    write_bytes(path, data.tobytes())


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file whole or not at all (OutputError)."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary name in the folder of ``path``, and move what was written there into place at the end.

    When anything goes wrong the temporary file is removed and an older file at ``path`` stays as it was. The temporary
    name has the suffix of ``path``.

    Raises:
        OutputError: the file cannot be written (any OSError within the block).
    """
    path = Path(path)
    if not path.name:
        raise OutputError(f"output {path}", "no file name", "name the file")
    temporary = path.with_name(f".{path.stem[:100]}-{secrets.token_hex(4)}{path.suffix}")
    try:
        if not path.parent.is_dir():
            raise OutputError(f"output {path}", "no such folder", f"make the folder {path.parent}")
        yield temporary
        temporary.replace(path)
    except OutputError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"output {path}", reason, "choose another place, or free some room") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


# --- arrays and tensors -----------------------------------------------------------------------------------------------


def to_tensor(pixels: np.ndarray, what: str = "picture") -> Tensor:
    """Turn pixels into an image [1, 3, H, W] in 0..1.

    Args:
        pixels: [H, W] or [H, W, 1] grey, [H, W, 2] grey and alpha, [H, W, 3] RGB or [H, W, 4] RGBA; uint8, uint16,
            bool, or floats in 0..1. Alpha is laid over white.
        what: the picture's name in an error.
    """
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    full = {"uint8": 255.0, "uint16": 65535.0, "bool": 1.0, "float32": 1.0, "float64": 1.0}.get(pixels.dtype.name)
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 2, 3, 4) or full is None:
        raise ImageError(what, f"{pixels.dtype} {pixels.shape}", "give [H, W], [H, W, 3] or [H, W, 4] in 8 or 16 bits")
    values = pixels.astype(np.float32) / np.float32(full)
    if values.shape[2] in (2, 4):
        alpha = values[..., -1:]
        values = values[..., :-1] * alpha + (1 - alpha)
    image = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))[None]
    return image.repeat(1, 3, 1, 1) if image.shape[1] == 1 else image


def to_uint8(image: Tensor) -> np.ndarray:
    """An image [1, 3, H, W] or [3, H, W] in 0..1 as RGB bytes [H, W, 3], rounded and clipped."""
    image = image[0] if image.ndim == 4 and image.shape[0] == 1 else image
    if image.ndim != 3 or image.shape[0] != 3:
        raise ImageError("image", tuple(image.shape), "give one image [1, 3, H, W] or [3, H, W]")
    image = image.detach().float().cpu()
    if not bool(image.isfinite().all()):
        raise ImageError("image", "NaN or infinity in it", "use float32, or look for the step that made it")
    return (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def check_image(image: Tensor, what: str = "image", *, min_side: int = MIN_SIDE) -> None:
    """Raise ImageError unless this is a float tensor [B, 3, H, W], finite, in 0..1, of a usable size.

    A little overshoot (to -0.5 and 1.5) passes: resampling leaves it.
    """
    if image.ndim != 4 or image.shape[1] != 3 or image.shape[0] < 1 or not image.is_floating_point():
        raise ImageError(what, f"{image.dtype} {tuple(image.shape)}", "give a float tensor [B, 3, H, W], RGB")
    _check_sides(what, image.shape[3], image.shape[2], min_side)
    low, high = (float(v) for v in torch.aminmax(image))
    if not np.isfinite((low, high)).all():
        raise ImageError(what, "NaN or infinity in it", "look for the step that made it")
    if low < -0.5 or high > 1.5:
        raise ImageError(what, f"values {low:.3g} to {high:.3g}", "scale them to 0..1")


def _check_sides(what: str, width: int, height: int, min_side: int = MIN_SIDE) -> None:
    if min(width, height) < min_side:
        raise ImageError(what, f"{width}x{height} pixels", f"give one of at least {min_side} pixels a side")
    if max(width, height) > MAX_SIDE:
        raise ImageError(what, f"{width}x{height} pixels", f"make it smaller: at most {MAX_SIDE} pixels a side")


# --- resampling -------------------------------------------------------------------------------------------------------


def down(image: Tensor, scale: float) -> Tensor:
    """The degradation A: the area average by ``scale``, [B, C, H, W] -> [B, C, H / scale, W / scale].

    A whole scale that divides the size is a plain average over scale x scale pixels; other scales average over the
    nearest whole windows, and the size is rounded.
    """
    height, width = image.shape[-2:]
    if not 1 <= scale <= min(height, width):
        raise ArgumentError("scale", scale, f"use 1 to {min(height, width)} for {width}x{height} pixels")
    if scale == int(scale) and height % int(scale) == 0 and width % int(scale) == 0:
        return F.avg_pool2d(image, int(scale))
    return F.adaptive_avg_pool2d(image, (max(1, round(height / scale)), max(1, round(width / scale))))


def up(image: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Bicubic enlargement of [B, C, h, w] to ``size``, a side or (height, width); not clipped."""
    size = (size, size) if isinstance(size, int) else size
    return F.interpolate(image, size, mode="bicubic", align_corners=False)
