"""The ways of restoring that are compared, each a function from situations to pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..diffusion.composite import composite
from ..diffusion.conditioning import Conditioning
from ..diffusion.sampling import SamplingSettings, sample
from ..errors import ArgumentError
from ..options import RestoreOptions
from ..runtime import Runtime
from ..steps import judge_for, steered
from .protocol import EvaluationSettings
from .situations import Known, Situation

if TYPE_CHECKING:
    from ..diffusion.denoiser import Denoiser
    from ..diffusion.judge import Judge
    from ..faces.analyzer import FaceAnalyzer
    from ..identity.embedding import IdentityEmbedding

Conditions = Callable[[Situation], Conditioning]


@dataclass(kw_only=True)
class Toolbox:
    """What methods work with: networks, and what is known of the people. Conditions are made once and kept."""

    settings: EvaluationSettings
    runtime: Runtime
    denoiser: Denoiser | None
    analyzer: FaceAnalyzer | None  # None only where all landmarks are true ones
    judge: Judge | None = None  # what our denoiser and the steering go by
    paper: Denoiser | None = None
    known: dict[str, list[Known]] = field(default_factory=dict)  # by kind of landmarks, in the order of the cases
    paper_known: dict[str, list[Known]] = field(default_factory=dict)  # the same by the paper form's own encoder
    fitted: dict[int, IdentityEmbedding] = field(default_factory=dict)  # by number of the case
    _kept: dict[tuple, Conditioning] = field(default_factory=dict)

    def condition(self, situation: Situation) -> Conditioning:
        """Conditions with all of the person's references and their pooled identity."""
        number = situation.subject.case.number
        known = self.known[situation.landmarks][number]
        return self._keep(("all", number, situation.scale, situation.landmarks), situation, known)

    def condition_unmerged(self, situation: Situation) -> Conditioning:
        """The same with the best reference as it is, for what is compared with ours."""
        number = situation.subject.case.number
        known = self.known[situation.landmarks][number]
        return self._keep(("unmerged", number, situation.scale, situation.landmarks), situation, known, merge=0)

    def condition_alone(self, situation: Situation) -> Conditioning:
        """The same with the random reference alone."""
        number = situation.subject.case.number
        one = self.known[situation.landmarks][number].alone()
        return self._keep(("one", number, situation.scale, situation.landmarks), situation, one)

    def _keep(self, key: tuple, situation: Situation, known: Known, **changed: float) -> Conditioning:
        if key not in self._kept:
            options = replace(self.settings.options, **changed)
            self._kept[key] = situation.condition(known, options, self.analyzer)
        return self._kept[key]

    def forget(self) -> None:
        """Drop the kept conditions."""
        self._kept.clear()

    def other(self, situation: Situation) -> Known:
        """The person whose identity is borrowed: the next case."""
        known = self.known[situation.landmarks]
        return known[(situation.subject.case.number + 1) % len(known)]


@dataclass(frozen=True, kw_only=True)
class Method:
    """One row of the tables."""

    name: str
    title: str
    restore: Callable[[Sequence[Situation], Toolbox], list[Tensor]]  # crops [1, 3, S, S], one per situation
    needs: str = ""  # "", "denoiser", "paper" or "fitted"
    other: bool = False  # the result is also compared with the person whose identity was borrowed


def _bicubic(situations: Sequence[Situation], tools: Toolbox) -> list[Tensor]:
    return [situation.bicubic() for situation in situations]


def _composite(conditions: Conditions, situations: Sequence[Situation], tools: Toolbox) -> list[Tensor]:
    made = [conditions(situation) for situation in situations]
    return [situation.to_truth(composite(cond), cond.mask) for situation, cond in zip(situations, made, strict=True)]


def _composite_random(situations: Sequence[Situation], tools: Toolbox) -> list[Tensor]:
    return _composite(tools.condition_alone, situations, tools)


def _composite_best(situations: Sequence[Situation], tools: Toolbox) -> list[Tensor]:
    return _composite(tools.condition_unmerged, situations, tools)


def _pooled(situations: Sequence[Situation], tools: Toolbox) -> list[Tensor]:
    return _ours(tools.condition, situations, tools)


def _one_reference(situations: Sequence[Situation], tools: Toolbox) -> list[Tensor]:
    return _ours(tools.condition_alone, situations, tools, photos=1)


def _fitted(situations: Sequence[Situation], tools: Toolbox) -> list[Tensor]:
    def fitted(situation: Situation) -> Conditioning:
        number = situation.subject.case.number
        known = replace(tools.known[situation.landmarks][number], identity=tools.fitted[number])
        return known.seen_in(tools.condition(situation), tools.settings.options)

    return _ours(fitted, situations, tools)


def _other_vector(situations: Sequence[Situation], tools: Toolbox) -> list[Tensor]:
    def swapped(situation: Situation) -> Conditioning:
        return tools.other(situation).seen_in(tools.condition(situation), tools.settings.options)

    return _ours(swapped, situations, tools)


def _other_person(situations: Sequence[Situation], tools: Toolbox) -> list[Tensor]:
    def borrowed(situation: Situation) -> Conditioning:
        other = tools.other(situation)
        return situation.condition(other, tools.settings.options, tools.analyzer).without_style()

    return _ours(borrowed, situations, tools)


def _no_identity(situations: Sequence[Situation], tools: Toolbox) -> list[Tensor]:
    return _ours(lambda situation: tools.condition(situation).without_identity(), situations, tools)


