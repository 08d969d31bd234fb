"""Measures what a study's file asks for; every row keeps its figures in a folder of its own, so a stop loses little."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..bundle import Bundle
from ..errors import ArgumentError
from ..fitting import FittingSettings
from ..runtime import Runtime
from .harness import Study
from .london import read_london, smiling_from_neutral
from .opening import ENCODER_PATHS, Material, Sources, open_instruments, open_material, open_study
from .protocol import EvaluationSettings
from .results import ResultSet
from .spread import spread_set
from .study_plan import StudyPlan, baseline_of
from .study_report import StudyReport, StudyRow
from .trained_runs import TrainedRun, read_runs

if TYPE_CHECKING:
    from ..faces.analyzer import FaceAnalyzer
    from ..identity.encoders import IdentityEncoder


@dataclass(kw_only=True)
class Workplace:
    """What all studies of one command share."""

    bundle: Bundle
    sources: Sources
    folder: Path  # figures and pictures of every row
    runtime: Runtime
    base: EvaluationSettings = field(default_factory=EvaluationSettings)  # seed, batch, degradation, encoders, options
    analyzer: FaceAnalyzer | None = None  # None: the bundle's
    encoder: IdentityEncoder | None = None  # the same
    runs: Path | None = None  # folder of trainings
    say: Callable[[str], None] = print
    materials: dict[str, Material] = field(default_factory=dict)  # photos opened so far, by archive

    def material(self, archive: str) -> Material:
        """The photos of an archive, opened once."""
        if archive not in self.materials:
            opened = open_material if archive == "faces" else open_london
            self.materials[archive] = opened(self.base, self.sources, self.runtime)
        return self.materials[archive]

    def trained(self, plan: StudyPlan) -> dict[str, TrainedRun]:
        """The trainings that the study compares, by name; none where it compares none."""
        if not plan.of_runs:
            return {}
        if self.runs is None:
            raise ArgumentError("--runs", "not given", f"name the folder of the trainings that {plan.name} compares")
        return {run.name: run for run in read_runs(self.runs, self.runtime.device)}


def open_london(settings: EvaluationSettings, sources: Sources, runtime: Runtime) -> Material:
    """The London set beside the archive, its keypoints from the measuring pack."""
    from ..faces.insight import InsightFaceAnalyzer

    finder = InsightFaceAnalyzer(sources.weights / ENCODER_PATHS["edge_xs"], runtime)
    return Material(
        library=read_london(sources.faces.parent / "london", finder),
        instruments=open_instruments(settings, sources, runtime),
        choose=smiling_from_neutral,
    )


def run_study(plan: StudyPlan, place: Workplace, about: Mapping[str, Any]) -> StudyReport:
    """Measure what is not there yet; give back the whole table.

    Args:
        plan: the study.
        place: photos, networks, folder.
        about: command, bundle and the like, for the head; what the plan says comes before it.

    Raises:
        ArgumentError: the study needs something that was not given.
    """
    material, trained = place.material(plan.archive), place.trained(plan)
    rows = plan.rows(list(trained))
    measured: list[tuple[Study, list[ResultSet]]] = []
    for values in rows:
        place.say(f"{plan.name}: {', '.join(f'{name} {value}' for name, value in values.items())}")
        study = _study(plan, values, place, material, trained)
        measured.append((study, study.sets()))
    first = measured[0][0]
    return StudyReport(
        about=_about(plan, place, first) | dict(about),
        rows=tuple(
            StudyRow(values=values, baseline=base, sets=tuple(sets), told=_told(values, trained))
            for values, base, (_, sets) in zip(rows, baseline_of(plan, rows), measured, strict=True)
        ),
        spread=_spread([study for study, _ in measured], measured[0][1]) if plan.spread else (),
        holds=plan.holds,
    )


def _study(
    plan: StudyPlan, values: dict[str, Any], place: Workplace, material: Material, trained: Mapping[str, TrainedRun]
) -> Study:
    """One row: the protocol with its values."""
    own = place.bundle
    steps = values.get("fit_steps", 0)
    return open_study(
        plan.settings(values, place.base),
        material,
        place.folder / plan.name / folder_name(values),
        place.runtime,
        bundle=trained[values["run"]].bundle if trained else own,
        analyzer=place.analyzer or (own.analyzer if "analyzer" in own.parts else None),
        encoder=place.encoder or (own.encoder if "encoder" in own.parts else None),
        fitting=FittingSettings(steps=steps, seed=place.base.seed) if steps else None,
        say=lambda line: place.say(f"  {line}"),
    )


def folder_name(values: Mapping[str, Any]) -> str:
    """A row's folder: its values as far as a file's name can show them, and a hash that tells all rows apart."""
    text = json.dumps(values, sort_keys=True)
    shown = "-".join(str(value) for value in values.values())
    safe = "".join(letter if letter.isalnum() or letter in "-._" else "_" for letter in shown)[:60]
    return f"{safe}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def _told(values: Mapping[str, Any], trained: Mapping[str, TrainedRun]) -> dict[str, Any]:
    return trained[values["run"]].told() if trained else {}


def _spread(studies: Sequence[Study], sets: Sequence[ResultSet]) -> tuple[ResultSet, ...]:
    """How alike the rows' results of one person are, for each of the first row's sets."""
    first, folders = studies[0], [study.folder for study in studies]
    return tuple(spread_set(folders, each, first.subjects, first.instruments) for each in sets)


def _about(plan: StudyPlan, place: Workplace, study: Study) -> dict[str, Any]:
    """What the study is, whom it measured, and what is the same in every row."""
    people = f"{len(study.subjects)}"
    if plan.archive == "faces":
        people += f", each with {1 + plan.most_references} photos or more"
    fixed = {"method": plan.method, "references": plan.references}
    shown = {name: value for name, value in fixed.items() if name not in plan.vary}
    options = asdict(replace(place.base.options, **plan.options))
    options = {name: value for name, value in options.items() if name not in plan.vary}
    return {"study": f"{plan.name}: {plan.about}", "people": people, **shown, "options": json.dumps(options)}
