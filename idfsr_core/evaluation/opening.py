"""Opens what a run needs: the photos of people never seen, the measuring models, the bundles."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..bundle import Bundle
from ..diffusion.judge import Judge, judge_by
from ..errors import ArgumentError, MissingPackageError
from ..faces.compact import CompactAnalyzer
from ..fitting import FittingSettings
from ..identity.compact import CompactEncoder
from ..identity.hashing import weights_hash
from ..runtime import Runtime
from .fit_people import fit_people
from .harness import Study
from .measuring import Instruments
from .methods import Toolbox, chosen
from .protocol import Case, EvaluationSettings, Photo, PhotoReader, choose_cases, load_subjects
from .situations import SIZE, Known, know_person

if TYPE_CHECKING:
    from ..faces.analyzer import FaceAnalyzer
    from ..identity.encoders import IdentityEncoder
    from ..pretraining.data import FaceLibrary
    from .protocol import Subject

# Where each encoder lies in the folder of shared models.
ENCODER_PATHS = {
    "mbf_y1": "insightface/models/mbf_y1",
    "edge_xs": "insightface/models/edge_xs",
    "mobileface_v2": "mobileface_v2.onnx",
}
LANDMARK_MODEL = "pfld_68.onnx"


def shared_folder() -> Path:
    """The folder with research photos and models: ``IDFSR_SHARED``, or ``../shared`` beside the project."""
    return Path(os.environ.get("IDFSR_SHARED", Path(__file__).resolve().parents[3] / "shared"))


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where photos and models come from."""

    faces: Path  # folder with index.jsonl and tar files
    weights: Path  # folder with the measuring models
    split: str = "val"

    @staticmethod
    def shared(folder: Path | None = None) -> Sources:
        """The folders of the shared material."""
        folder = folder or shared_folder()
        return Sources(faces=folder / "data" / "faces", weights=folder / "weights")


def open_encoders(names: Sequence[str], weights: Path, runtime: Runtime) -> dict[str, IdentityEncoder]:
    """The measuring encoders: names of :data:`ENCODER_PATHS`, or paths of a model pack or ONNX file."""
    from ..identity.encoders import open_encoder

    found = {}
    for name in names:
        path = weights / ENCODER_PATHS[name] if name in ENCODER_PATHS else Path(name)
        if not path.exists():
            known = ", ".join(ENCODER_PATHS)
            raise MissingPackageError(f"encoder {name}", f"nothing at {path}", f"use {known} or the path of a model")
        found[name if name in ENCODER_PATHS else path.stem] = open_encoder(path, runtime=runtime)
    return found


def open_instruments(settings: EvaluationSettings, sources: Sources, runtime: Runtime) -> Instruments:
    """Encoders and landmark model; none of them takes part in a restoration."""
    from ..faces.dense_onnx import DenseLandmarkModel

    landmarks = DenseLandmarkModel(sources.weights / LANDMARK_MODEL)
    return Instruments(encoders=open_encoders(settings.encoders, sources.weights, runtime), landmarks=landmarks)


@dataclass(kw_only=True)
class Material:
    """Photos and instruments, opened once for any number of runs; what was seen in a photo is kept."""

    library: FaceLibrary
    instruments: Instruments
    choose: Callable[[FaceLibrary, EvaluationSettings], list[Case]] = choose_cases
    photos: PhotoReader = field(init=False)
    _known: dict[tuple, Known] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.photos = PhotoReader(library=self.library, landmarks=self.instruments.landmarks)

    def subjects(self, settings: EvaluationSettings, further: int = 0) -> list[Subject]:
        """The people that the settings ask for, with ``further`` photos beyond the references."""
        return load_subjects(self.photos, self.choose(self.library, settings), further)

    def known(
        self, photos: tuple[Photo, ...], landmarks: str, encoder: IdentityEncoder, analyzer: FaceAnalyzer | None
    ) -> Known:
        """See :func:`know_person`."""
        key = (tuple(map(id, photos)), landmarks, encoder.hash, id(analyzer))
        if key not in self._known:
            self._known[key] = know_person(photos, landmarks, encoder, analyzer)
        return self._known[key]


def open_material(settings: EvaluationSettings, sources: Sources, runtime: Runtime) -> Material:
    """The people of the archive and the measuring models."""
    from ..pretraining.data import read_archive

    instruments = open_instruments(settings, sources, runtime)
    return Material(library=read_archive(sources.faces, sources.split), instruments=instruments)


