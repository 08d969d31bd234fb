"""Say which pixels of the face are forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io, ui

from ..idfsr_core.errors import ArgumentError
from ..idfsr_core.options import MASK_MODES, RestoreOptions
from . import bridge
from .sockets import Alignments, IDFSRAlignment, IDFSRFace, SelectedFaces
from .telling import SHOWN

if TYPE_CHECKING:
    from torch import Tensor

_USUAL = RestoreOptions()


class IDFSRMaskFace(io.ComfyNode):
    """The region of the crop that is rebuilt."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IDFSRMaskFace",
            display_name="Mask Face",
            category="IDFSR",
            description=(
                "Chooses which pixels of the crop are forgotten and rebuilt: the face inside its landmarks, or what "
                "you painted. Hair, clothes and background stay."
            ),
            search_aliases=["face mask", "facial region", "inpaint mask", "forget face", "mask from landmarks"],
            inputs=[
                io.Image.Input("crop", tooltip="The crops of Crop Face, 128x128 pixels each."),
                IDFSRAlignment.Input("alignment", tooltip="Where the crops lie in their pictures, from Crop Face."),
                IDFSRFace.Input(
                    "face", optional=True, tooltip="The face that went into Crop Face; its landmarks bound the mask."
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip=(
                        "Your own mask instead of the landmarks', 0 to 1: as large as the picture (it is cut out where "
                        "the face is) or as the crop; another size is resized. One for all, or one for each crop."
                    ),
                ),
                io.Combo.Input(
                    "mode",
                    options=list(MASK_MODES),
                    default=_USUAL.mask_mode,
                    tooltip=(
                        "hard: forget the face altogether, as the paper does. soft: let its pixels fade in where the "
                        "scale is below 8. auto: hard from 8 on, soft below. Your own mask is taken as painted."
                    ),
                ),
                io.Float.Input(
                    "grow",
                    default=_USUAL.mask_grow,
                    min=-0.5,
                    max=0.5,
                    step=0.01,
                    tooltip="Widens the mask by this part of the crop's side, -0.5 to 0.5; negative narrows it.",
                ),
                io.Float.Input(
                    "feather",
                    default=_USUAL.mask_feather,
                    min=0.0,
                    max=0.5,
                    step=0.01,
                    tooltip="Width of the mask's soft edge as a part of the crop's side, 0 to 0.5.",
                ),
                io.Float.Input(
                    "forehead",
                    default=_USUAL.mask_forehead,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    advanced=True,
                    tooltip="Reach above the brows, as a part of the distance from chin to nose bridge, 0 to 2.",
                ),
            ],
            outputs=[
                io.Image.Output("masked", tooltip="The crop with grey where it is forgotten: for the eye."),
                io.Mask.Output("mask", tooltip="1 where the face is rebuilt, 0 where the picture stays; 128x128."),
                io.String.Output("note", tooltip="What was done with the mask, such as that it was resized."),
            ],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(
        cls,
        crop: Tensor,
        alignment: Alignments,
        mode: str,
        grow: float,
        feather: float,
        forehead: float,
        face: SelectedFaces | None = None,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        """Draw or cut the mask."""
        from ..idfsr_core.frames import check_crops, forget, side_of

        crops = bridge.to_core(crop, "crop")
        size = side_of(alignment.items, crops.shape[-1])
        check_crops(crops, len(alignment.items), size)
        options = RestoreOptions(mask_mode=mode, mask_grow=grow, mask_feather=feather, mask_forehead=forehead)
        masks, note = _masks(alignment, face, mask, options, size)
        bridge.say(note)
        masked = bridge.to_comfy(forget(crops, masks))
        return io.NodeOutput(masked, bridge.mask_to_comfy(masks), note, ui=ui.PreviewImage(masked[:SHOWN], cls=cls))


def _masks(
    alignment: Alignments, face: SelectedFaces | None, mask: Tensor | None, options: RestoreOptions, size: int
) -> tuple[Tensor, str]:
    """Masks [B, 1, S, S], and where they come from in words."""
    from ..idfsr_core.frames import cut_masks, mask_faces, strength_note

    if mask is not None:
        cut = cut_masks(bridge.mask_to_core(mask), alignment.items, options, size)
        return cut.masks, cut.note + ("; the face's landmarks are not used" if face is not None else "")
    if face is None:
        raise ArgumentError("face and mask", "neither is connected", "connect the face, or a mask of your own")
    known = [scale for scale, item in zip(alignment.scales, alignment.items, strict=True) if item is not None]
    mild = strength_note(known, options.mask_mode) if known else "no face in any picture"
    masks = mask_faces(alignment.items, alignment.scales, face.faces, options, size)
    return masks, "; ".join(filter(None, ("drawn from the face's landmarks", mild)))
