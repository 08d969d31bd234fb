"""Gradients through networks that are frozen, as ComfyUI hands them over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def differentiable(*modules: object) -> Iterator[None]:
    """Let gradients pass through the networks and none arrive at their weights, whatever both were set to.

    Works inside ``torch.inference_mode()`` and ``torch.no_grad()`` too. Weights that were made or moved inside
    inference mode take no part in gradients; copies stand in.

    Args:
        modules: the networks; what is no ``nn.Module`` (an encoder that is none, None) is passed over.
    """
    with torch.inference_mode(False), torch.enable_grad():
        inside = [inner for module in modules if isinstance(module, nn.Module) for inner in module.modules()]
        weights = [
            (inner, name, weight)
            for inner in inside
            for name, weight in inner._parameters.items()
            if weight is not None
        ]
        buffers = [
            (inner, name, value) for inner in inside for name, value in inner._buffers.items() if value is not None
        ]
        flags = [(weight, weight.requires_grad) for _, _, weight in weights]
        try:
            for inner, name, weight in weights:
                if weight.is_inference():
                    inner._parameters[name] = nn.Parameter(weight.clone(), requires_grad=False)
                else:
                    weight.requires_grad_(False)
            for inner, name, value in buffers:
                inner._buffers[name] = value.clone() if value.is_inference() else value
            yield
        finally:
            for inner, name, weight in weights:
                inner._parameters[name] = weight
            for inner, name, value in buffers:
                inner._buffers[name] = value
            for weight, flag in flags:
                if not weight.is_inference():
                    weight.requires_grad_(flag)
