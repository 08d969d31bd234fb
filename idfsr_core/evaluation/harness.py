"""Runs every method on every face; each set of figures is written as soon as it is there, so a stop loses little."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import FileFormatError, IDFSRError
from ..images import atomic_path
from .measuring import Instruments, ceilings, measure
from .methods import Method, Toolbox
from .protocol import EvaluationSettings, Subject
from .results import Evaluation, ResultSet, make_folder, read_json, write_json
from .situations import Situation, make_situation

Say = Callable[[str], None]
# Settings that choose what is measured, not how; whom ``least`` leaves out shows in the targets.
_SHAPES_NOTHING = ("scales", "landmarks", "methods", "batch", "least")


@dataclass(kw_only=True)
class Study:
    """A run of the protocol: who, with what, measured how, kept where."""

    settings: EvaluationSettings
    subjects: Sequence[Subject]
    methods: Sequence[Method]
    tools: Toolbox
    instruments: Instruments
    folder: Path
    weights: Mapping[str, str] = field(default_factory=dict)  # hash of the weights by Method.needs
    say: Say = print

    def fingerprint(self, method: Method) -> str:
        """Equal for two runs in which the method gives the same figures.

        A composite does not depend on the denoiser, so its figures stay when only that was trained on.
        """
        values = {k: v for k, v in asdict(self.settings).items() if k not in _SHAPES_NOTHING}
        targets = [subject.case.target for subject in self.subjects]
        text = json.dumps([values, self.weights.get(method.needs, ""), targets], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def run(self, about: dict[str, Any]) -> Evaluation:
        """Measure what is not there yet; give back everything the settings ask for."""
        sets = [*ceilings(self.subjects, self.instruments), *self.sets()]
        return Evaluation(about=about, sets=tuple(sets))

    def sets(self) -> list[ResultSet]:
        """The methods' figures at every scale with every kind of landmarks, without the ceilings."""
        make_folder(self.folder)
        found = []
        for landmarks in self.settings.landmarks:
            for scale in self.settings.scales:
                found += self._block(scale, landmarks)
        return found

    def _block(self, scale: int, landmarks: str) -> list[ResultSet]:
        """All methods at one scale with one kind of landmarks; they share the situations and the conditions."""
        kept = {method.name: self._load(method, f"{method.name}-{scale}x-{landmarks}") for method in self.methods}
        if all(kept.values()):
            self.say(f"{scale}x {landmarks}: kept from before")
            return [each for each in kept.values() if each]
        situations, seconds = self._prepare(scale, landmarks)
        done = [kept[method.name] or self._measure(method, situations, seconds) for method in self.methods]
        self.tools.forget()
        return done

    def _prepare(self, scale: int, landmarks: str) -> tuple[list[Situation], float]:
        """The situations with their conditions, and the seconds that each took."""
        start = time.perf_counter()
        made = []
        for subject in self.subjects:
            self.tools.runtime.check()
            situation = make_situation(subject, scale, landmarks, self.settings, self.tools.analyzer)
            try:
                if situation.face is not None:
                    self.tools.condition(situation)
                if self.tools.known[landmarks][subject.case.number].refused and not situation.failure:
                    situation = replace(situation, failure="references taken for several people")
            except IDFSRError as error:
                situation = replace(situation, face=None, alignment=None, failure=_named(error))
            made.append(situation)
        return made, (time.perf_counter() - start) / len(made)

    def _measure(self, method: Method, situations: Sequence[Situation], prepared: float) -> ResultSet:
        start = time.perf_counter()
        pictures, failures = restore_all(method, situations, self.tools)
        seconds = (time.perf_counter() - start) / len(situations)
        others = self._others() if method.other else ()
        figures, of_set = measure(situations, pictures, self.instruments, others)
        result = ResultSet(
            method=method.name,
            title=method.title,
            scale=situations[0].scale,
            landmarks=situations[0].landmarks,
            cases=tuple(situation.subject.case.number for situation in situations),
            failures=tuple(failures),
            figures=figures,
            of_set=of_set,
            seconds=seconds + (prepared if method.name != "bicubic" else 0.0),
        )
        self._keep(method, result, pictures)
        main = next(iter(self.instruments.encoders))
        mean, error, count = result.mean(f"identity.{main}")
        self.say(f"{result.key}: {main} {mean:.3f} +- {error:.3f} (n {count}), LR-PSNR {result.mean('lr_psnr')[0]:.1f}")
        return result

    def _others(self) -> list[Subject]:
        """Whose identity each face borrows: the next person's."""
        return [*self.subjects[1:], self.subjects[0]]

    def _keep(self, method: Method, result: ResultSet, pictures: Sequence[Tensor]) -> None:
        pixels = (torch.cat(list(pictures)).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        with atomic_path(self.folder / f"{result.key}.npz") as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, pictures=pixels)
        values = {"fingerprint": self.fingerprint(method), "set": result.to_dict()}
        write_json(self.folder / f"{result.key}.json", values)

    def _load(self, method: Method, key: str) -> ResultSet | None:
        """A set of an earlier run with the same fingerprint; None where there is none."""
        path = self.folder / f"{key}.json"
        if not path.is_file():
            return None
        values = read_json(path)
        if not isinstance(values, dict) or values.get("fingerprint") != self.fingerprint(method):
            return None
        try:
            return ResultSet.from_dict(values["set"])
        except (KeyError, TypeError, AttributeError) as error:
            raise FileFormatError(f"results {path}", f"damaged ({error!r})", "remove the file") from error


def restore_all(
    method: Method, situations: Sequence[Situation], tools: Toolbox
) -> tuple[list[Tensor], list[str | None]]:
    """Restore every face, and say what went wrong with which.

    A face in which nothing was found to work on, or whose restoration raises, is scored as the bicubic enlargement.
    """
    pictures = [situation.bicubic() for situation in situations]
    failures = [situation.failure for situation in situations]
    usable = [place for place, situation in enumerate(situations) if situation.face is not None]
    if method.name == "bicubic":  # needs no face
        return pictures, [None] * len(pictures)
    try:
        made = method.restore([situations[place] for place in usable], tools)
        for place, picture in zip(usable, made, strict=True):
            pictures[place] = picture
    except IDFSRError:
        for place in usable:  # one by one, to find whose fault it is
            try:
                pictures[place] = method.restore([situations[place]], tools)[0]
            except IDFSRError as error:
                failures[place] = _named(error)
    return pictures, failures


def _named(error: IDFSRError) -> str:
    return f"{type(error).__name__}: {error.what}: {error.value}"


def load_pictures(folder: Path, key: str) -> np.ndarray:
    """The pictures of a set, [N, 3, 128, 128] uint8."""
    path = folder / f"{key}.npz"
    if not path.is_file():
        raise FileFormatError(f"pictures {path}", "no such file", "run `evaluate` with the same --output first")
    with np.load(path, allow_pickle=False) as stored:
        return stored["pictures"]
