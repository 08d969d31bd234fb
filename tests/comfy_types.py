"""Stand-ins for ``comfy_api.latest``: what a V3 node declares and returns, as far as this pack uses it.

Written after the documented behaviour; arguments that the real classes do not know are refused here too, and
:func:`node_info` describes a node as a server does under ``/object_info``.
"""

from __future__ import annotations

import copy
import enum
from types import SimpleNamespace
from typing import Any

import torch

COMMON = {"display_name", "optional", "tooltip", "lazy", "extra_dict", "raw_link", "advanced"}
WIDGET = COMMON | {"default", "socketless", "force_input"}
WIDGETS = {
    "INT": WIDGET | {"min", "max", "step", "control_after_generate", "display_mode"},
    "FLOAT": WIDGET | {"min", "max", "step", "round", "display_mode", "gradient_stops"},
    "BOOLEAN": WIDGET | {"label_on", "label_off"},
    "STRING": WIDGET | {"multiline", "placeholder", "dynamic_prompts"},
    "COMBO": (WIDGET | {"control_after_generate", "upload", "image_folder", "remote", "options"}) - {"force_input"},
}
SPELT = {
    "force_input": "forceInput",
    "raw_link": "rawLink",
    "display_mode": "display",
    "dynamic_prompts": "dynamicPrompts",
}
STARTING = {
    "COMBO": {"multiselect": False},
    "STRING": {"multiline": False},
}


class Input:
    """One input of a node."""

    io_type = "*"

    def __init__(self, id: str, *values: Any, **options: Any) -> None:
        if values:  # only a combo's options may come without their name here
            options["options"], *others = values
            if self.io_type != "COMBO" or others:
                raise TypeError(f"{self.io_type} input {id}: give options by their names")
        unknown = set(options) - WIDGETS.get(self.io_type, COMMON)
        if unknown:
            raise TypeError(f"{self.io_type} input {id}: unexpected {', '.join(sorted(unknown))}")
        self.id, self.optional = id, bool(options.pop("optional", False))
        self.options = {**STARTING.get(self.io_type, {}), **options}

    @property
    def default(self) -> Any:
        """The widget's value at first, None where there is no widget."""
        value = self.options.get("default")
        if value is None and self.io_type == "COMBO" and self.options.get("options"):
            return self.options["options"][0]
        return value

    def get_io_type(self) -> str:
        """The type as the server spells it."""
        return self.io_type

    def as_dict(self) -> dict[str, Any]:
        """The options as the server spells them, without those that are None."""
        options = {**self.options, **(self.options.get("extra_dict") or {})}
        options.pop("extra_dict", None)
        plain: dict[str, Any] = {str(SPELT.get(key, key)): _plain(value) for key, value in options.items()}
        return {key: value for key, value in plain.items() if value is not None}


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, enum.Enum) else value


class Output:
    """One output of a node."""

    io_type = "*"

    def __init__(
        self,
        id: str | None = None,
        display_name: str | None = None,
        tooltip: str | None = None,
        is_output_list: bool = False,
    ) -> None:
        self.id, self.display_name, self.tooltip, self.is_output_list = id, display_name or id, tooltip, is_output_list


def kind(io_type: str) -> type:
    """A type with its Input and Output, as ``io.Custom`` makes them."""
    parts = {base.__name__: type(base.__name__, (base,), {"io_type": io_type}) for base in (Input, Output)}
    return type(io_type, (), {"io_type": io_type, "Type": Any, **parts})


class MultiInput(Input):
    """An input that takes several types; given an input instead of a name it keeps that one's widget."""

    def __init__(self, id: str | Input, types: list[type], **options: Any) -> None:
        self.widget = id if isinstance(id, Input) else None
        super().__init__(id.id if isinstance(id, Input) else id, **options)
        if self.widget is not None:
            self.optional = self.widget.optional or self.optional
        self.types = types

    @property
    def default(self) -> Any:
        return self.widget.default if self.widget else None

    def get_io_type(self) -> str:
        own = [self.widget.get_io_type()] if self.widget else []
        return ",".join(dict.fromkeys([*own, *(each.io_type for each in self.types)]))  # pyright: ignore

    def as_dict(self) -> dict[str, Any]:
        if self.widget is None:
            return super().as_dict()
        return {**self.widget.as_dict(), "widgetType": self.widget.get_io_type(), **super().as_dict()}


