"""ComfyUI without ComfyUI: the modules that the pack imports, thin, with switches for what tests want to see.

:class:`StandIn` puts them into ``sys.modules`` and takes them away; :func:`load_pack` loads the pack as ComfyUI does.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import sys
from collections import namedtuple
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from tests import comfy_types

ROOT = Path(__file__).resolve().parent.parent
PACK = "idfsr_pack"
Context = namedtuple("Context", ["prompt_id", "node_id", "list_index"])


class Interrupted(BaseException):
    """ComfyUI's interrupt: no Exception in the versions that this pack is for."""


class ModelPatcher:
    """Remembers a module and where it belongs."""

    def __init__(self, model: torch.nn.Module, load_device: Any, offload_device: Any, size: int = 0) -> None:
        self.model, self.load_device, self.offload_device, self.size = model, load_device, offload_device, size


class ProgressBar:
    """Tells the stand-in, which raises when it was interrupted, as the real bar's hook does."""

    stand_in: StandIn

    def __init__(self, total: int, node_id: str | None = None) -> None:
        self.total, self.current = total, 0

    def update_absolute(self, value: int, total: int | None = None, preview: Any = None) -> None:
        self.total = total or self.total
        self.current = min(value, self.total)
        self.stand_in.report(self.current, self.total, preview)

    def update(self, value: int) -> None:
        self.update_absolute(self.current + value)


class StandIn:
    """The modules and what they were told."""

    def __init__(self) -> None:
        self.progress: list[tuple[int, int, Any]] = []  # value, total, preview
        self.loaded: list[ModelPatcher] = []  # asked of load_models_gpu, in order
        self.said: list[str] = []  # texts shown on nodes
        self.device = torch.device("cpu")
        self.half: str | None = None  # "bf16" or "fp16": what the device is good at
        self.stop_after: int | None = None  # reports until the interrupt
        self.bar = type("ProgressBar", (ProgressBar,), {"stand_in": self})
        self.folders = folder_module()
        self.modules = self._modules()
        self.before: dict[str, Any] = {}

    def reset(self, base: Path) -> None:
        """Forget what was told, and start with empty folders below ``base``."""
        self.progress, self.loaded, self.said = [], [], []
        self.half, self.stop_after = None, None
        self.folders.reset(base)

    def report(self, value: int, total: int, preview: Any) -> None:
        """A bar moved."""
        self.raise_if_interrupted()
        self.progress.append((value, total, preview))

    def raise_if_interrupted(self) -> None:
        """As ComfyUI does: the flag is lowered when it takes effect."""
        if self.stop_after is not None and len(self.progress) >= self.stop_after:
            self.stop_after = None
            raise Interrupted

    def load_models_gpu(
        self, models: list[ModelPatcher], memory_required: float = 0, force_full_load: bool = False
    ) -> None:
        """Moves the modules, in whatever mode the caller is, and remembers that it was asked."""
        for patcher in models:
            self.loaded.append(patcher)
            patcher.model.to(patcher.load_device)

    def _modules(self) -> dict[str, ModuleType]:
        management = module(
            "comfy.model_management",
            get_torch_device=lambda: self.device,
            unet_offload_device=lambda: torch.device("cpu"),
            intermediate_device=lambda: torch.device("cpu"),
            should_use_bf16=lambda device=None: self.half == "bf16",
            should_use_fp16=lambda device=None: self.half == "fp16",
            load_models_gpu=self.load_models_gpu,
            throw_exception_if_processing_interrupted=self.raise_if_interrupted,
            InterruptProcessingException=Interrupted,
        )
        patcher = module("comfy.model_patcher", ModelPatcher=ModelPatcher)
        utils = module("comfy.utils", ProgressBar=self.bar)
        comfy = module("comfy", model_management=management, model_patcher=patcher, utils=utils)
        latest = module(
            "comfy_api.latest", io=comfy_types.io, ui=comfy_types.ui, ComfyExtension=comfy_types.ComfyExtension
        )
        context = lambda: Context("prompt", "1", 0)
        execution = module("comfy_execution.utils", get_executing_context=context)
        server: Any = type("PromptServer", (), {"client_id": "client"})
        server.send_progress_text = lambda _, text, node_id, sid=None: self.said.append(text)
        server.instance = server()
        all_modules = [
            comfy, management, patcher, utils, module("comfy_api", latest=latest), latest, self.folders,
            module("comfy_execution", utils=execution), execution, module("server", PromptServer=server),
        ]  # fmt: skip
        return {each.__name__: each for each in all_modules}

    def install(self) -> None:
        """Put the modules in place."""
        self.before = {name: sys.modules.get(name) for name in self.modules}
        sys.modules.update(self.modules)

    def remove(self) -> None:
        """Take them and the pack away."""
        for name in [name for name in sys.modules if name.split(".")[0] == PACK]:
            del sys.modules[name]
        for name, old in self.before.items():
            if old is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = old


def load_pack() -> tuple[ModuleType, list[type]]:
    """The pack's package and its nodes, loaded from the folder as ComfyUI loads it."""
    spec = importlib.util.spec_from_file_location(PACK, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[PACK] = package
    spec.loader.exec_module(package)
    return package, asyncio.run(_nodes_of(package))


async def _nodes_of(package: Any) -> list[type]:
    extension = await package.comfy_entrypoint()
    await extension.on_load()
    return await extension.get_node_list()


def module(name: str, **contents: Any) -> ModuleType:
    """A module made of values."""
    made = ModuleType(name)
    made.__dict__.update(contents)
    return made


def folder_module() -> Any:
    """``folder_paths`` over folders below a base that tests choose."""
    made: Any = module("folder_paths", folder_names_and_paths={}, models_dir="", base=Path())

    def reset(base: Path) -> None:
        made.base, made.models_dir = base, str(base / "models")
        made.folder_names_and_paths.clear()

    def add_model_folder_path(name: str, path: str, is_default: bool = False) -> None:
        folders, _ = made.folder_names_and_paths.setdefault(name, ([], set()))
        if path not in folders:
            folders.insert(0 if is_default else len(folders), path)

    def get_filename_list(name: str) -> list[str]:
        folders, suffixes = made.folder_names_and_paths[name]
        found = {file.relative_to(folder) for folder in folders for file in Path(folder).rglob("*") if file.is_file()}
        return sorted(str(file) for file in found if not suffixes or file.suffix in suffixes)

    def get_full_path(name: str, filename: str) -> str | None:
        found = [Path(folder) / filename for folder in made.folder_names_and_paths[name][0]]
        return next((str(path) for path in found if path.is_file()), None)

    made.reset, made.add_model_folder_path = reset, add_model_folder_path
    made.get_filename_list, made.get_full_path = get_filename_list, get_full_path
    made.get_folder_paths = lambda name: list(made.folder_names_and_paths[name][0])
    made.get_temp_directory = lambda: str(made.base / "temp")
    made.get_output_directory = lambda: str(made.base / "output")
    made.get_input_directory = lambda: str(made.base / "input")
    return made
