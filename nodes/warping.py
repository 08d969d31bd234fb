"""Bring good photos of the person onto the face."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io, ui

from ..idfsr_core.options import WARP_METHODS, RestoreOptions
from . import bridge
from .sockets import IDFSRAnalyzer, IDFSRFace, SelectedFaces
from .telling import SHOWN, batch_text

if TYPE_CHECKING:
    from torch import Tensor

    from .sockets import Analyzer

BEST, INDEX = "best", "index"
_USUAL = RestoreOptions()


class IDFSRWarpReference(io.ComfyNode):
    """References in the pixels of the crop."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IDFSRWarpReference",
            display_name="Warp Reference",
            category="IDFSR",
            description=(
                "Brings good photos of the person onto the landmarks of the small face: pose, light and expression of "
                "the photo that fits best go into the restoration."
            ),
            search_aliases=["reference image", "align reference", "face warp", "landmark warp", "style reference"],
            inputs=[
                io.Image.Input(
                    "references",
                    tooltip="Good photos of the person, as one batch: 1 to 20, each with a clear face of 64 pixels up.",
                ),
                IDFSRFace.Input("face", tooltip="The face of each picture that they are brought onto."),
                IDFSRAnalyzer.Input("analyzer", tooltip="Finds the faces of the references and their landmarks."),
                io.Image.Input(
                    "crop",
                    optional=True,
                    tooltip=(
                        "The crops of Crop Face. With them each photo is tried on the face, and how much the outcome "
                        "is like the person counts in the choice; refine needs them too."
                    ),
                ),
                io.Combo.Input(
                    "method",
                    options=list(WARP_METHODS),
                    default=_USUAL.warp_method,
                    tooltip=(
                        "similarity: shift, turn and size only, so that the person's proportions stay. affine: shear "
                        "too. tps: bend smoothly onto the landmarks. piecewise: bend triangle by triangle."
                    ),
                ),
                io.Combo.Input(
                    "choose",
                    options=[BEST, INDEX],
                    default=BEST,
                    tooltip=(
                        "best: for each face, by how well pose and expression fit and, with the crop, by likeness. "
                        "index: the same photo for all."
                    ),
                ),
                io.Int.Input(
                    "index",
                    default=0,
                    min=0,
                    max=4095,
                    tooltip='Which photo of the batch, for "index": from 0.',
                ),
                io.Int.Input(
                    "count",
                    default=_USUAL.max_references,
                    min=1,
                    max=8,
                    advanced=True,
                    tooltip='How many photos for each face, the best first, 1 to 8; with "index" one.',
                ),
                io.Boolean.Input(
                    "refine",
                    default=_USUAL.refine,
                    advanced=True,
                    tooltip=(
                        "Shift, turn and size the landmarks a little until the photo fits the crop's own pixels; needs "
                        "the crop. It pays where landmarks are three or more pixels off."
                    ),
                ),
                io.Boolean.Input(
                    "mirror",
                    optional=True,  # prompts that were saved before it came stay valid
                    default=True,
                    advanced=True,
                    tooltip=(
                        "Lay on a photo's mirror image where that fits clearly better, because the head is turned the "
                        "other way. Off: moles and partings stay on their side."
                    ),
                ),
                io.Float.Input(
                    "merge",
                    optional=True,
                    default=_USUAL.merge,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    advanced=True,
                    tooltip=(
                        "How much of what the other photos agree on is laid into the best one, 0 to 1, so that it "
                        "shows the person and not one photo of them; 0: the photo as it is."
                    ),
                ),
            ],
            outputs=[
                io.Image.Output(
                    "warped",
                    tooltip="128x128 pixels; count photos for each face, face after face, the best first.",
                ),
                io.Mask.Output("coverage", tooltip="1 where the photo has pixels, 0 outside it; one for each warped."),
                io.String.Output("which", tooltip="For each face, which photo was taken and how well it fits."),
            ],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(
        cls,
        references: Tensor,
        face: SelectedFaces,
        analyzer: Analyzer,
        method: str,
        choose: str,
        index: int,
        count: int,
        refine: bool,
        crop: Tensor | None = None,
        mirror: bool = True,
        merge: float = _USUAL.merge,
    ) -> io.NodeOutput:
        """Prepare, choose, warp."""
        from ..idfsr_core.frames import only_photo, warp_onto_faces
        from ..idfsr_core.references import prepare_references

        pictures = bridge.to_core(references, "references")
        runtime = bridge.use(analyzer)
        named = ((f"reference {number}", pictures[number : number + 1]) for number in range(len(pictures)))
        photos = prepare_references(analyzer.finder, analyzer.encoder, named, runtime.check, face.size)
        chosen = only_photo(photos, f"reference {index}") if choose == INDEX else photos
        margin = _USUAL.mirror if mirror else 1.0
        options = RestoreOptions(
            warp_method=method, reference_warp=method, max_references=count, refine=refine, mirror=margin, merge=merge
        )
        crops = None if crop is None else bridge.to_core(crop, "crop")
        warped = warp_onto_faces(
            chosen, face.faces, options, crops, face.size, check=runtime.check, encoder=analyzer.encoder
        )
        which = batch_text(warped.which, "; ".join(photos.notes))
        bridge.say(which)
        shown = bridge.to_comfy(warped.images)
        coverage = bridge.mask_to_comfy(warped.coverages)
        return io.NodeOutput(shown, coverage, which, ui=ui.PreviewImage(shown[:SHOWN], cls=cls))
