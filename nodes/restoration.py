"""Restore the face, and put it back into its picture."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from comfy_api.latest import io, ui

from ..idfsr_core.options import COLOUR_METHODS, SCHEDULERS, RestoreOptions
from . import bridge
from .sockets import Alignments, IDFSRAlignment, IDFSRIdentity, IDFSRModel, Model
from .telling import LARGEST_SEED, SHOWN, batch_text

if TYPE_CHECKING:
    from torch import Tensor

    from ..idfsr_core.identity.embedding import IdentityEmbedding

_USUAL = RestoreOptions()
_OTHER_ENCODER = (
    "encode the photos with the analyzer of this model (Load Face Analyzer: compact), or load another model"
)


class IDFSRRestoreFace(io.ComfyNode):
    """The diffusion: crops become the faces of the person."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IDFSRRestoreFace",
            display_name="Restore Face",
            category="IDFSR",
            description=(
                "Rebuilds the masked face from what is known of the person: the identity, the warped references and "
                "the few real pixels of the crop. Every picture of a batch gets the same starting noise."
            ),
            search_aliases=["face restoration", "face super-resolution", "face enhance", "upscale face", "sampler"],
            inputs=[
                IDFSRModel.Input("model", tooltip="The networks, from Load IDFSR Model."),
                io.Image.Input(
                    "crop", tooltip="The crops of Crop Face, 128x128 pixels each, not enlarged any further."
                ),
                IDFSRAlignment.Input("alignment", tooltip="Of these crops, from Crop Face: how many pixels are real."),
                io.Mask.Input(
                    "mask",
                    tooltip=(
                        "What is forgotten and rebuilt, 0 to 1, from Mask Face: one for all crops or one for each. "
                        "Another square size is resized."
                    ),
                ),
                IDFSRIdentity.Input(
                    "identity",
                    tooltip="Who it is, from Encode, Fit or Load Identity; made with this model's own analyzer.",
                ),
                io.Image.Input(
                    "warped",
                    optional=True,
                    tooltip=(
                        "The references on the faces, from Warp Reference: as many for each crop, the best first. It "
                        "gives pose, light and expression; without it the face stays softer."
                    ),
                ),
                io.Mask.Input(
                    "coverage",
                    optional=True,
                    tooltip="Where the warped references have pixels, 0 to 1, from Warp Reference; else everywhere.",
                ),
                io.Int.Input(
                    "steps",
                    default=_USUAL.steps,
                    min=1,
                    max=1000,
                    tooltip=(
                        "Denoising steps, 1 to 1000. The shipped model wants 2: the second corrects the first; "
                        "more cost time and change little."
                    ),
                ),
                io.Int.Input(
                    "seed",
                    default=_USUAL.seed,
                    min=0,
                    max=LARGEST_SEED,
                    control_after_generate=True,
                    tooltip="Seed of the starting noise, 0 to 9007199254740991; an equal seed gives an equal result.",
                ),
                io.Float.Input(
                    "style_guidance",
                    default=_USUAL.style_guidance,
                    min=0.0,
                    max=10.0,
                    step=0.05,
                    tooltip=(
                        "How much the best warped reference counts, 0 to 10: 0 leaves its style out, 1 is as trained, "
                        "above 1 exaggerates. Other values than 1 take longer."
                    ),
                ),
                io.Float.Input(
                    "identity_guidance",
                    default=_USUAL.identity_guidance,
                    min=0.0,
                    max=10.0,
                    step=0.05,
                    tooltip=(
                        "How much the identity and the references' faces count, 0 to 10: 0 leaves them out, 1 is as "
                        "trained, above 1 exaggerates. Other values than 1 take twice as long."
                    ),
                ),
                io.Float.Input(
                    "consistency",
                    default=_USUAL.consistency,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    advanced=True,
                    tooltip=(
                        "How firmly each step is held to the real pixels of the crop, 0 to 1. More keeps colour and "
                        "expression, but also noise and JPEG blocks."
                    ),
                ),
                io.Combo.Input(
                    "scheduler",
                    options=list(SCHEDULERS),
                    default=_USUAL.scheduler,
                    advanced=True,
                    tooltip="How the steps are walked; with 1 step they are the same.",
                ),
                io.Int.Input(
                    "steering",
                    optional=True,  # prompts that were saved before it came stay valid
                    default=_USUAL.steering,
                    min=0,
                    max=100,
                    advanced=True,
                    tooltip=(
                        "Small steps after the denoising, 0 to 100, that move the face towards the identity as the "
                        "model's encoder sees it: 0 leaves it as it came, many please the encoder alone."
                    ),
                ),
            ],
            outputs=[
                io.Image.Output("restored", tooltip="The faces, 128x128 pixels; a crop without a face is as it was."),
                io.String.Output("report", tooltip="For each crop, how many of its pixels were real, and doubts."),
            ],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(
        cls,
        model: Model,
        crop: Tensor,
        alignment: Alignments,
        mask: Tensor,
        identity: IdentityEmbedding,
        warped: Tensor | None = None,
        coverage: Tensor | None = None,
        **widgets: int | float | str,
    ) -> io.NodeOutput:
        """Gather what is known, restore, show."""
        from ..idfsr_core.face_batch import describe, gather, restore_faces
        from ..idfsr_core.steps import judge_for

        identity.check_encoder(model.bundle.encoder, _OTHER_ENCODER)
        denoiser = model.bundle.denoiser
        faces, notes = gather(
            bridge.to_core(crop, "crop"),
            alignment.items,
            alignment.scales,
            bridge.mask_to_core(mask),
            None if warped is None else bridge.to_core(warped, "warped"),
            None if coverage is None else bridge.mask_to_core(coverage, "coverage"),
            size=denoiser.config.size,
        )
        options = RestoreOptions(**widgets)  # pyright: ignore[reportArgumentType]
        runtime, judge = bridge.use(model, preview=True), judge_for(identity.photos, model.bundle.judge)
        encoder = model.bundle.encoder
        restored = restore_faces(denoiser, faces, identity, options, runtime, judge=judge, encoder=encoder)
        shown = bridge.to_comfy(restored)
        report = batch_text(describe(faces), "; ".join(notes))
        bridge.say(report)
        return io.NodeOutput(shown, report, ui=ui.PreviewImage(shown[:SHOWN], cls=cls))