def open_study(
    settings: EvaluationSettings,
    material: Material | Sources,
    folder: Path,
    runtime: Runtime,
    *,
    bundle: Bundle,
    analyzer: FaceAnalyzer | None = None,
    encoder: IdentityEncoder | None = None,
    paper: Bundle | None = None,
    paper_encoder: IdentityEncoder | None = None,
    fitting: FittingSettings | None = None,
    say: Callable[[str], None] = print,
) -> Study:
    """Everything for a run.

    Args:
        settings: the protocol.
        material: photos and measuring models, or where they lie.
        folder: where figures, pictures and fitted identities are kept.
        runtime: device and precision.
        bundle: ours; one without a denoiser gives the composites only.
        analyzer: finds faces; None takes the bundle's.
        encoder: makes the identity that the denoiser reads; None takes the bundle's.
        paper: a bundle with the paper's form of the denoiser.
        paper_encoder: the same for the paper's form; None takes that bundle's, or else ``encoder``.
        fitting: how to fit identities; None leaves the fitted method out.
        say: told about every set as it is done.

    Raises:
        ArgumentError: a bundle whose denoiser works at another size than the measured crop.
    """
    _check_size(bundle, paper)
    methods = chosen(settings.methods, _available(bundle, paper, fitting))
    if isinstance(material, Sources):
        material = open_material(settings, material, runtime)
    instruments = material.instruments
    further = max(settings.fit_photos - settings.references, 0) if fitting else 0
    subjects = material.subjects(settings, further)
    if analyzer is None and ("found" in settings.landmarks or "analyzer" in bundle.parts):
        analyzer = bundle.analyzer
    encoder = encoder or (bundle.encoder if "encoder" in bundle.parts else next(iter(instruments.encoders.values())))
    tools = Toolbox(
        settings=settings,
        runtime=runtime,
        denoiser=bundle.denoiser if "denoiser" in bundle.parts else None,
        analyzer=analyzer,
        judge=_judge(encoder, analyzer),
        paper=paper.denoiser if paper else None,
        known=_known(material, subjects, settings, encoder, analyzer),
    )
    if paper:
        reader = paper_encoder or (paper.encoder if "encoder" in paper.parts else encoder)
        tools.paper_known = tools.known if reader is encoder else _known(material, subjects, settings, reader, analyzer)
    weights = _weights(bundle, paper, encoder, analyzer, fitting)
    if fitting and any(method.needs == "fitted" for method in methods):
        kind = settings.landmarks[0]
        people = [material.known((*s.references, *s.further), kind, encoder, analyzer) for s in subjects]
        chosen_by = (settings.seed, settings.references, settings.fit_photos, settings.least, settings.draw)
        place = folder / f"fitted-{weights['fitted']}-{'-'.join(map(str, chosen_by))}"
        identities, _ = fit_people(bundle.denoiser, encoder, people, place, fitting, runtime, say)
        tools.fitted = dict(enumerate(identities))
    return Study(
        settings=settings,
        subjects=subjects,
        methods=methods,
        tools=tools,
        instruments=instruments,
        folder=folder,
        weights=weights,
        say=say,
    )


def _judge(encoder: IdentityEncoder, analyzer: FaceAnalyzer | None) -> Judge | None:
    """Who judges our results; None where a gradient cannot be taken through these two."""
    if isinstance(encoder, CompactEncoder) and isinstance(analyzer, CompactAnalyzer):
        return judge_by(encoder, analyzer)
    return None


def _check_size(*bundles: Bundle | None) -> None:
    """Raise ArgumentError for a denoiser that works at another size than the measured crop."""
    for each in bundles:
        if each and "denoiser" in each.parts and each.face_size != SIZE:
            value, remedy = f"works at {each.face_size} px", f"measure a model of {SIZE} px, as the archive is"
            raise ArgumentError(f"bundle {each.path.name}", value, remedy)


def _available(bundle: Bundle, paper: Bundle | None, fitting: FittingSettings | None) -> list[str]:
    """What the methods may need and is there."""
    ours = "denoiser" in bundle.parts
    if not ours and fitting:
        raise ArgumentError("--fit", "a bundle without a denoiser", "name a bundle that holds one")
    return ["denoiser"] * ours + ["paper"] * (paper is not None) + ["fitted"] * (fitting is not None)


def _known(
    material: Material,
    subjects: Sequence[Subject],
    settings: EvaluationSettings,
    encoder: IdentityEncoder,
    analyzer: FaceAnalyzer | None,
) -> dict[str, list[Known]]:
    return {
        kind: [material.known(subject.references, kind, encoder, analyzer) for subject in subjects]
        for kind in settings.landmarks
    }


def _weights(
    bundle: Bundle,
    paper: Bundle | None,
    encoder: IdentityEncoder,
    analyzer: FaceAnalyzer | None,
    fitting: FittingSettings | None,
) -> dict[str, str]:
    """A short name of all that a method's figures depend on, by :attr:`Method.needs`."""
    finder = weights_hash(analyzer.networks.state_dict()) if isinstance(analyzer, CompactAnalyzer) else analyzer
    base = [finder if isinstance(finder, str) or finder is None else finder.name, encoder.hash]
    ours = [*base, bundle.hash]
    lists = {
        "": base,
        "denoiser": ours,
        "fitted": [*ours, asdict(fitting) if fitting else ""],
        "paper": [*ours, paper.hash if paper else ""],
    }
    return {name: _short(values) for name, values in lists.items()}


def _short(values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
