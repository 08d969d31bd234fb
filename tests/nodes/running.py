"""Running a node without a server: what ComfyUI does before, around and after ``execute()``."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from tests import tiny
from tests.comfy_stand_in import PACK, StandIn
from tests.comfy_types import ComfyNode, Input, NodeOutput

TINY = "tiny.safetensors"


class Pack:
    """The loaded pack over a stand-in; one a test, see the fixture ``pack``."""

    def __init__(
        self, stand_in: StandIn, package: ModuleType, nodes: list[type], tiny_bundle: Path, base: Path
    ) -> None:
        self.stand_in, self.package, self.tiny_bundle = stand_in, package, tiny_bundle
        self.nodes: dict[str, Any] = {node.GET_SCHEMA().node_id: node for node in nodes}  # pyright: ignore
        self.ui: dict[str, Any] = {}  # what the last node showed
        self.reset(base)

    def reset(self, base: Path) -> None:
        """Empty folders below ``base`` (models/idfsr holds the tiny bundle), nothing reported, nothing shown."""
        self.stand_in.reset(base)
        self.ui = {}
        models = base / "models" / "idfsr"
        models.mkdir(parents=True, exist_ok=True)
        if not (models / TINY).exists():
            (models / TINY).symlink_to(self.tiny_bundle)
        self.bridge.register_folders()

    @property
    def bridge(self) -> Any:
        """``nodes/bridge.py`` of the pack."""
        return importlib.import_module(f"{PACK}.nodes.bridge")

    @property
    def sockets(self) -> Any:
        """``nodes/sockets.py`` of the pack."""
        return importlib.import_module(f"{PACK}.nodes.sockets")

    @property
    def progress(self) -> list[tuple[int, int, Any]]:
        """Value, total and preview of every report so far."""
        return self.stand_in.progress

    @property
    def said(self) -> list[str]:
        """Texts that nodes showed so far."""
        return self.stand_in.said

    def core(self, module: str) -> Any:
        """A module of the pack's own core: the twin of ``idfsr_core.module``, whose classes the nodes use."""
        return importlib.import_module(f"{PACK}.idfsr_core.{module}")

    def interrupt(self, after: int = 0) -> None:
        """The user presses Cancel once so many more steps have been reported."""
        self.stand_in.stop_after = len(self.progress) + after

    @property
    def interrupted(self) -> type[BaseException]:
        """The exception that an interrupt is."""
        return self.stand_in.modules["comfy.model_management"].InterruptProcessingException

    def run(self, node_id: str, **inputs: Any) -> tuple[Any, ...]:
        """Execute a node as ComfyUI does and give its outputs; ``self.ui`` is what it showed.

        Widgets that are left out get their defaults, optional sockets that are left out are not passed.
        """
        node = self.nodes[node_id]
        schema = node.GET_SCHEMA()
        values = prepared(schema.inputs, inputs)
        locked = lock(node)
        self.ui = {}
        with torch.inference_mode():
            output: NodeOutput = locked.execute(**values)
        if not isinstance(output, NodeOutput):
            raise TypeError(f"{node_id} returned {type(output).__name__}")
        if len(output.args) != len(schema.outputs):
            raise TypeError(f"{node_id} returned {len(output.args)} values for {len(schema.outputs)} outputs")
        for value, told in zip(output.args, schema.outputs, strict=True):
            check_output(f"{node_id}.{told.id}", told.io_type, value, self)
        if output.ui is not None:
            self.ui = output.ui if isinstance(output.ui, dict) else output.ui.as_dict()
        return output.args

    def model(self, name: str = TINY) -> Any:
        """A Model socket of tiny networks with random weights, or of another file in models/idfsr."""
        return self.bridge.load_model(name)

    def shipped(self) -> Any:
        """A Model socket of the shipped bundle."""
        return self.bridge.load_model("shipped")

    def stub_analyzer(self, *places: tuple[float, float, float], model: Any = None) -> Any:
        """An Analyzer socket that finds faces where it is told, as ``tiny.StubAnalyzer``; with the model's encoder."""
        model = model or self.model()
        finder = PackFaces(tiny.StubAnalyzer(*places), self.core("faces.face").Face)
        return self.sockets.Analyzer(finder, model.bundle.encoder, model.patcher, "stub", model.bundle.face_size)


