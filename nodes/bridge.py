"""Between ComfyUI and the core: pictures, devices, progress, interrupt, folders, loaded weights.

The only file that knows ``comfy`` and ``folder_paths``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import comfy.model_management as management
import comfy.model_patcher
import comfy.utils
import folder_paths
import torch
from torch import Tensor, nn

from ..idfsr_core.errors import FileFormatError, ImageError, MissingPackageError
from ..idfsr_core.runtime import Runtime
from .sockets import Analyzer, Model

if TYPE_CHECKING:
    from ..idfsr_core.bundle import Bundle

SHIPPED = "shipped"
COMPACT = "compact"
MODELS, IDENTITIES, PACKS = "idfsr", "idfsr_identities", "insightface"
WEIGHTS = ".safetensors"
ROOM = 512 * 2**20
"""Bytes that the networks need beside their weights for a chunk of faces; asked of ComfyUI when they are loaded."""
PREVIEW_SIDE = 512
_NO_FACE_FILES = ("genderage", "1k3d68", "2d106det", "inswapper")


# --- pictures ---------------------------------------------------------------------------------------------------------


def to_core(image: Tensor, what: str = "image") -> Tensor:
    """A ComfyUI IMAGE [B, H, W, C] as [B, 3, H, W] float32, without a copy where it is float32 already.

    Grey becomes RGB; an alpha channel is dropped.

    Raises:
        ImageError: an empty batch, or no picture at all; ``what`` is the input's name.
    """
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4):
        raise ImageError(what, f"a tensor of shape {list(image.shape)}", "connect an IMAGE")
    if 0 in image.shape:
        batch, height, width, _ = image.shape
        raise ImageError(what, f"{batch} pictures of {width}x{height} pixels", "connect at least one picture")
    pixels = image[..., :3].movedim(-1, 1).float()
    return pixels.expand(-1, 3, -1, -1)


def to_comfy(image: Tensor) -> Tensor:
    """Pictures [B, 3, H, W] as a ComfyUI IMAGE: [B, H, W, 3] float32 in 0..1 where ComfyUI keeps its pictures."""
    pixels = image.detach().to(management.intermediate_device(), torch.float32)
    return pixels.clamp(0, 1).movedim(1, -1).contiguous()


def mask_to_core(mask: Tensor, what: str = "mask") -> Tensor:
    """A ComfyUI MASK [B, H, W] or [H, W] as [B, 1, H, W] float32 in 0..1.

    Raises:
        ImageError: an empty batch, or no mask; ``what`` is the input's name.
    """
    mask = mask[None] if mask.ndim == 2 else mask
    mask = mask[:, 0] if mask.ndim == 4 and mask.shape[1] == 1 else mask
    if mask.ndim != 3 or 0 in mask.shape:
        raise ImageError(what, f"a tensor of shape {list(mask.shape)}", "connect a MASK of at least one pixel")
    return mask[:, None].float().clamp(0, 1)


def mask_to_comfy(mask: Tensor) -> Tensor:
    """Masks [B, 1, H, W] as a ComfyUI MASK: [B, H, W] float32 in 0..1 where ComfyUI keeps its pictures."""
    return mask.detach()[:, 0].to(management.intermediate_device(), torch.float32).clamp(0, 1).contiguous()


# --- running ----------------------------------------------------------------------------------------------------------


def use(source: Model | Analyzer | None, progress_total: int | None = None, preview: bool = False) -> Runtime:
    """Have ComfyUI bring the weights to its device, and say where and how to compute.

    Args:
        source: whose networks are about to run; None: no network, only progress and interrupt.
        progress_total: how many steps the node will report over all its calls of the core; None: each call's own count.
        preview: show the picture that comes with a step.

    Returns:
        A runtime whose ``progress`` moves the node's bar and whose ``cancelled`` lets ComfyUI's interrupt pass through
        as the exception it is.
    """
    device = management.get_torch_device()
    if source is not None and source.patcher is not None:
        # Weights that are moved inside inference mode become inference tensors, and those take part in no gradient.
        with torch.inference_mode(False), torch.no_grad():
            management.load_models_gpu([source.patcher], memory_required=ROOM, force_full_load=True)
            _complete(source.patcher.model, source.patcher.load_device)
        device = source.patcher.load_device
    return Runtime(
        device=str(device),
        dtype=compute_dtype(device),
        progress=_Progress(progress_total, preview),
        cancelled=_cancelled,
    )


def _complete(networks: nn.Module, device: torch.device) -> None:
    """Move what ComfyUI left behind: with ``--novram`` it streams layers of its own kind, and ours are not."""
    if any(parameter.device != device for parameter in networks.parameters()):
        networks.to(device)


def compute_dtype(device: torch.device) -> str:
    """The precision that ComfyUI would choose; float32 where autocast is not at home."""
    if device.type not in ("cuda", "xpu"):
        return "float32"
    if management.should_use_bf16(device):
        return "bfloat16"
    return "float16" if management.should_use_fp16(device) else "float32"


def _cancelled() -> bool:
    management.throw_exception_if_processing_interrupted()
    return False


class _Progress:
    """One bar over several calls of the core, each of which counts from one."""

    def __init__(self, total: int | None, preview: bool) -> None:
        self.total, self.preview = total, preview
        self.bar = comfy.utils.ProgressBar(total or 1)
        self.before = self.last = 0

    def __call__(self, done: int, total: int, image: Tensor | None = None) -> None:
        if self.total is not None and done <= self.last:
            self.before += self.last
        self.last = done
        picture = preview_picture(image) if self.preview and image is not None else None
        self.bar.update_absolute(self.before + done, self.total or total, picture)


def preview_picture(image: Tensor) -> tuple[str, Any, int]:
    """The first of the pictures [B, 3, H, W] in the form in which ComfyUI sends previews."""
    from PIL import Image

    from ..idfsr_core.images import to_uint8

    return "JPEG", Image.fromarray(to_uint8(image[:1])), PREVIEW_SIDE


def say(text: str) -> None:
    """Show a text on the node that is running, where it stays until the next run."""
    from comfy_execution.utils import get_executing_context
    from server import PromptServer

    context, server = get_executing_context(), getattr(PromptServer, "instance", None)
    if context is not None and server is not None:
        server.send_progress_text(text, context.node_id, server.client_id)


# --- weights ----------------------------------------------------------------------------------------------------------


class IDFSRNetworks(nn.Module):
    """All networks of a bundle in one module, for ComfyUI to move together."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        self.bundle = bundle
        if "denoiser" in bundle.parts:
            self.denoiser = bundle.denoiser
        if "analyzer" in bundle.parts:
            self.analyzer = bundle.analyzer.networks
        if "encoder" in bundle.parts:
            self.encoder = bundle.encoder.network


