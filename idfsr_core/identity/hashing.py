"""What identifies an encoder's weights, so that embeddings of two encoders are never mixed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

_LENGTH = 16


def file_hash(path: Path) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:_LENGTH]


def weights_hash(state: Mapping[str, Tensor]) -> str:
    """The first 16 hexadecimal digits of a SHA-256 over names, shapes and values.

    Floating-point values count as bfloat16, which is how they are shipped: a network and its shipped copy are one
    encoder. Counters that inference does not read (``num_batches_tracked``) are left out.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        if name.endswith("num_batches_tracked"):
            continue
        value = state[name].detach().cpu()
        digest.update(f"{name}{tuple(value.shape)}".encode())
        if value.is_floating_point():
            value = value.to(torch.bfloat16).contiguous().view(torch.int16)
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()[:_LENGTH]