class Template:
    """What an Autogrow input repeats."""

    def __init__(self, input: Input, *, names: list[str], min: int, told: dict[str, Any]) -> None:
        self.input = copy.copy(input)
        if self.input.io_type in WIDGETS:
            self.input.options = {**self.input.options, "force_input": True}
        self.names, self.min, self.told = names, min, told


def template_prefix(input: Input, prefix: str, min: int = 1, max: int = 10) -> Template:
    names = [f"{prefix}{index}" for index in range(max)]
    return Template(input, names=names, min=min, told={"prefix": prefix, "min": min, "max": max})


def template_names(input: Input, names: list[str], min: int = 1) -> Template:
    return Template(input, names=names, min=min, told={"names": names, "min": min})


class AutogrowInput(Input):
    """Several inputs that appear as they are connected; execute() gets them as one dict."""

    io_type = "COMFY_AUTOGROW_V3"

    def __init__(self, id: str, template: Template, **options: Any) -> None:
        super().__init__(id, **options)
        self.template = template

    def as_dict(self) -> dict[str, Any]:
        return {**super().as_dict(), "template": {"input": _inputs([self.template.input]), **self.template.told}}


class Hidden(str, enum.Enum):
    unique_id = "UNIQUE_ID"
    prompt = "PROMPT"
    extra_pnginfo = "EXTRA_PNGINFO"
    dynprompt = "DYNPROMPT"


class FolderType(str, enum.Enum):
    input = "input"
    output = "output"
    temp = "temp"


class NumberDisplay(str, enum.Enum):
    number = "number"
    slider = "slider"


class ControlAfterGenerate(str, enum.Enum):
    fixed = "fixed"
    increment = "increment"
    decrement = "decrement"
    randomize = "randomize"


class Schema:
    """What a node says of itself."""

    def __init__(
        self, node_id: str, display_name: str | None = None, category: str = "sd", inputs: list[Input] | None = None,
        outputs: list[Output] | None = None, hidden: list[Hidden] | None = None, description: str = "",
        search_aliases: list[str] | None = None, is_output_node: bool = False, has_intermediate_output: bool = False,
        is_input_list: bool = False, is_experimental: bool = False, is_deprecated: bool = False,
        not_idempotent: bool = False, essentials_category: str | None = None,
    ) -> None:  # fmt: skip
        self.__dict__.update({name: value for name, value in locals().items() if name != "self"})
        self.inputs, self.outputs, self.hidden = inputs or [], outputs or [], list(hidden or [])
        self.node_id, self.description, self.search_aliases = node_id, description, search_aliases or []
        self.is_output_node, self.has_intermediate_output = is_output_node, has_intermediate_output
        if is_output_node:
            self.hidden += [each for each in (Hidden.prompt, Hidden.extra_pnginfo) if each not in self.hidden]
        for what in (self.inputs, self.outputs):
            names = [each.id for each in what if each.id is not None]
            if len(names) != len(set(names)):
                raise ValueError(f"{node_id}: names twice among {names}")


class ComfyNode:
    """Base of all nodes."""

    hidden: Any = None
    RELATIVE_PYTHON_MODULE = "custom_nodes.idfsr"

    @classmethod
    def define_schema(cls) -> Schema:
        raise NotImplementedError

    @classmethod
    def execute(cls, **inputs: Any) -> Any:
        raise NotImplementedError

    @classmethod
    def GET_SCHEMA(cls) -> Schema:
        return cls.define_schema()


