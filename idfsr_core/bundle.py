"""One file = configuration + weights + model card: what a user downloads, names by ``--bundle`` and can inspect.

The file is plain safetensors. Tensors carry their part's name (:data:`PARTS`) as prefix; the metadata hold the format
version, the configuration of every network, the model card and a SHA-256 over configuration and tensors. A file may
hold some of the parts only (a training run writes one); asking it for a missing part is an error that says so.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .errors import ArgumentError, FileFormatError
from .images import atomic_path
from .runtime import Runtime

if TYPE_CHECKING:
    from .diffusion.denoiser import Denoiser
    from .diffusion.judge import Judge
    from .faces.compact import CompactAnalyzer
    from .identity.compact import CompactEncoder

SHIPPED = Path(__file__).parent / "assets" / "idfsr-compact-128.safetensors"
FORMAT = "idfsr-bundle"
FORMAT_VERSION = 2  # 1 knew no part "match"
LICENCE = "research, non-commercial (the training photos allow nothing else)"
REINSTALL = "download the file again or reinstall the package"


PARTS = ("denoiser", "analyzer", "encoder", "match")
"""The networks of a bundle; a part's tensors carry its name and a dot as prefix."""


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What a reader must know before using the weights; plain values only, so that it fits in the metadata."""

    name: str = "idfsr-compact-128"
    data: str = ""
    """The photos that taught the networks."""
    licence: str = LICENCE
    created: str = ""
    """Date and time in UTC, ISO 8601."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """Measured figures, by name: say the command, the people and the encoder in the name or beside it."""
    training: dict[str, Any] = field(default_factory=dict)
    """Figures of the training, by part: images seen, steps, seed, hours."""
    notes: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> ModelCard:
        """The reverse of :meth:`to_dict`; fields that this version does not know are left out."""
        known = ModelCard.__dataclass_fields__
        return ModelCard(**{key: value for key, value in values.items() if key in known})


class Bundle:
    """The opened file: the card at once, each network when it is first asked for.

    Args:
        path: the file, already checked by :func:`load_bundle`.
        configs: configuration of each part in the file, by the names of :data:`PARTS`.
        card: the model card.
        digest: SHA-256 over configuration and tensors, hexadecimal.
        device: where the networks are put.
    """

    def __init__(
        self, path: Path, configs: Mapping[str, dict[str, Any]], card: ModelCard, digest: str, device: str = "cpu"
    ) -> None:
        self.path = path
        self.configs = dict(configs)
        self.card = card
        self.hash = digest
        self.device = device

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the networks that the file holds."""
        return tuple(self.configs)

    @property
    def face_size(self) -> int:
        """Side of the face crop in pixels at which the denoiser works; 128 where the file holds none."""
        return int(self.configs.get("denoiser", {}).get("size", 128))

    def network(self, part: str) -> nn.Module:
        """Build one network (float32, on the bundle's device, in evaluation mode, without gradients)."""
        if part not in self.configs:
            have = ", ".join(self.configs) or "nothing"
            raise FileFormatError(f"bundle {self.path}", f"holds {have}", f"name a bundle that holds the {part}")
        network = _build(self.path, part, self.configs[part])
        _load_weights(self.path, part, network)
        return network.to(self.device).eval().requires_grad_(False)

    @cached_property
    def denoiser(self) -> Denoiser:
        """The diffusion network."""
        return self.network("denoiser")  # pyright: ignore[reportReturnType]

    @cached_property
    def judge(self) -> Judge | None:
        """Who tells how much a restored face looks like the person; None where the file lacks encoder or analyzer."""
        if not {"encoder", "analyzer"} <= set(self.parts):
            return None
        from .diffusion.judge import judge_by

        return judge_by(self.encoder, self.analyzer)

    @cached_property
    def analyzer(self) -> CompactAnalyzer:
        """The face finder: detector and landmark network."""
        from .faces.compact import CompactAnalyzer

        return CompactAnalyzer(self.network("analyzer"), Runtime(device=self.device))  # pyright: ignore

    @cached_property
    def encoder(self) -> CompactEncoder:
        """The identity encoder that the denoiser was trained with."""
        from .identity.compact import CompactEncoder

        match = self.network("match").cpu() if "match" in self.parts else None
        return CompactEncoder(self.network("encoder"), match)  # pyright: ignore[reportArgumentType]


