"""Where and how to compute: chosen once at the edge (command line, nodes), handed down as one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errors import ArgumentError, Cancelled

if TYPE_CHECKING:
    import torch


def _no_progress(done: int, total: int, image: torch.Tensor | None = None) -> None:
    """Report nothing."""


def _never() -> bool:
    return False


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Device, precision and the two ways of talking to whoever waits.

    Args:
        device: a torch device name ("cpu", "cuda", "cuda:1", "mps").
        dtype: compute precision of the denoiser: "float32", "bfloat16" or "float16".
        progress: called as ``progress(done, total, image)`` after each step; ``image`` is a preview of shape
            [B, 3, H, W] in 0..1, or None.
        cancelled: asked before each step; True stops the work.
    """

    device: str = "cpu"
    dtype: str = "float32"
    progress: Callable[..., None] = field(default=_no_progress, compare=False)
    cancelled: Callable[[], bool] = field(default=_never, compare=False)

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "bfloat16", "float16"):
            raise ArgumentError("dtype", self.dtype, "use float32, bfloat16 or float16")

    @property
    def torch_dtype(self) -> torch.dtype:
        import torch

        return getattr(torch, self.dtype)

    def check(self) -> None:
        """Raise :class:`Cancelled` when the user asked to stop."""
        if self.cancelled():
            raise Cancelled("run", "cancelled", "start it again when you like; nothing was written")

    @staticmethod
    def best() -> Runtime:
        """The fastest device of this machine, with a precision that it computes well."""
        import torch

        if torch.cuda.is_available():
            return Runtime(device="cuda", dtype="bfloat16" if torch.cuda.is_bf16_supported() else "float16")
        if torch.backends.mps.is_available():
            return Runtime(device="mps")
        return Runtime()
