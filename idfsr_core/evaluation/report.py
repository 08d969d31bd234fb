"""Tables in Markdown from the figures of a run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..images import atomic_path
from .protocol import USED_IN_TRAINING
from .results import Evaluation, ResultSet, share

_COLUMNS = (  # figure, heading, digits
    ("lr_psnr", "LR-PSNR, dB", 1),
    ("psnr", "PSNR, dB", 1),
    ("ssim", "SSIM", 3),
    ("landmark_error", "landmark error", 3),
    ("grid", "grid", 2),
)


def markdown(evaluation: Evaluation) -> str:
    """The whole report: how it was made, one table per scale and kind of landmarks, ceilings, failures."""
    return "\n".join([*head_lines(evaluation.about), *_tables(evaluation), *_borrowed(evaluation), *_legend()]) + "\n"


def save_markdown(evaluation: Evaluation, path: Path) -> None:
    """Write :func:`markdown` to a file, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(markdown(evaluation), encoding="utf-8")


def head_lines(about: Mapping[str, Any]) -> Iterator[str]:
    """How the figures came about, a point for each plain value, above a table."""
    for name, value in about.items():
        if isinstance(value, (str, int, float)) and value != "":
            yield f"- {name}: {value}"
    yield ""


def _tables(evaluation: Evaluation) -> Iterator[str]:
    encoders = encoders_of(evaluation.sets)
    blocks = sorted({(each.landmarks, each.scale) for each in evaluation.sets if each.scale})
    for landmarks, scale in blocks:  # "found" comes before "true": the honest figure first
        sets = [each for each in evaluation.sets if (each.landmarks, each.scale) == (landmarks, scale)]
        off = sets[-1].mean("found_error")[0]
        used = (
            f"; those used are off by {off:.3f} eye distances" if landmarks == "found" and not math.isnan(off) else ""
        )
        yield f"**{scale}x, landmarks {_LANDMARK_WORDS[landmarks]}** (n = {len(sets[0].cases)}{used})"
        yield ""
        yield from _rows(sets, encoders)
        yield ""
    limits = [each for each in evaluation.sets if not each.scale]
    if limits:
        yield f"**Ceilings: genuine photos** (n = {len(limits[0].cases)})"
        yield ""
        yield line(["", *(f"identity, {marked(name)}" for name in encoders)])
        yield line(["---"] * (1 + len(encoders)))
        for each in limits:
            yield line([each.title, *(cell(each, f"identity.{name}", 3, True) for name in encoders)])
        yield ""


_LANDMARK_WORDS = {"found": "found in the LR picture", "true": "true"}


def _rows(sets: Sequence[ResultSet], encoders: Sequence[str]) -> Iterator[str]:
    headings = [*(f"identity, {marked(name)}" for name in encoders), *(heading for _, heading, _ in _COLUMNS)]
    yield line(["", *headings, "face FID", "s per face", "failed"])
    yield line(["---"] * (4 + len(headings)))
    for each in sets:
        cells = [cell(each, f"identity.{name}", 3, True) for name in encoders]
        cells += [cell(each, name, digits, False) for name, _, digits in _COLUMNS]
        distance = each.of_set.get(f"frechet.{encoders[0]}", math.nan) if encoders else math.nan
        yield line([each.title, *cells, number(distance, 3), number(each.seconds, 2), str(each.failed)])


def _borrowed(evaluation: Evaluation) -> Iterator[str]:
    """Where another person's identity was put in: whom the result is like."""
    sets = [each for each in evaluation.sets if any(name.startswith("other.") for name in each.figures)]
    if not sets:
        return
    encoders = encoders_of(evaluation.sets)
    yield "**Another person's identity put in**: similarity to the person in the LR picture / to the other person /"
    yield "share of faces closer to the other person"
    yield ""
    yield line(["", "scale", "landmarks", *(marked(name) for name in encoders)])
    yield line(["---"] * (3 + len(encoders)))
    for each in sets:
        cells = [_borrowed_cell(each, name) for name in encoders]
        yield line([each.title, f"{each.scale}x", each.landmarks, *cells])
    yield ""


def _borrowed_cell(each: ResultSet, encoder: str) -> str:
    own, other = each.figures[f"identity.{encoder}"], each.figures[f"other.{encoder}"]
    closer = share([b > a for a, b in zip(own, other, strict=True)])
    return f"{each.mean(f'identity.{encoder}')[0]:.3f} / {each.mean(f'other.{encoder}')[0]:.3f} / {closer:.0%}"


def _legend() -> Iterator[str]:
    yield from _LEGEND.splitlines()


_LEGEND = """\
Figures are means over all faces, those of failures too; ± is the standard error of the mean. A face that was not
found is restored inside a box drawn by hand (off by a tenth of its width) and counted under *failed*, as is one found
in a wrong place; a face whose restoration breaks off is scored as the bicubic enlargement. Faces are embedded at the
true keypoints. † the encoder helped in training. Landmark error: of the result's landmarks against the truth's, both
read by a model for good photos, in eye distances. Grid: power at the period of the patches over that beside it; real
photos have about 1.3, above 2 it begins to show. Face FID: Fréchet distance of embeddings by the first encoder,
covariances shrunk by a tenth; with so few faces only comparable within a table."""


def side_by_side(evaluations: Mapping[str, Evaluation]) -> str:
    """Several runs in one table, a row per run, method and kind of landmarks; and below it how each run was made.

    Shows the identity similarity by each run's first encoder at every scale, and LR-PSNR.
    """
    scales = sorted({each.scale for run in evaluations.values() for each in run.sets if each.scale})
    heads = [f"identity, {scale}x" for scale in scales] + [f"LR-PSNR, {scale}x" for scale in scales]
    lines = [line(["run", "method", "landmarks", "n", *heads]), line(["---"] * (4 + len(heads)))]
    for name, run in evaluations.items():
        main = encoders_of(run.sets)[0]
        for method, landmarks in dict.fromkeys((each.method, each.landmarks) for each in run.sets if each.scale):
            sets = [run.get(method, scale, landmarks) for scale in scales]
            first = next(each for each in sets if each)
            cells = [cell(each, f"identity.{main}", 3, True) if each else "–" for each in sets]
            cells += [cell(each, "lr_psnr", 1, False) if each else "–" for each in sets]
            lines.append(line([name, first.title, landmarks, str(len(first.cases)), *cells]))
    lines.append("")
    for name, run in evaluations.items():
        lines.append(f"- {name}: `{run.about.get('command', 'not said')}`; training: {run.about.get('training', '–')}")
    return "\n".join(lines)


def encoders_of(sets: Sequence[ResultSet]) -> list[str]:
    """Names of the encoders that measured, in their order."""
    names: dict[str, None] = {}
    for each in sets:
        names |= dict.fromkeys(n.removeprefix("identity.") for n in each.figures if n.startswith("identity."))
    return list(names)


def marked(encoder: str) -> str:
    """The name, with a sign where the encoder helped in training."""
    return f"{encoder}†" if encoder in USED_IN_TRAINING else encoder


def cell(each: ResultSet, name: str, digits: int, error: bool) -> str:
    """The mean of a figure, with its standard error if asked for."""
    mean, deviation, _ = each.mean(name)
    return number(mean, digits) + (f" ± {number(deviation, digits)}" if error else "")


def number(value: float, digits: int) -> str:
    """A figure, or a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def line(cells: Sequence[str]) -> str:
    """One line of a table."""
    return "| " + " | ".join(cells) + " |"