def load_bundle(path: str | Path | None = None, device: str = "cpu") -> Bundle:
    """Open a bundle and check that it is whole.

    Args:
        path: the file; None is the one shipped with the package.
        device: where its networks go when they are asked for.

    Raises:
        FileFormatError: missing, truncated, foreign, damaged, or written by a newer version.
    """
    path = Path(path) if path is not None else SHIPPED
    meta, names = _open(path)
    configs, card = _read_meta(path, meta)
    digest = _digest_file(path, meta["config"], names)
    if digest != meta["sha256"]:
        raise FileFormatError(f"bundle {path}", f"SHA-256 {digest[:12]} instead of {meta['sha256'][:12]}", REINSTALL)
    return Bundle(path, configs, card, digest, device)


def save_bundle(path: str | Path, networks: Mapping[str, nn.Module], card: ModelCard | None = None) -> Path:
    """Write networks and card into one file, by a temporary name that is moved into place.

    Args:
        path: the file to write, ``*.safetensors``.
        networks: some networks, by the names of :data:`PARTS`. Matrices and kernels are stored
            as float16, vectors (norms, biases, running statistics), which weigh next to nothing, as float32.
        card: the model card; its date is filled in where it is empty.

    Raises:
        ArgumentError: an unknown part, or weights that are not finite.
    """
    if not networks or set(networks) - set(PARTS):
        raise ArgumentError("networks of a bundle", sorted(networks), f"give some of {', '.join(PARTS)}")
    ordered = {part: networks[part] for part in PARTS if part in networks}
    tensors = {f"{part}.{name}": t for part, net in ordered.items() for name, t in _storable(net)}
    config = json.dumps({part: _config(net) for part, net in ordered.items()})
    card = card or ModelCard()
    if not card.created:
        card = replace(card, created=datetime.now(timezone.utc).isoformat(timespec="seconds"))
    meta = {"format": FORMAT, "format_version": str(FORMAT_VERSION), "config": config}
    meta |= {"card": json.dumps(card.to_dict()), "sha256": _digest(config, tensors)}
    with atomic_path(Path(path)) as temporary:
        save_file(tensors, temporary, meta)
    return Path(path)


def _storable(network: nn.Module) -> list[tuple[str, Tensor]]:
    found = []
    for name, tensor in network.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise ArgumentError(f"weight {name}", "not finite", "save a checkpoint from before the training diverged")
        found.append((name, tensor.detach().to("cpu", _storage_type(tensor)).contiguous().clone()))
    return found


def _storage_type(tensor: Tensor) -> torch.dtype:
    """float16 has three more bits than bfloat16 where the range is enough, as it is for weights."""
    if not tensor.is_floating_point():
        return tensor.dtype
    fits = tensor.ndim > 1 and float(tensor.detach().abs().max()) < torch.finfo(torch.float16).max
    return torch.float16 if fits else torch.float32


def _open(path: Path) -> tuple[dict[str, str], list[str]]:
    """Metadata and tensor names of a file that is at least safetensors and at least ours."""
    if not path.is_file():
        remedy = "reinstall the package" if path == SHIPPED else "check the name given by --bundle"
        raise FileFormatError(f"bundle {path}", "no such file", remedy)
    try:
        with safe_open(path, "pt") as file:
            meta, names = file.metadata() or {}, list(file.keys())
    except (SafetensorError, OSError) as error:
        raise FileFormatError(f"bundle {path}", f"damaged or not safetensors ({error})", REINSTALL) from error
    if meta.get("format") != FORMAT:
        raise FileFormatError(f"bundle {path}", "a safetensors file, but no IDFSR bundle", "name an IDFSR bundle")
    return meta, names


