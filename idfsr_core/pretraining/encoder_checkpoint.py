"""What the encoder's training carries from step to step, and its file."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import FileFormatError
from ..identity.network import EncoderConfig, EncoderNetwork
from .encoder_settings import EncoderSettings

CHECKPOINT = "encoder-training.safetensors"
_FORMAT = "idfsr-encoder-training-2"


class EncoderState:
    """Network, averaged weights, optimiser, step and seconds."""

    def __init__(self, settings: EncoderSettings, device: str) -> None:
        torch.manual_seed(settings.seed)
        self.network = EncoderNetwork(settings.config).to(device)
        self.averaged = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        parameters = list(self.network.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=settings.rate, betas=settings.betas)
        self.step = 0
        self.seconds = 0.0

    def update_average(self, keep: float) -> None:
        keep = min(keep, (1 + self.step) / (10 + self.step))
        for name, value in self.network.state_dict().items():
            self.averaged[name].lerp_(value, 1 - keep)

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        state = self.optimizer.state_dict()["state"]
        return {f"optimizer.{index}.{key}": value for index, values in state.items() for key, value in values.items()}

    def save(self, path: Path, settings: EncoderSettings) -> None:
        """Write the whole state, under another name first."""
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"averaged.{name}": value for name, value in self.averaged.items()}
        tensors |= self._optimizer_tensors()
        tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        told = {"step": self.step, "seconds": self.seconds, "config": settings.config.to_dict()}
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
        os.close(handle)
        try:
            save_file(tensors, name, {"format": _FORMAT, "training": json.dumps(told)})
            os.replace(name, path)
        finally:
            Path(name).unlink(missing_ok=True)

    def load(self, path: Path) -> None:
        """Go on where :meth:`save` left off."""
        tensors, told = read_checkpoint(path)
        self.network.load_state_dict(_part(tensors, "network."))
        self.averaged = {name: v.to(self.averaged[name].device) for name, v in _part(tensors, "averaged.").items()}
        saved: dict[int, dict[str, Tensor]] = {}
        for name, value in _part(tensors, "optimizer.").items():
            index, key = name.split(".")
            saved.setdefault(int(index), {})[key] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": saved, "param_groups": groups})
        self.step, self.seconds = told["step"], told["seconds"]


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict]:
    """The tensors of a training checkpoint and what its metadata tells (step, seconds, config).

    Raises:
        FileFormatError: the file is damaged or something else.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise FileFormatError(f"encoder checkpoint {path}", error, "delete it and start the training again") from error
    if metadata.get("format") != _FORMAT:
        raise FileFormatError(f"encoder checkpoint {path}", metadata.get("format"), f"give a file of format {_FORMAT}")
    return tensors, json.loads(metadata["training"])


def averaged_network(path: Path) -> EncoderNetwork:
    """The averaged weights of a training checkpoint as a network in evaluation mode."""
    tensors, told = read_checkpoint(path)
    network = EncoderNetwork(EncoderConfig.from_dict(told["config"]))
    network.load_state_dict(_part(tensors, "averaged."))
    return network.eval().requires_grad_(False)