_loaded: WeakValueDictionary[tuple[str, int, int], Any] = WeakValueDictionary()
"""Patchers by file, time of change and size: loaders share them, and they go with the last socket that holds one."""


def load_model(name: str = SHIPPED) -> Model:
    """Open a bundle by its name in :func:`list_models`; its weights stay where ComfyUI parks weights.

    Raises:
        FileFormatError: no such file, or a damaged one.
    """
    from ..idfsr_core import bundle as bundles

    path = model_path(name)
    key = _state(path)
    patcher = _loaded.get(key)
    if patcher is None:
        # Outside inference mode, so that fitting can compute gradients through the weights.
        with torch.inference_mode(False), torch.no_grad():
            patcher = wrap(IDFSRNetworks(bundles.load_bundle(path)))
        _loaded[key] = patcher
    return Model(patcher.model.bundle, patcher, name)


def model_fingerprint(name: str) -> str:
    """Changes when the file does; for a file that is not there, the name."""
    try:
        return str(_state(model_path(name)))
    except FileFormatError:
        return name


def _state(path: Path) -> tuple[str, int, int]:
    state = path.stat() if path.is_file() else None
    return (str(path), state.st_mtime_ns, state.st_size) if state else (str(path), 0, 0)


def wrap(networks: nn.Module) -> Any:
    """A ModelPatcher: ComfyUI moves the module to its device when it is used, and away when it needs the room."""
    device, parked = management.get_torch_device(), management.unet_offload_device()
    return comfy.model_patcher.ModelPatcher(networks, load_device=device, offload_device=parked)