def _read_meta(path: Path, meta: Mapping[str, str]) -> tuple[dict[str, dict[str, Any]], ModelCard]:
    try:
        version = int(meta["format_version"])
        configs, card = json.loads(meta["config"]), ModelCard.from_dict(json.loads(meta["card"]))
        complete = isinstance(configs, dict) and "sha256" in meta
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise FileFormatError(f"bundle {path}", f"damaged metadata ({error})", REINSTALL) from error
    if version > FORMAT_VERSION:
        value = f"format {version}, and this version reads up to {FORMAT_VERSION}"
        raise FileFormatError(f"bundle {path}", value, "update the idfsr package")
    if not complete or set(configs) - set(PARTS):
        raise FileFormatError(f"bundle {path}", "damaged metadata", REINSTALL)
    return configs, card


def _digest(config: str, tensors: Mapping[str, Tensor]) -> str:
    sha = hashlib.sha256(config.encode())
    for name in sorted(tensors):
        _add(sha, name, tensors[name])
    return sha.hexdigest()


def _digest_file(path: Path, config: str, names: Sequence[str]) -> str:
    """The same over a file, one tensor in memory at a time."""
    sha = hashlib.sha256(config.encode())
    with safe_open(path, "pt") as file:
        for name in sorted(names):
            _add(sha, name, file.get_tensor(name))
    return sha.hexdigest()


def _add(sha: hashlib._Hash, name: str, tensor: Tensor) -> None:
    sha.update(f"{name}|{tensor.dtype}|{list(tensor.shape)}|".encode())
    sha.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)


def _config(network: Any) -> dict[str, Any]:
    """A network's ``config`` is a value with ``to_dict()``, or, where it has two, a method."""
    return getattr(network.config, "to_dict", network.config)()


def _build(path: Path, part: str, config: dict[str, Any]) -> nn.Module:
    """A network with random weights in the shape that the configuration says."""
    try:
        return _BUILDERS[part](config)
    except (TypeError, ValueError, KeyError) as error:
        raise FileFormatError(f"bundle {path}", f"configuration of the {part}: {error}", REINSTALL) from error


def _build_denoiser(config: dict[str, Any]) -> nn.Module:
    from .diffusion.config import DenoiserConfig
    from .diffusion.denoiser import Denoiser

    return Denoiser(DenoiserConfig.from_dict(config))


def _build_analyzer(config: dict[str, Any]) -> nn.Module:
    from .faces.compact import AnalyzerNetworks

    return AnalyzerNetworks.of(config)


def _build_encoder(config: dict[str, Any]) -> nn.Module:
    from .identity.network import EncoderConfig, EncoderNetwork

    return EncoderNetwork(EncoderConfig.from_dict(config))


def _build_match(config: dict[str, Any]) -> nn.Module:
    from .identity.photo_match import PhotoMatch, PhotoMatchConfig

    return PhotoMatch(PhotoMatchConfig(**config))


_BUILDERS = {
    "denoiser": _build_denoiser,
    "analyzer": _build_analyzer,
    "encoder": _build_encoder,
    "match": _build_match,
}


def _load_weights(path: Path, part: str, network: nn.Module) -> None:
    """Fill a network from the file; a missing, superfluous or misshapen tensor is named."""
    prefix, wanted = f"{part}.", network.state_dict()
    with safe_open(path, "pt") as file:
        have = {name[len(prefix) :]: name for name in file.keys() if name.startswith(prefix)}  # noqa: SIM118
        for name in sorted(set(wanted) ^ set(have)):
            state = "missing" if name in wanted else "unknown"
            raise FileFormatError(f"bundle {path}", f"tensor {prefix}{name} is {state}", REINSTALL)
        for name, key in have.items():
            tensor, target = file.get_tensor(key), wanted[name]
            if tensor.shape != target.shape:
                value = f"tensor {key} of shape {list(tensor.shape)} instead of {list(target.shape)}"
                raise FileFormatError(f"bundle {path}", value, REINSTALL)
            target.copy_(tensor)
