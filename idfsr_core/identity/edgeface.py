"""EdgeFace-XS as a differentiable module, for losses while training. Needs the optional package timm."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from ..errors import FileFormatError, MissingPackageError
from .aligning import align_faces
from .hashing import weights_hash

_OPERATORS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_declared: list[torch.library.Library] = []  # a Library takes its declarations along when it is collected


def _declare_operators() -> None:
    """Declare the two torchvision operators without which torchvision does not import.

    The wheel of torchvision on PyPI is compiled against CUDA; next to a CPU build of torch its library does not load,
    and its import stops at the missing operators. timm imports torchvision but never calls them.
    """
    if _declared or hasattr(torch.ops.torchvision, "nms"):
        return
    library = torch.library.Library("torchvision", "DEF")
    for schema in _OPERATORS.values():
        library.define(schema)
    _declared.append(library)


def _import_timm() -> ModuleType:
    if importlib.util.find_spec("timm") is None:
        raise MissingPackageError(
            "EdgeFaceTorch", "the package timm is not installed", "install timm and torchvision, or use the ONNX pack"
        )
    try:
        return importlib.import_module("timm")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    _declare_operators()
    return importlib.import_module("timm")


class EdgeFaceTorch(nn.Module):
    """EdgeFace-XS (arXiv 2307.01838), frozen; its embedding equals that of the ONNX file to 1e-5.

    Args:
        weights: safetensors state dict for ``timm.create_model("edgenext_x_small", num_classes=512)``.

    Raises:
        MissingPackageError: timm is not installed.
        FileFormatError: the file is damaged or holds another network.
    """

    name = "edgeface_xs"
    dim = 512

    def __init__(self, weights: Path | str) -> None:
        super().__init__()
        timm = _import_timm()
        self.backbone: nn.Module = timm.create_model("edgenext_x_small", num_classes=self.dim)
        try:
            state = load_file(weights)
            self.backbone.load_state_dict(state)
        except (SafetensorError, OSError, RuntimeError) as error:
            message = str(error).splitlines()[0]
            raise FileFormatError(f"EdgeFace-XS weights {weights}", message, "give the timm state dict") from error
        self.hash = weights_hash(state)
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> EdgeFaceTorch:
        """Stay in evaluation mode: this network is never trained."""
        return super().train(False)

    def forward(self, faces: Tensor) -> Tensor:
        """Aligned faces [B, 3, 112, 112] in 0..1 -> raw embeddings [B, 512] float32; their norm is about 2."""
        return self.backbone(faces * 2 - 1).float()

    def embed(self, image: Tensor, keypoints: Tensor) -> Tensor:
        """Unit embeddings [B, 512] of pictures [B, 3, H, W] in 0..1 with keypoints [B, 5, 2]; differentiable."""
        return functional.normalize(self(align_faces(image, keypoints, padding="zeros")))