class PackFaces:
    """An analyzer of the test's core, whose faces become those of the pack's core."""

    def __init__(self, inner: tiny.StubAnalyzer, face: type) -> None:
        self.name, self.landmarks, self._inner, self._face = inner.name, inner.landmarks, inner, face

    def analyze(self, image: torch.Tensor, threshold: float | None = None) -> list[Any]:
        """The same faces."""
        return [self._face(**vars(face)) for face in self._inner.analyze(image, threshold)]


def prepared(schema: list[Input], inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs as a server passes them: checked, with the widgets' defaults."""
    unknown = set(inputs) - {each.id for each in schema}
    if unknown:
        raise TypeError(f"no such input: {', '.join(sorted(unknown))}")
    values = {}
    for each in schema:
        if each.id in inputs:
            check_value(each, inputs[each.id])
            values[each.id] = inputs[each.id]
        elif each.default is not None and not each.options.get("force_input"):
            values[each.id] = each.default
        elif each.io_type == "COMFY_AUTOGROW_V3":
            values[each.id] = {}
        elif not each.optional:
            raise TypeError(f"required input {each.id} is missing")
    return values


def check_value(told: Input, value: Any) -> None:
    """Refuse what the server's validation refuses of a widget."""
    options = told.options
    if told.io_type == "COMBO" and value not in options["options"]:
        raise ValueError(f"{told.id}: {value!r} not in {options['options']}")
    if told.io_type in ("INT", "FLOAT"):
        if options.get("min") is not None and value < options["min"]:
            raise ValueError(f"{told.id}: {value} smaller than {options['min']}")
        if options.get("max") is not None and value > options["max"]:
            raise ValueError(f"{told.id}: {value} bigger than {options['max']}")


def lock(node: type[ComfyNode]) -> Any:
    """A clone of the class on which nothing can be set."""

    def refuse(cls: type, name: str, value: Any) -> None:
        raise AttributeError(f"cannot set {name} on the locked class {cls.__name__}")

    meta = type("Locked", (type,), {"__setattr__": refuse})
    return meta(f"{node.__name__}Clone", (node,), {})


def check_output(name: str, io_type: str, value: Any, pack: Pack) -> None:
    """What each socket promises."""
    if io_type in ("IMAGE", "MASK"):
        dimensions = 4 if io_type == "IMAGE" else 3
        if not isinstance(value, torch.Tensor) or value.ndim != dimensions or value.dtype != torch.float32:
            raise TypeError(f"{name}: {getattr(value, 'dtype', type(value))} {getattr(value, 'shape', '')}")
        if value.device.type != "cpu" or (io_type == "IMAGE" and value.shape[-1] != 3):
            raise TypeError(f"{name}: {value.device} {tuple(value.shape)}")
        if value.numel() and not (float(value.min()) >= 0 and float(value.max()) <= 1):
            raise ValueError(f"{name}: values {float(value.min())} to {float(value.max())}")
        return
    wanted: Any = {
        "INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool,
        "IDFSR_MODEL": pack.sockets.Model, "IDFSR_ANALYZER": pack.sockets.Analyzer,
        "IDFSR_FACES": pack.sockets.DetectedFaces, "IDFSR_FACE": pack.sockets.SelectedFaces,
        "IDFSR_ALIGNMENT": pack.sockets.Alignments,
        "IDFSR_IDENTITY": pack.core("identity.embedding").IdentityEmbedding,
    }.get(io_type, object)  # fmt: skip
    if not isinstance(value, wanted):
        raise TypeError(f"{name}: {type(value).__name__} instead of {io_type}")
