"""Stage 2: one vector fitted to a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from comfy_api.latest import io, ui

from . import bridge
from .identity import CATEGORY, photo_inputs, photos_of
from .sockets import IDFSRIdentity, IDFSRModel, Model
from .telling import LARGEST_SEED

if TYPE_CHECKING:
    from torch import Tensor

    from ..idfsr_core.identity.embedding import IdentityEmbedding

ENCODE_AGAIN = "encode the photos with Load Face Analyzer set to compact and connected to this model"


class IDFSRFitIdentity(io.ComfyNode):
    """The identity vector with which the restorer rebuilds the person's photos best."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IDFSRFitIdentity",
            display_name="Fit Identity",
            category=CATEGORY,
            description=(
                "Learns the one vector with which the frozen model rebuilds the person's own photos best, from the "
                "identity that they were encoded to. With four photos or more one is kept out, and the result is "
                "never worse than the start on it. Takes seconds on a graphics card, a minute or more on a processor."
            ),
            search_aliases=["train identity", "optimise embedding", "textual inversion for faces", "personalise"],
            inputs=[
                IDFSRModel.Input("model", tooltip="The model that will restore with this identity; it is not changed."),
                IDFSRIdentity.Input("identity", tooltip="Where to start: the photos' identity from Encode Identity."),
                photo_inputs(
                    "photos",
                    "1 to 20 photos of the person; from four on one is kept out to measure the gain. A batch, or "
                    "several inputs for photos of different sizes. Numbered from 1 through all inputs.",
                ),
                io.Int.Input(
                    "steps",
                    default=60,
                    min=1,
                    max=2000,
                    tooltip="Optimiser steps at most, 1 to 2000; fewer when the photo kept out gains nothing more.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=LARGEST_SEED,
                    control_after_generate=io.ControlAfterGenerate.fixed,
                    tooltip="Seed of all draws, 0 to 9007199254740991: noise, order, and which photo is kept out.",
                ),
                io.Float.Input(
                    "learning_rate",
                    default=0.003,
                    min=0.00001,
                    max=0.1,
                    step=0.0005,
                    round=0.00001,
                    advanced=True,
                    tooltip="Of the optimiser (Adam), per entry of the vector and step, 0.00001 to 0.1.",
                ),
            ],
            outputs=[
                IDFSRIdentity.Output("identity", tooltip="The fitted identity, or the start where nothing was gained."),
                io.Image.Output(
                    "curve", tooltip="Similarity on the photo kept out, and training loss, over the steps."
                ),
                io.String.Output(
                    "report", tooltip="Similarity before and after on the photo kept out; photos left out."
                ),
            ],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(
        cls,
        model: Model,
        identity: IdentityEmbedding,
        photos: Mapping[str, Tensor],
        steps: int,
        seed: int,
        learning_rate: float,
    ) -> io.NodeOutput:
        """Prepare the photos, fit, show the curve."""
        from ..idfsr_core.drawing import draw_fitting
        from ..idfsr_core.fitting import FittingSettings, fit_identity
        from ..idfsr_core.references import prepare_references
        from ..idfsr_core.reports import report_fitting, shortened

        bundle, settings = model.bundle, FittingSettings(steps=steps, seed=seed, learning_rate=learning_rate)
        identity.check_encoder(bundle.encoder, ENCODE_AGAIN)
        pictures = photos_of(photos)
        runtime = bridge.use(model, preview=True)
        found = prepare_references(bundle.analyzer, bundle.encoder, pictures, runtime.check, bundle.face_size)
        result = fit_identity(bundle.denoiser, bundle.encoder, identity, found.photos, settings, runtime)
        report = report_fitting(result, found, identity)
        curve = bridge.to_comfy(draw_fitting(result))
        bridge.say(shortened(report))
        return io.NodeOutput(result.identity, curve, report, ui=ui.PreviewImage(curve, cls=cls))
