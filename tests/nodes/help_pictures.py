"""The pictures of the help pages, made by the nodes themselves from the sample people who do not exist.

    python -m tests.nodes.help_pictures

Needs no ComfyUI; takes a few minutes on two cores. No words are added: the pages are in two languages. The help panel
is about 280 pixels wide, so there are few columns.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from tests import tiny
from tests.comfy_stand_in import ROOT, StandIn, load_pack
from tests.nodes.running import Pack

IMAGES = ROOT / "nodes" / "web" / "docs" / "images"
SIDE = 192  # height of a row in pixels
GAP = 8
QUALITY = 84
WHO = "ben"


def panel(image: Tensor, height: int = SIDE, *, blocks: bool = False) -> np.ndarray:
    """A picture [H, W, 3] or a mask [H, W] in 0..1 as uint8 of this height; ``blocks`` shows the single pixels."""
    pixels = (image.clamp(0, 1).numpy() * 255).round().astype(np.uint8)
    pixels = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    width = round(pixels.shape[1] * height / pixels.shape[0])
    smaller = height < pixels.shape[0]
    way = cv2.INTER_AREA if smaller else cv2.INTER_NEAREST if blocks else cv2.INTER_CUBIC
    return cv2.resize(pixels, (width, height), interpolation=way)


def row(*panels: np.ndarray) -> np.ndarray:
    """Pictures of one height side by side."""
    gap = np.full((panels[0].shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([part for each in panels for part in (each, gap)][:-1], axis=1)


def column(*rows: np.ndarray) -> np.ndarray:
    """Rows below each other, the narrower ones with white beside them."""
    width = max(each.shape[1] for each in rows)
    gap = np.full((GAP, width, 3), 255, np.uint8)
    wide = [np.pad(each, ((0, 0), (0, width - each.shape[1]), (0, 0)), constant_values=255) for each in rows]
    return np.concatenate([part for each in wide for part in (each, gap)][:-1], axis=0)


def strip(vector: Tensor, height: int = SIDE // 3, width: int = 512) -> np.ndarray:
    """An identity as a band of colours, an entry a stripe: blue below 0, white at 0, red above."""
    values = (vector / vector.abs().max()).numpy()[None, :, None]
    red, blue = np.array([178, 24, 43]), np.array([33, 102, 172])
    colours = 255 - np.abs(values) * (255 - np.where(values > 0, red, blue))
    return cv2.resize(colours.round().astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)


def save(pictures: Mapping[str, np.ndarray]) -> None:
    """Write them, smaller where they are wider than a help page."""
    for name, picture in pictures.items():
        if picture.shape[1] > 800:
            picture = cv2.resize(
                picture, (800, round(picture.shape[0] * 800 / picture.shape[1])), None, 0, 0, cv2.INTER_AREA
            )
        path = IMAGES / f"{name}.jpg"
        cv2.imwrite(str(path), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1])
        print(f"{path.name}: {picture.shape[1]}x{picture.shape[0]} pixels, {path.stat().st_size / 1000:.0f} KB")


def restored(
    pack: Pack, picture: Tensor, references: Tensor, identity: Any, analyzer: Any, model: Any
) -> dict[str, Any]:
    """Everything on the way from a picture to the pasted face, by the names of the outputs."""
    faces, numbered, _ = pack.run("IDFSRDetectFaces", image=picture, analyzer=analyzer)
    how = "like identity" if len(faces.faces[0]) > 1 else "largest"
    face, _ = pack.run("IDFSRSelectFace", faces=faces, identity=identity, how=how)
    crop, alignment, scale = pack.run("IDFSRCropFace", image=picture, face=face)
    masked, mask, _ = pack.run("IDFSRMaskFace", crop=crop, alignment=alignment, face=face)
    warped, coverage, _ = pack.run("IDFSRWarpReference", references=references, face=face, analyzer=analyzer, crop=crop)
    known = {"crop": crop, "alignment": alignment, "mask": mask, "identity": identity}
    result, _ = pack.run("IDFSRRestoreFace", model=model, warped=warped, coverage=coverage, **known)
    pasted, replaced = pack.run("IDFSRPasteFace", image=picture, crop=result, alignment=alignment, mask=mask)
    return {
        **known, "faces": faces, "numbered": numbered, "face": face, "scale": scale, "masked": masked,
        "warped": warped, "coverage": coverage, "restored": result, "pasted": pasted, "replaced": replaced,
    }  # fmt: skip


def boxed(picture: Tensor, face: Any, height: int) -> np.ndarray:
    """The picture [H, W, 3] at this height with a box around a face."""
    page, zoom = panel(picture, height).copy(), height / picture.shape[0]
    x0, y0, x1, y1 = (round(float(value + 0.5) * zoom) for value in face.box)
    cv2.rectangle(page, (x0, y0), (x1, y1), (0, 0, 0), 4)
    cv2.rectangle(page, (x0, y0), (x1, y1), (255, 255, 255), 2)
    return page


def finding(pack: Pack, group: Tensor, portrait: Tensor, analyzer: Any, done: dict[str, Any]) -> dict[str, np.ndarray]:
    """Load Face Analyzer, Detect, Select, Crop, Mask."""
    big = pack.run("IDFSRDetectFaces", image=portrait, analyzer=analyzer)[1]
    chosen = done["face"].faces[0]
    return {
        "load-face-analyzer": row(panel(portrait[0], 256), panel(big[0], 256)),
        "detect-faces": panel(done["numbered"][0], 352),
        "select-face": column(panel(done["numbered"][0], 220), boxed(group[0], chosen, 220)),
        "crop-face": row(boxed(group[0], chosen, SIDE), panel(done["crop"][0])),
    }


def restoring(references: Tensor, small: Tensor, truth: Tensor, done: dict[str, Any]) -> dict[str, np.ndarray]:
    """Load Model, Mask, Warp, Restore, all on the small portrait."""
    pixels, real = panel(small[0, 4:-4, 4:-4], blocks=True), panel(truth[0, 32:-32, 32:-32])
    crop, mask, masked, warped, result = (
        panel(done[name][0]) for name in ("crop", "mask", "masked", "warped", "restored")
    )
    return {
        "load-model": row(pixels, result),
        "mask-face": row(crop, mask, masked),
        "warp-reference": column(row(*(panel(each, 96) for each in references)), row(crop, warped)),
        "restore-face": column(row(masked, warped), row(result, real)),
    }


def pasting(group: Tensor, pasted: Tensor) -> dict[str, np.ndarray]:
    """Paste Face: the heads of the group before and after."""
    zoom = pasted.shape[2] / group.shape[2]
    top, bottom, left, right = 46, 112, 76, 186
    after = pasted[0, round(top * zoom) : round(bottom * zoom), round(left * zoom) : round(right * zoom)]
    return {"paste-face": column(panel(group[0, top:bottom, left:right], 236), panel(after, 236))}


def people(pack: Pack, references: Tensor, done: dict[str, Any], model: Any, analyzer: Any) -> dict[str, np.ndarray]:
    """Encode, Fit, Save, Load, Compare."""
    identity, photos = done["identity"], {"photos_1": references}
    similarities = pack.run("IDFSREncodeIdentity", analyzer=analyzer, references=photos)[1]
    fit = {"model": model, "identity": identity, "photos": photos}
    _, curve, report = pack.run("IDFSRFitIdentity", **fit)
    print(report)
    shown = torch.stack([torch.from_numpy(panel(each, 192)) / 255 for each in (done["crop"][0], done["restored"][0])])
    stranger = pack.run("IDFSRSamplePerson", person="anna")[2]
    both = torch.cat([shown, stranger])
    other = pack.run("IDFSREncodeIdentity", analyzer=analyzer, references={"photos_1": stranger})[0]
    compared, told, picture = pack.run("IDFSRCompareIdentity", identity=identity, other=both, analyzer=analyzer)
    print(compared, told)
    faces = row(*(panel(each, 96) for each in references))
    return {
        "encode-identity": panel(similarities[0], round(similarities.shape[1] * 0.75)),
        "fit-identity": panel(curve[0], round(curve.shape[1] * 0.75)),
        "save-identity": column(faces, strip(identity.vector, width=faces.shape[1])),
        "load-identity": column(strip(identity.vector), strip(other.vector)),
        "compare-identity": panel(picture[0], picture.shape[1]),
    }


def measuring(pack: Pack, truth: Tensor, analyzer: Any, model: Any, references: Tensor, identity: Any) -> dict:
    """Degrade, Evaluate."""
    bad = pack.run("IDFSRDegradeFace", image=truth)[0]
    jpeg = pack.run("IDFSRDegradeFace", image=truth, scale=8.0, blur=0.5, noise=6.0, jpeg=60)[0]
    done = restored(pack, bad, references, identity, analyzer, model)
    sheet = pack.run("IDFSREvaluate", result=done["pasted"], ground_truth=truth, lr=bad, analyzer=analyzer)
    print(sheet[0])
    return {
        "degrade-face": row(panel(truth[0]), panel(bad[0], blocks=True), panel(jpeg[0], blocks=True)),
        "evaluate": panel(sheet[1][0], sheet[1].shape[1]),
    }


def main() -> None:
    """Make and write them all."""
    stand_in, base = StandIn(), Path(tempfile.mkdtemp())
    stand_in.folders.reset(base)
    stand_in.install()
    package, nodes = load_pack()
    pack = Pack(stand_in, package, nodes, tiny.write_bundle(base / "tiny.safetensors"), base)
    model = pack.run("IDFSRLoadModel")[0]
    analyzer = pack.run("IDFSRLoadFaceAnalyzer", model=model)[0]
    references, group, truth = pack.run("IDFSRSamplePerson", person=WHO, picture="group")
    identity = pack.run("IDFSREncodeIdentity", analyzer=analyzer, references={"photos_1": references})[0]
    done = restored(pack, group, references, identity, analyzer, model)
    small = pack.run("IDFSRSamplePerson", person=WHO)[1]
    near = restored(pack, small, references, identity, analyzer, model)
    photos = row(*(panel(each, 128) for each in references))
    pictures = row(panel(small[0], 128, blocks=True), panel(group[0], 128), panel(truth[0], 128))
    save({"sample-person": column(photos, pictures)})
    save(finding(pack, group, truth, analyzer, done))
    save(restoring(references, small, truth, near))
    save(pasting(group, done["pasted"]))
    save(measuring(pack, truth, analyzer, model, references, identity))
    save(people(pack, references, near, model, analyzer))


if __name__ == "__main__":
    main()