def _ours(
    conditions: Conditions, situations: Sequence[Situation], tools: Toolbox, photos: int | None = None
) -> list[Tensor]:
    """Restored as for a user, from the conditions and an identity of so many photos (None: of all)."""
    judge = judge_for(photos or tools.settings.references, tools.judge)
    return _diffuse(conditions, situations, tools, tools.denoiser, tools.settings.options, judge)


def _paper(situations: Sequence[Situation], tools: Toolbox) -> list[Tensor]:
    def paper(situation: Situation) -> Conditioning:
        known = tools.paper_known[situation.landmarks][situation.subject.case.number]
        return known.seen_in(tools.condition_unmerged(situation), tools.settings.options)

    options = replace(tools.settings.options, steps=tools.settings.paper_steps)
    return _diffuse(paper, situations, tools, tools.paper, options, None)


def _diffuse(
    conditions: Conditions,
    situations: Sequence[Situation],
    tools: Toolbox,
    denoiser: Denoiser | None,
    options: RestoreOptions,
    judge: Judge | None,
) -> list[Tensor]:
    """Restore in batches of faces with LR pixels of one size; every face keeps its place."""
    assert denoiser is not None
    made = [conditions(situation) for situation in situations]
    crops: dict[int, Tensor] = {}
    for size in sorted({cond.lr.shape[-1] for cond in made}):
        places = [place for place, cond in enumerate(made) if cond.lr.shape[-1] == size]
        for start in range(0, len(places), tools.settings.batch):
            batch = places[start : start + tools.settings.batch]
            cond = join([made[place] for place in batch]).to(tools.runtime.device)
            with torch.inference_mode():
                out = sample(denoiser, cond, _sampling(tools, options, situations[batch[0]]), tools.runtime, judge)
            out = steered(out, cond, options, judge, tools.runtime)
            crops.update(zip(batch, out.cpu().split(1), strict=True))
    return [situation.to_truth(crops[place], made[place].mask) for place, situation in enumerate(situations)]


def _sampling(tools: Toolbox, options: RestoreOptions, first: Situation) -> SamplingSettings:
    """The options' sampling; the noise of a face depends on the seed and on the number of the batch's first case."""
    return SamplingSettings(
        steps=options.steps,
        style_guidance=options.style_guidance,
        identity_guidance=options.identity_guidance,
        consistency=options.consistency,
        scheduler=options.scheduler,
        seed=tools.settings.seed * 100_003 + first.subject.case.number,
    )


def join(conditions: Sequence[Conditioning]) -> Conditioning:
    """Several conditions with LR pixels of one size as one batch; places without a reference are marked so."""
    places = max(cond.references.shape[1] for cond in conditions)

    def stack(name: str, padded: bool) -> Tensor:
        values = [getattr(cond, name) for cond in conditions]
        if padded:
            values = [torch.cat([v, v.new_zeros(v.shape[0], places - v.shape[1], *v.shape[2:])], 1) for v in values]
        return torch.cat(values)

    of_references = ("references", "reference_coverage", "reference_valid")
    names = ("lr", "mask", "style", "style_coverage", "identity")
    return Conditioning(**{n: stack(n, False) for n in names}, **{n: stack(n, True) for n in of_references})


def _table(*methods: Method) -> dict[str, Method]:
    return {method.name: method for method in methods}


METHODS = _table(
    Method(name="bicubic", title="LR, bicubic", restore=_bicubic),
    Method(name="composite_random", title="composite, random reference", restore=_composite_random),
    Method(name="composite_best", title="composite, best reference", restore=_composite_best),
    Method(name="pooled", title="**ours, pooled identity**", restore=_pooled, needs="denoiser"),
    Method(name="fitted", title="**ours, fitted identity**", restore=_fitted, needs="fitted"),
    Method(name="one_reference", title="ours, one reference only", restore=_one_reference, needs="denoiser"),
    Method(
        name="other_vector",
        title="ours, another person's vector, own photos",
        restore=_other_vector,
        needs="denoiser",
        other=True,
    ),
    Method(
        name="other_person",
        title="ours, another person's vector and photos, no style",
        restore=_other_person,
        needs="denoiser",
        other=True,
    ),
    Method(
        name="no_identity", title="ours, style photo only, no vector or photos", restore=_no_identity, needs="denoiser"
    ),
    Method(name="paper", title="the paper's form (from noise, the face masked out)", restore=_paper, needs="paper"),
)


_REMEDIES = {
    "denoiser": "name a bundle with a denoiser by --bundle",
    "paper": "name a bundle with the paper's form by --paper",
    "fitted": "add --fit",
}


def chosen(names: Sequence[str], available: Sequence[str]) -> list[Method]:
    """The methods of these names; with none named, all that the ``available`` needs allow.

    Raises:
        ArgumentError: an unknown name, or one whose network is not there.
    """
    for name in names:
        if name not in METHODS:
            raise ArgumentError("--methods", name, f"use some of {', '.join(METHODS)}")
        needs = METHODS[name].needs
        if needs and needs not in available:
            raise ArgumentError("--methods", name, _REMEDIES[needs])
    return [method for method in METHODS.values() if (method.name in names if names else _possible(method, available))]


def _possible(method: Method, available: Sequence[str]) -> bool:
    return not method.needs or method.needs in available
