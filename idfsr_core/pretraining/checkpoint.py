"""Checkpoints that a training continues from bit for bit; safetensors and JSON only, moved into place whole."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..errors import FileFormatError, OutputError


def save_checkpoint(
    folder: Path, step: int, model: nn.Module, ema: dict[str, Tensor], optimizer: torch.optim.Optimizer, info: dict
) -> Path:
    """Write ``folder/step-000123`` and drop the older ones. A stop in the middle leaves the last one whole."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, temporary / "model.safetensors")
        save_file({k: v.contiguous() for k, v in ema.items()}, temporary / "ema.safetensors")
        save_file(_optimizer_tensors(optimizer), temporary / "optimizer.safetensors")
        (temporary / "info.json").write_text(json.dumps({"step": step, **info}, indent=1))
        final = folder / f"step-{step:07d}"
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
    except OSError as error:
        raise OutputError(f"checkpoint in {folder}", error, "free some space or choose another folder") from error
    for old in sorted(folder.glob("step-*"))[:-1]:
        shutil.rmtree(old)
    return final


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint of a folder."""
    found = sorted(folder.glob("step-*"))
    return found[-1] if found else None


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict]:
    """Fill model and optimizer; returns the averaged weights and the info (with ``step``)."""
    try:
        model.load_state_dict(load_file(path / "model.safetensors"))
        _fill_optimizer(optimizer, load_file(path / "optimizer.safetensors"))
        return load_file(path / "ema.safetensors"), json.loads((path / "info.json").read_text())
    except (OSError, SafetensorError, RuntimeError, KeyError, json.JSONDecodeError) as error:
        message = str(error).splitlines()[0]
        raise FileFormatError(f"checkpoint {path}", message, "delete it to continue from the one before") from error


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {
        f"{number}.{name}": torch.as_tensor(value).clone().contiguous()
        for number, values in state.items()
        for name, value in values.items()
    }


def _fill_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