class NodeOutput:
    """What execute() returns."""

    def __init__(self, *args: Any, ui: Any = None, expand: Any = None, block_execution: str | None = None) -> None:
        self.args, self.ui, self.expand, self.block_execution = args, ui, expand, block_execution

    def __getitem__(self, index: int) -> Any:
        return self.args[index]


class ComfyExtension:
    """Base of the pack's extension."""

    async def on_load(self) -> None: ...

    async def get_node_list(self) -> list[type[ComfyNode]]:
        raise NotImplementedError


class PreviewImage:
    """Pictures shown on a node: the real one writes PNG files and gives their names."""

    def __init__(self, image: torch.Tensor, animated: bool = False, cls: Any = None) -> None:
        if image.ndim != 4 or image.shape[-1] != 3 or image.dtype != torch.float32:
            raise TypeError(f"preview of {image.dtype} {tuple(image.shape)}")
        self.image, self.animated = image, animated

    def as_dict(self) -> dict[str, Any]:
        names = [{"filename": f"{i}.png", "subfolder": "", "type": "temp"} for i in range(len(self.image))]
        return {"images": names, "animated": (self.animated,)}


class PreviewMask(PreviewImage):
    def __init__(self, mask: torch.Tensor, animated: bool = False, cls: Any = None) -> None:
        super().__init__(mask.reshape(-1, *mask.shape[-2:], 1).expand(-1, -1, -1, 3), animated, cls)


class PreviewText:
    def __init__(self, value: str) -> None:
        self.value = value

    def as_dict(self) -> dict[str, Any]:
        return {"text": (self.value,)}


def _inputs(inputs: list[Input]) -> dict[str, dict[str, list]]:
    found: dict[str, dict[str, list]] = {"required": {}}
    for each in inputs:
        found.setdefault("optional" if each.optional else "required", {})[each.id] = [
            each.get_io_type(),
            each.as_dict(),
        ]
    return found


def node_info(node: type[ComfyNode]) -> dict[str, Any]:
    """What a server tells of a node."""
    schema: Any = node.GET_SCHEMA()
    inputs: dict[str, Any] = _inputs(schema.inputs)
    if schema.hidden:
        inputs["hidden"] = {each.name: [each.value] for each in schema.hidden}
    return {
        "input": inputs,
        "input_order": {section: list(each) for section, each in inputs.items()},
        "output": [each.io_type for each in schema.outputs],
        "output_is_list": [each.is_output_list for each in schema.outputs],
        "output_name": [each.display_name or each.io_type for each in schema.outputs],
        "output_tooltips": [each.tooltip for each in schema.outputs],
        "name": schema.node_id,
        "display_name": schema.display_name,
        "category": schema.category,
        "description": schema.description,
        "output_node": schema.is_output_node,
        "has_intermediate_output": schema.has_intermediate_output,
        "search_aliases": schema.search_aliases,
    }


KINDS = {
    "Int": "INT", "Float": "FLOAT", "Boolean": "BOOLEAN", "String": "STRING", "Combo": "COMBO", "Image": "IMAGE",
    "Mask": "MASK", "Latent": "LATENT", "Model": "MODEL", "Vae": "VAE", "Conditioning": "CONDITIONING",
    "UpscaleModel": "UPSCALE_MODEL", "AnyType": "*",
}  # fmt: skip

io = SimpleNamespace(
    **{name: kind(io_type) for name, io_type in KINDS.items()},
    Custom=kind, Schema=Schema, ComfyNode=ComfyNode, NodeOutput=NodeOutput, Input=Input, Output=Output, Hidden=Hidden,
    FolderType=FolderType, NumberDisplay=NumberDisplay, ControlAfterGenerate=ControlAfterGenerate,
    MultiType=SimpleNamespace(Input=MultiInput),
    Autogrow=SimpleNamespace(
        Input=AutogrowInput, TemplatePrefix=template_prefix, TemplateNames=template_names, Type=dict[str, Any]
    ),
)  # fmt: skip
ui = SimpleNamespace(PreviewImage=PreviewImage, PreviewMask=PreviewMask, PreviewText=PreviewText)
