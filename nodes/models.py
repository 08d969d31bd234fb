"""Loaders: the weights that restore, and whoever finds faces and tells them apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io, ui

from . import bridge
from .sockets import Analyzer, IDFSRAnalyzer, IDFSRModel, Model

if TYPE_CHECKING:
    from ..idfsr_core.bundle import ModelCard

LICENCE = "Licence of the shipped weights: research, non-commercial; the code is Apache-2.0."


class IDFSRLoadModel(io.ComfyNode):
    """A bundle: denoiser, compact analyzer and compact encoder in one file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IDFSRLoadModel",
            display_name="Load IDFSR Model",
            category="IDFSR",
            description=(
                "Opens the networks that restore a face: the shipped ones, or a bundle from models/idfsr. "
                f"The node shows the model card and the licence. {LICENCE}"
            ),
            search_aliases=["face restoration model", "identity restoration", "IDFSR bundle", "face super-resolution"],
            inputs=[
                io.Combo.Input(
                    "model",
                    options=bridge.list_models(),
                    default=bridge.SHIPPED,
                    tooltip=(
                        '"shipped" comes with this pack and needs no download; others are .safetensors files in '
                        f"models/idfsr. {LICENCE}"
                    ),
                )
            ],
            outputs=[
                IDFSRModel.Output("model", tooltip="The networks, for the nodes that restore, fit and find faces.")
            ],
            has_intermediate_output=True,
        )

    @classmethod
    def fingerprint_inputs(cls, model: str) -> str:
        """A file that was changed is opened again."""
        return bridge.model_fingerprint(model)

    @classmethod
    def execute(cls, model: str) -> io.NodeOutput:
        """Open the bundle and show its card."""
        opened = bridge.load_model(model)
        text = describe(opened)
        bridge.say(text)
        return io.NodeOutput(opened, ui=ui.PreviewText(text))


class IDFSRLoadFaceAnalyzer(io.ComfyNode):
    """The compact analyzer or an insightface pack."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IDFSRLoadFaceAnalyzer",
            display_name="Load Face Analyzer",
            category="IDFSR",
            description=(
                "Chooses who finds faces and tells people apart. The compact analyzer comes with the model and knows "
                "faces from 3 pixels up. Insightface packs are found in models/insightface/models; they need the "
                "insightface package, have licences of their own, and their identities do not fit the shipped model."
            ),
            search_aliases=["face detector", "insightface", "buffalo_l", "arcface", "face analysis", "landmarks"],
            inputs=[
                IDFSRModel.Input(
                    "model",
                    optional=True,
                    tooltip="The model whose compact analyzer is used; without it the shipped one.",
                ),
                io.Combo.Input(
                    "analyzer",
                    options=bridge.list_analyzers(),
                    default=bridge.COMPACT,
                    tooltip=(
                        '"compact" is part of the model; others are insightface packs: folders with .onnx files in '
                        "models/insightface/models."
                    ),
                ),
            ],
            outputs=[IDFSRAnalyzer.Output("analyzer", tooltip="Finds faces and tells them apart.")],
        )

    @classmethod
    def execute(cls, analyzer: str, model: Model | None = None) -> io.NodeOutput:
        """Open the analyzer."""
        found: Analyzer = bridge.load_analyzer(analyzer, model)
        return io.NodeOutput(found)


def describe(model: Model) -> str:
    """Name, licence and card of a model, for the node."""
    card: ModelCard = model.bundle.card
    told = {
        "Model": f"{card.name} ({', '.join(model.bundle.parts)})",
        "Licence": card.licence,
        "Made": card.created,
        "Taught by": card.data,
        "Notes": card.notes,
    }
    lines = [f"{title}: {value}" for title, value in told.items() if value]
    lines += [f"{name}: {_plain(value)}" for name, value in card.metrics.items()]
    return "\n".join(lines)


def _plain(value: Any) -> str:
    """A figure of the card, or several with their names, without brackets and quotes."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {_plain(each)}" for name, each in value.items())
    return str(value)