def load_analyzer(name: str = COMPACT, model: Model | None = None) -> Analyzer:
    """An analyzer by its name in :func:`list_analyzers`.

    Args:
        name: "compact" or an insightface pack.
        model: the bundle that gives the compact analyzer (and, to a pack without one, the landmark network) and the
            size of the faces' crops; None: the shipped one.

    Raises:
        MissingPackageError: insightface is not installed, or the pack lacks a model.
        FileFormatError: a damaged model.
    """
    model = model or load_model()
    size = model.bundle.face_size
    if name == COMPACT:
        return Analyzer(model.bundle.analyzer, model.bundle.encoder, model.patcher, name, size)
    from ..idfsr_core.faces.insight import InsightFaceAnalyzer
    from ..idfsr_core.faces.pairing import PackWithLandmarks
    from ..idfsr_core.identity.insight import InsightFaceEncoder

    runtime = Runtime(device=str(management.get_torch_device()))
    folder = _pack_path(name)
    finder = PackWithLandmarks(InsightFaceAnalyzer(folder, runtime), model.bundle.analyzer)
    return Analyzer(finder, InsightFaceEncoder(folder, runtime), model.patcher, name, size)


# --- folders ----------------------------------------------------------------------------------------------------------


def register_folders() -> None:
    """Make ``models/idfsr`` and its ``identities`` known to ComfyUI, after those of extra_model_paths.yaml."""
    folder_paths.add_model_folder_path(MODELS, str(Path(folder_paths.models_dir) / MODELS))
    for folder in folder_paths.get_folder_paths(MODELS):
        folder_paths.add_model_folder_path(IDENTITIES, str(Path(folder) / "identities"))
    for key in (MODELS, IDENTITIES):
        folders = folder_paths.get_folder_paths(key)
        folder_paths.folder_names_and_paths[key] = (folders, {WEIGHTS})


def list_models() -> list[str]:
    """ "shipped" and the bundles in ``models/idfsr``."""
    found = folder_paths.get_filename_list(MODELS)
    return [SHIPPED, *(name for name in found if Path(name).parts[0] != "identities")]


def model_path(name: str) -> Path:
    """The file of a bundle by its name in :func:`list_models`; FileFormatError where there is none."""
    if name == SHIPPED:
        from ..idfsr_core.bundle import SHIPPED as PATH

        return PATH
    path = folder_paths.get_full_path(MODELS, name)
    if path is None:
        raise FileFormatError(f"model {name}", "no such file", "choose one of the list, or put it into models/idfsr")
    return Path(path)


def list_packs() -> list[str]:
    """The insightface model packs: folders in ``models/insightface/models`` with at least two networks for faces."""
    return sorted(
        {folder.name for root in _pack_roots() if root.is_dir() for folder in root.iterdir() if _pack(folder)}
    )


def list_analyzers() -> list[str]:
    """ "compact" and the packs."""
    return [COMPACT, *list_packs()]


def _pack_roots() -> list[Path]:
    folders = [Path(folder_paths.models_dir) / PACKS]
    if PACKS in folder_paths.folder_names_and_paths:
        folders = [*map(Path, folder_paths.get_folder_paths(PACKS)), *folders]
    return [folder / "models" for folder in folders]


def _pack(folder: Path) -> bool:
    """Whether there can be a detector and a recogniser; what the files hold shows when they are opened."""
    files = [*folder.glob("*.onnx"), *folder.glob("*/*.onnx")] if folder.is_dir() else []
    return len([file for file in files if not file.name.startswith(_NO_FACE_FILES)]) >= 2


def _pack_path(name: str) -> Path:
    for root in _pack_roots():
        if name in list_packs() and (root / name).is_dir():
            return root / name
    raise MissingPackageError(f"model pack {name}", "no such folder", "put it into models/insightface/models")


def identity_folder() -> Path:
    """Where identities are saved; made when it is missing."""
    folder = Path(folder_paths.get_folder_paths(IDENTITIES)[0])
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def list_identities() -> list[str]:
    """Names of the saved identities, without their suffix."""
    return [
        name.removesuffix(WEIGHTS) for name in folder_paths.get_filename_list(IDENTITIES) if Path(name).name == name
    ]


def identity_path(name: str) -> Path:
    """The file of an identity: the one that is there, or the place where a new one goes.

    Raises:
        ArgumentError: the name is no plain file name, see ``check_name`` of the core.
    """
    from ..idfsr_core.identity.naming import check_name

    name = check_name(name)
    for folder in folder_paths.get_folder_paths(IDENTITIES):
        if (Path(folder) / f"{name}{WEIGHTS}").is_file():
            return Path(folder) / f"{name}{WEIGHTS}"
    return identity_folder() / f"{name}{WEIGHTS}"


register_folders()
