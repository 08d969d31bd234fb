"""Who somebody is, as a vector and as a file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from ..errors import ArgumentError, EncoderMismatchError, FileFormatError
from ..images import atomic_path
from .glimpse import SmallViews

KINDS = ("single", "pooled", "fitted")
_FORMAT = "idfsr-identity"
_VERSION = 1
_REMEDY = "encode or fit the photos of the person again"
_UNIT_TOLERANCE = 1e-3


class EncoderId(Protocol):
    """What tells encoders apart."""

    @property
    def name(self) -> str: ...
    @property
    def hash(self) -> str: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class IdentityEmbedding:
    """One person as one encoder sees them.

    A file holds the same fields: the vectors as tensors, the others in the metadata.
    """

    vector: Tensor  # [D] float32 on the CPU; unit norm unless fitted
    encoder: str  # name of the encoder that made it
    encoder_hash: str  # hash of that encoder's weights
    photos: int  # how many photos went in
    kind: str  # "single" (one photo), "pooled" (several) or "fitted" (optimised)
    created_by: str = "idfsr"  # program and version that made it
    small: SmallViews | None = None  # how the photos look when made small; None: not known, as in older files

    def __post_init__(self) -> None:
        vector = torch.as_tensor(self.vector).detach().to("cpu", torch.float32).clone()
        object.__setattr__(self, "vector", vector)
        if vector.ndim != 1 or len(vector) < 2:
            raise ArgumentError("identity vector", f"shape {tuple(vector.shape)}", "give a vector [D] with D > 1")
        norm = float(vector.norm())
        if not bool(vector.isfinite().all()) or norm == 0:
            raise ArgumentError("identity vector", "not finite or zero", "leave out photos that cannot be embedded")
        if self.kind not in KINDS:
            raise ArgumentError("identity kind", self.kind, f"use one of {', '.join(KINDS)}")
        if self.kind != "fitted" and abs(norm - 1) > _UNIT_TOLERANCE:
            raise ArgumentError("identity vector", f"length {norm:.4f}", "normalise it; only fitted ones may differ")
        if self.photos < 1 or not self.encoder:
            raise ArgumentError("identity", f"{self.photos} photos by {self.encoder!r}", "give a photo and an encoder")
        if self.small is not None and self.small.vectors.shape[1] != len(vector):
            value = f"of {self.small.vectors.shape[1]} numbers for a vector of {len(vector)}"
            raise ArgumentError("small views", value, "give those by the same encoder")

    @property
    def dim(self) -> int:
        """Length of the vector."""
        return len(self.vector)

    @property
    def direction(self) -> Tensor:
        """The vector at unit length, [D]."""
        return functional.normalize(self.vector, dim=0)

    def check_encoder(self, encoder: EncoderId, remedy: str = _REMEDY) -> None:
        """Raise :class:`EncoderMismatchError`, naming both, unless ``encoder`` made this embedding."""
        if (self.encoder, self.encoder_hash) != (encoder.name, encoder.hash):
            made, wanted = f"{self.encoder} {self.encoder_hash}", f"{encoder.name} {encoder.hash}"
            raise EncoderMismatchError("identity", f"made by {made}, to be read by {wanted}", remedy)

    def save(self, path: Path | str) -> None:
        """Write the file, whole or not at all.

        Raises:
            OutputError: it cannot be written there.
        """
        told = {
            "version": _VERSION,
            "encoder": self.encoder,
            "encoder_hash": self.encoder_hash,
            "photos": self.photos,
            "kind": self.kind,
            "created_by": self.created_by,
        }
        tensors, metadata = {"vector": self.vector}, {"format": _FORMAT, "identity": json.dumps(told)}
        if self.small is not None:  # beside the rest, so that an older program reads the file, too
            tensors["small"], metadata["small_sides"] = self.small.vectors, json.dumps(self.small.sides)
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata)

    @staticmethod
    def load(path: Path | str) -> IdentityEmbedding:
        """Read a file that :meth:`save` wrote.

        Raises:
            FileFormatError: no such file, damaged, something else, or with numbers that make no sense.
        """
        what = f"identity file {path}"
        tensors, told, sides = _read(what, path)
        try:
            small = SmallViews(sides=sides, vectors=tensors["small"]) if "small" in tensors else None
            return IdentityEmbedding(vector=tensors["vector"], small=small, **told)
        except (ArgumentError, TypeError, ValueError) as error:
            raise FileFormatError(what, error, _REMEDY) from error


def _read(what: str, path: Path | str) -> tuple[dict[str, Tensor], dict, tuple[int, ...]]:
    """Tensors by name, what is told of them, and the sides of the small views."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                remedy = "give a file that encoding or fitting wrote"
                raise FileFormatError(what, f"format {metadata.get('format')}", remedy)
            tensors = {name: file.get_tensor(name) for name in ("vector", "small") if name in set(file.keys())}
        told, sides = json.loads(metadata["identity"]), tuple(json.loads(metadata.get("small_sides", "[]")))
        version = told.pop("version")
    except (SafetensorError, OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(what, f"{type(error).__name__}: {error}", _REMEDY) from error
    if version != _VERSION:
        raise FileFormatError(what, f"version {version}", f"use a newer idfsr, or {_REMEDY}")
    if not isinstance(told.get("photos"), int) or not all(isinstance(told.get(k), str) for k in ("encoder", "kind")):
        raise FileFormatError(what, told, _REMEDY)
    if "vector" not in tensors:
        raise FileFormatError(what, "no vector", _REMEDY)
    return tensors, told, sides


def similarity(first: Tensor, second: Tensor) -> Tensor:
    """Cosine of the angle between vectors [..., D] and [..., D] -> [...], in -1..1; differentiable."""
    return functional.cosine_similarity(first, second, dim=-1)


def similarity_matrix(first: Tensor, second: Tensor | None = None) -> Tensor:
    """Cosines between all of [N, D] and all of [M, D] (or of the first with itself) -> [N, M]."""
    first = functional.normalize(first, dim=-1)
    return first @ (first if second is None else functional.normalize(second, dim=-1)).mT