class IDFSRPasteFace(io.ComfyNode):
    """The way back from Crop Face."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IDFSRPasteFace",
            display_name="Paste Face",
            category="IDFSR",
            description=(
                "Lays the restored crop over its picture, without a seam. The picture is enlarged as far as the new "
                "face needs. For several people chain one Paste Face after the other: the next one takes this one's "
                "picture."
            ),
            search_aliases=["composite face", "uncrop", "stitch", "paste back", "blend face", "colour match"],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip=(
                        "The pictures that were cropped, at their own size or resized as a whole, such as by another "
                        "Paste Face or an upscaler."
                    ),
                ),
                io.Image.Input(
                    "crop", tooltip="The restored crops, square, of any size: 128, or 512 from an upscaler."
                ),
                IDFSRAlignment.Input("alignment", tooltip="Where the crops lie, from Crop Face."),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip=(
                        "What to take from the crop, 0 to 1: a mask of the crop (any square size) or one as large as "
                        "the picture. Without it the whole crop, fading at its border."
                    ),
                ),
                io.Mask.Input(
                    "face_mask",
                    optional=True,
                    tooltip=(
                        "What of the crop is the restored face, 0 to 1: Mask Face's mask. Around it the crop, where "
                        "the picture is enlarged, is made to agree with the picture's own pixels."
                    ),
                ),
                io.Combo.Input(
                    "colour_match",
                    options=list(COLOUR_METHODS),
                    default="none",
                    tooltip=(
                        "none: as the crop is; right after Restore Face. lab: lightness and colour of the whole face "
                        "as in the picture. wavelet: everything coarser than a real pixel from the picture; best after "
                        "an upscaler or img2img."
                    ),
                ),
                io.Float.Input(
                    "enlarge",
                    default=0.0,
                    min=0.0,
                    max=64.0,
                    step=0.5,
                    tooltip=(
                        "How many times larger the picture becomes, 1 to 64: 1 keeps its size. 0 is as far as the face "
                        "gains, at most 4096 pixels a side, and less for many pictures."
                    ),
                ),
                io.Float.Input(
                    "feather",
                    default=_USUAL.paste_feather,
                    min=0.0,
                    max=0.5,
                    step=0.01,
                    advanced=True,
                    tooltip="Width over which the crop's border fades into the picture, part of its side, 0 to 0.5.",
                ),
            ],
            outputs=[
                io.Image.Output("image", tooltip="The pictures with the faces in them."),
                io.Mask.Output("mask", tooltip="How much of each pixel comes from the crop, 0 to 1."),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        crop: Tensor,
        alignment: Alignments,
        colour_match: str,
        enlarge: float,
        feather: float,
        mask: Tensor | None = None,
        face_mask: Tensor | None = None,
    ) -> io.NodeOutput:
        """Paste picture after picture."""
        from ..idfsr_core.pasting import PasteLook, check_batch, paste_faces, pasted_size

        images, crops = bridge.to_core(image), bridge.to_core(crop, "crop")
        masks, kept = (None if each is None else bridge.mask_to_core(each) for each in (mask, face_mask))
        check_batch(images, crops, alignment.items, masks, kept)
        own = (images.shape[-1], images.shape[-2])
        size = pasted_size(alignment.items, own, crops.shape[-1], max(enlarge, 1.0) if enlarge else None)
        look = PasteLook(feather=feather, colour=colour_match)
        places, scales = alignment.items, alignment.scales
        pairs = paste_faces(images, crops, places, size, look, masks, scales, bridge.use(None), faces=kept)
        return io.NodeOutput(*_stacked(pairs, len(images)))


def _stacked(pairs: Iterable[tuple[Tensor, Tensor]], count: int) -> tuple[Tensor, Tensor]:
    """Pictures and masks, one pair after the other, as an IMAGE and a MASK: nothing is held twice."""
    images = masks = torch.empty(0)
    for index, (picture, replaced) in enumerate(pairs):
        image, mask = bridge.to_comfy(picture)[0], bridge.mask_to_comfy(replaced)[0]
        if index == 0:
            images, masks = image.new_empty(count, *image.shape), mask.new_empty(count, *mask.shape)
        images[index], masks[index] = image, mask
    return images, masks
